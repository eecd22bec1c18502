"""`headrace check`: everything wrong with a repository, at once."""

import argparse
import json
from pathlib import Path

import pytest
from onnx_graphs import linear, write_model

from headrace.cli import check


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    parser = argparse.ArgumentParser()
    check.add_arguments(parser)
    status = check.run(parser.parse_args([str(argument) for argument in arguments]))
    return status, capsys.readouterr().out


def test_a_sound_repository_is_shown_as_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, config="version_policy: all")
    write_model(tmp_path, version=3)
    status, output = run(capsys, tmp_path)
    assert status == 0
    assert output.splitlines() == [
        "MODEL  VERSIONS  MAX BATCH  INPUTS     OUTPUTS",
        "m      1, 3      32         x FP32[4]  y FP32[3]",
        "1 models can be served; 0 problems",
    ]


def test_all_problems_of_all_models_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, name="a", config="max_batch_sise: 4\nbackend: [x]")
    write_model(tmp_path, name="b", config="backend: python\nplatform: x")
    write_model(tmp_path, b"broken", name="c")
    write_model(tmp_path, name="d")
    (tmp_path / "e").mkdir()
    status, output = run(capsys, tmp_path)
    problems = [line.removeprefix("problem: ") for line in output.splitlines() if line.startswith("problem")]
    assert status == 1
    assert [problem.split(": ")[0] for problem in problems] == [
        "a/config.yaml:1",
        "a/config.yaml:2",
        "b/config.yaml:1",
        "b/config.yaml:2",
        "c/1/model.onnx",
        "e",
    ]
    assert problems[-1] == "e: has no version to serve; present are: none"
    assert "\nd      1 " in output


def test_a_problem_of_several_versions_is_told_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for version in (1, 2):
        write_model(tmp_path, config="version_policy: all\ninput: [{name: z}]", version=version)
    assert run(capsys, tmp_path)[1].count("no input 'z'") == 1


def test_only_the_named_models_are_checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path, b"broken", name="broken")
    write_model(tmp_path, name="digits")
    assert run(capsys, tmp_path, "digits")[0] == 0
    status, output = run(capsys, tmp_path, "digit")
    assert status == 1
    assert "problem: digit: is not in the repository; did you mean 'digits'?" in output


def test_notes_do_not_fail_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path, config="model_metrics: {}")
    (folder / "01").mkdir()
    (tmp_path / "link").symlink_to("m")
    status, output = run(capsys, tmp_path)
    assert status == 0
    assert "note: m/config.yaml:1: model_metrics: has no effect" in output
    assert "note: m/01: ignored" in output
    assert "note: link: ignored: is a symbolic link" in output


def test_the_report_can_be_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_model(tmp_path)
    write_model(tmp_path, name="bad", config="backend: python")
    status, output = run(capsys, tmp_path, "--json", "--default-max-batch-size", "4")
    report = json.loads(output)
    assert status == 1
    assert report["problems"] == [
        {
            "file": "bad/config.yaml",
            "line": 1,
            "field": "backend",
            "message": "'python' is given; this server serves 'onnxruntime'",
        }
    ]
    assert report["models"] == [
        {
            "name": "m",
            "versions": [1],
            "max_batch_size": 4,
            "inputs": [{"name": "x", "datatype": "FP32", "dims": [4]}],
            "outputs": [{"name": "y", "datatype": "FP32", "dims": [3]}],
        }
    ]


X = {"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}


def write_golden(folder: Path, outputs: object, version: int = 1) -> None:
    place = folder / str(version) / "golden"
    place.mkdir()
    (place / "a.json").write_text(json.dumps({"inputs": [X], "outputs": outputs}))


def test_wrong_golden_requests_are_told_without_running_any(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_golden(write_model(tmp_path, linear()), [{"name": "z", "data": [1]}, {"name": "y", "data": [1]}])
    status, output = run(capsys, tmp_path)
    assert status == 1
    assert output.splitlines() == [
        "problem: m/1/golden/a.json: outputs[0].name: the model has no output 'z'; it has y",
        "problem: m/1/golden/a.json: outputs[1].data: has 1 elements, but the shape [1, 3] means 3",
        "0 models can be served; 2 problems",
    ]


def test_golden_requests_are_run_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_model(tmp_path, linear(), config="version_policy: all")
    write_golden(folder, [{"name": "y", "data": [1, 2, 3]}])
    write_model(tmp_path, linear(), version=2)
    assert run(capsys, tmp_path, "--golden") == (
        0,
        "MODEL  VERSIONS  MAX BATCH  INPUTS     OUTPUTS\n"
        "m      1, 2      32         x FP32[4]  y FP32[3]\n"
        "1 models can be served; 0 problems; 1 golden request answered as expected\n",
    )
    write_golden(folder, [{"name": "y", "data": [1, 2, 4]}], version=2)
    assert run(capsys, tmp_path)[0] == 0
    status, output = run(capsys, tmp_path, "--golden", "--json")
    report = json.loads(output)
    assert (status, report["golden_requests"], report["models"]) == (1, 1, [])
    assert report["problems"] == [
        {
            "file": "m/2/golden/a.json",
            "line": None,
            "field": "output 'y' on cpu",
            "message": "1 of 3 elements is off; the worst, [0, 2], is 3.0, but 4.0 is expected, off by 1 "
            "with a tolerance of 0.0005",
        }
    ]


def test_a_missing_repository_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, output = run(capsys, tmp_path / "none")
    assert status == 1
    assert "does not exist" in output


def test_a_linked_version_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_model(tmp_path)
    (folder / "1" / "model.onnx").rename(tmp_path / "model.onnx")
    (folder / "1" / "model.onnx").symlink_to(tmp_path / "model.onnx")
    status, output = run(capsys, tmp_path)
    assert status == 1
    assert "problem: m/1/model.onnx: is a symbolic link" in output
