"""The `headrace` command line beside a running server, as an operator types it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.server import ServerProcess

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
EXAMPLES = REPOSITORY / "digits" / "examples"


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    return serve(repository=REPOSITORY)


def headrace(*words: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "headrace.cli.main", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def printed(*words: object) -> str:
    """What a command that works prints."""
    result = headrace(*words)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_infer_prints_a_line_for_each_row(server: ServerProcess) -> None:
    lines = printed("infer", "digits", EXAMPLES / "images.npy", "--url", server.grpc_url).splitlines()

    rows = [line.split() for line in lines[1:] if line[:1].isdigit() or line.startswith(" ")]
    assert lines[0].split() == ["ROW", "probabilities", "label"]
    assert [row[0] for row in rows[:3]] == ["0", "1", "2"]
    assert [int(row[-1]) for row in rows[:10]] == list(range(10))


def test_infer_with_classes_and_timings(server: ServerProcess, tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    output = printed(
        "infer", "digits", EXAMPLES / "one.json", "--top", 2, "--timings", "--url", server.grpc_url
    )
    printed("infer", "digits", EXAMPLES / "batch.json", "--output", file, "--url", server.grpc_url)

    answers: Any = json.loads(file.read_text())
    labels = {each["name"]: each["data"] for each in answers[0]["outputs"]}["label"]
    expected = json.loads((EXAMPLES / "expected.json").read_text())["batch.json"]["label"]
    assert labels == expected
    assert "compute_infer_us" in output


@pytest.mark.parametrize("model", ["digits", "cancer", "text_topics"])
def test_infer_sends_random_rows(server: ServerProcess, model: str) -> None:
    result = headrace("infer", model, "--random", 50, "--concurrency", 4, "--url", server.grpc_url)

    assert result.returncode == 0, result.stderr
    assert "50 rows in 50 requests" in result.stderr


def test_infer_of_a_model_that_is_not_there(server: ServerProcess) -> None:
    result = headrace("infer", "nobody", "--random", 1, "--url", server.grpc_url)

    assert result.returncode in (1, 2)
    assert "'nobody' is not found" in result.stderr
    assert "Traceback" not in result.stderr


def test_models(server: ServerProcess) -> None:
    table = printed("models", "--url", server.grpc_url)
    every = json.loads(printed("models", "--json", "--url", server.grpc_url))

    assert [(each["name"], each["version"], each["state"]) for each in every] == [
        ("cancer", "1", "READY"),
        ("digits", "1", "READY"),
        ("digits", "2", "READY"),
        ("text_topics", "1", "READY"),
    ]
    assert [each["version"] for each in every if each["is_default"]] == ["1", "2", "1"]
    assert "2*" in table


def test_batches_after_requests(server: ServerProcess) -> None:
    printed("infer", "cancer", "--random", 30, "--batch-size", 3, "--url", server.grpc_url)

    table = printed("batches", "cancer", "--url", server.grpc_url)
    lines = printed("batches", "cancer", "--limit", 0, "--json", "--url", server.grpc_url).splitlines()

    batches = [json.loads(line) for line in lines]
    assert sum(batch["rows"] for batch in batches) >= 30
    assert all(batch["model_version"] == "1" and not batch["error"] for batch in batches)
    assert table.startswith("TIME") or "ROWS" in table.splitlines()[0]


def test_a_server_that_is_not_there() -> None:
    result = headrace("models", "--url", "127.0.0.1:1", "--timeout", 2)

    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1
    assert "127.0.0.1:1" in result.stderr


def test_check_of_a_good_repository() -> None:
    report = json.loads(printed("check", REPOSITORY, "--json"))

    assert report["problems"] == []
    assert [(model["name"], model["versions"]) for model in report["models"]] == [
        ("cancer", [1]),
        ("digits", [1, 2]),
        ("text_topics", [1]),
    ]


def test_check_names_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "broken" / "1"
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"no graph")
    (folder.parent / "config.yaml").write_text("max_batch_sise: 4\n")

    result = headrace("check", tmp_path)

    assert result.returncode == 1
    assert "max_batch_size" in result.stdout
    assert "broken" in result.stdout


def test_what_a_server_answered_is_what_the_next_version_is_held_to(
    server: ServerProcess, tmp_path: Path
) -> None:
    shutil.copytree(REPOSITORY / "digits", tmp_path / "models" / "digits")
    version = tmp_path / "models" / "digits" / "2"
    shutil.rmtree(version / "golden")

    def record(number: int) -> str:
        words = ("golden", "record", "digits", EXAMPLES / "batch.json", "--version", number, "--force")
        return printed(*words, "--output", version / "golden", "--url", server.grpc_url)

    written = record(2)
    good = printed("check", tmp_path / "models", "--golden")
    record(1)
    bad = headrace("check", tmp_path / "models", "--golden")

    assert written == f"{version / 'golden' / 'batch.json'}\n"
    assert good.endswith("0 problems; 2 golden requests answered as expected\n")
    assert bad.returncode == 1
    assert "problem: digits/2/golden/batch.json: output 'probabilities' on cpu: " in bad.stdout


def test_version() -> None:
    versions = json.loads(printed("version", "--json"))

    assert {"headrace", "python", "grpcio", "protobuf", "onnxruntime", "providers"} <= set(versions)
    assert "CPUExecutionProvider" in versions["providers"]
