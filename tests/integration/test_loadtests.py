"""The load tests against the real server: which models they call, what they count, what they measure."""

import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from itertools import islice, pairwise
from pathlib import Path

import pytest

from loadtests.arrivals import Arrivals, send_times
from loadtests.examples import read_examples
from support.server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "model_repository"
RATE = 20
USERS = 2
SECONDS = 5

Row = Mapping[str, str]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(shutil.copytree(SAMPLES, tmp_path_factory.mktemp("repository") / "models"))


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    with ServerProcess(repository) as server:
        yield server


@pytest.mark.slow
def test_short_run_calls_every_model_at_the_asked_rate_without_failures(
    server: ServerProcess, tmp_path: Path
) -> None:
    status, rows = _locust(server, tmp_path, "--rate", str(RATE))

    calls = {row["Name"]: int(row["Request Count"]) for row in rows if row["Type"] == "grpc"}
    total = rows[-1]
    assert status == 0
    assert int(total["Failure Count"]) == 0
    assert set(calls) == {example.name for example in read_examples(SAMPLES)}
    assert {name.split("/")[0] for name in calls} == {"cancer", "digits", "text_topics"}
    assert 0.5 <= int(total["Request Count"]) / (RATE * USERS * SECONDS) <= 1.2


@pytest.mark.slow
def test_stall_of_the_server_is_charged_to_every_request_that_falls_into_it(
    server: ServerProcess, tmp_path: Path
) -> None:
    stall = threading.Thread(target=_stall, args=(server, 1.2))
    stall.start()
    try:
        status, rows = _locust(server, tmp_path, "--rate", str(RATE), "--arrivals", "constant")
    finally:
        stall.join()

    assert status == 0
    # 1.2 s of 5 s: whoever waits for answers before sending again sees one slow request a user, below 1 %.
    assert float(rows[-1]["90%"]) > 250


@pytest.mark.slow
def test_wrong_answers_are_failures(server: ServerProcess, repository: Path, tmp_path: Path) -> None:
    wrong = Path(shutil.copytree(repository, tmp_path / "wrong"))
    path = wrong / "digits" / "examples" / "expected.json"
    path.write_text(json.dumps({"one.json": {"label": [7]}}))

    status, rows = _locust(
        server, tmp_path, "--rate", "10", "--repository", str(wrong), "--models", "digits:1", seconds=2
    )

    assert status == 1
    assert int(rows[-1]["Failure Count"]) == int(rows[-1]["Request Count"]) > 0
    assert "output 'label' is not as expected" in (tmp_path / "run_failures.csv").read_text()


def test_constant_arrivals_have_equal_gaps() -> None:
    times = list(islice(send_times(Arrivals.CONSTANT, 50, 100.0, random.Random(1)), 1000))

    assert 100.0 <= times[0] < 100.02
    assert all(abs(after - before - 0.02) < 1e-9 for before, after in pairwise(times))


def test_poisson_arrivals_have_the_rate_and_the_spread_of_a_poisson_process() -> None:
    times = list(islice(send_times(Arrivals.POISSON, 50, 100.0, random.Random(1)), 20_000))

    gaps = [after - before for before, after in pairwise([100.0, *times])]
    mean = sum(gaps) / len(gaps)
    spread = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert mean == pytest.approx(0.02, rel=0.03)
    assert spread == pytest.approx(mean, rel=0.03)


def _locust(
    server: ServerProcess, folder: Path, *arguments: str, seconds: int = SECONDS
) -> tuple[int, list[Row]]:
    """The exit status of a short run and the rows of its report, the total last."""
    words = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--headless", "--only-summary"]
    words += ["-u", str(USERS), "-r", str(USERS), "-t", f"{seconds}s", "--csv", str(folder / "run")]
    run = subprocess.run(
        [*words, "--grpc-url", server.grpc_url, *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    with (folder / "run_stats.csv").open() as file:
        rows: list[Row] = list(csv.DictReader(file))
    assert rows, run.stderr
    print(run.stdout, run.stderr)
    return run.returncode, rows


def _stall(server: ServerProcess, stall_s: float) -> None:
    """Holds the server still, once the run is under way."""
    before = _answered_count(server)
    while _answered_count(server) < before + RATE:
        time.sleep(0.1)
    server.signal(signal.SIGSTOP)
    time.sleep(stall_s)
    server.signal(signal.SIGCONT)


def _answered_count(server: ServerProcess) -> float:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as page:
        lines = page.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("nv_inference_request_success{"))
