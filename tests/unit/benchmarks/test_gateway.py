import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from benchmarks import gateway, h2load, servers
from benchmarks.h2load import HttpOutcome, HttpRequest
from benchmarks.models import tiny
from benchmarks.rivals import catalogue
from benchmarks.rivals.catalogue import BINARY, JSON, RIVALS, Rival, v2_questions
from benchmarks.servers import HttpServer

H2LOAD_OUTPUT = """\
finished in 1.31s, 7604.56 req/s, 1.02MB/s
status codes: 9998 2xx, 0 3xx, 2 4xx, 0 5xx
"""
# Starts a child, tells its id, and both sleep.
PARENT = (
    "import subprocess, sys, time\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
    "open(sys.argv[1], 'w').write(f'{child.pid}\\n')\n"
    "time.sleep(60)"
)


def test_good_statuses_are_read_from_h2load() -> None:
    assert h2load.read_good_statuses(H2LOAD_OUTPUT) == 9998
    with pytest.raises(ValueError, match="printed no statuses"):
        h2load.read_good_statuses("could not connect")


def test_json_question_has_the_row_and_reads_the_answer() -> None:
    question = v2_questions(tiny())[JSON]

    sent = json.loads(question.request.body)["inputs"][0]
    assert np.array_equal(np.asarray(sent["data"], np.float32), tiny().rows(1)[0])
    assert list(question.read(b'{"outputs": [{"name": "y", "data": [1.5, 2]}]}')) == [1.5, 2]


def test_binary_question_has_its_json_before_the_row() -> None:
    request = v2_questions(tiny())[BINARY].request
    length = int(request.headers["inference-header-content-length"])

    assert json.loads(request.body[:length])["parameters"] == {"binary_data_output": True}
    assert request.body[length:] == tiny().rows(1).tobytes()


@pytest.mark.parametrize("rival", RIVALS, ids=lambda rival: rival.name)
def test_every_rival_is_asked_in_json_and_started_from_its_own_environment(rival: Rival) -> None:
    command = rival.command(Path("model.onnx"), 1234)

    assert JSON in rival.questions(tiny())
    assert any(part.startswith(str(catalogue.ENVIRONMENT)) for part in command)
    assert command[-1] == "1234"


def test_version_is_that_of_the_rivals_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "ENVIRONMENT", tmp_path)
    (tmp_path / "lib/python3.11/site-packages/mosec-0.9.8.dist-info").mkdir(parents=True)

    versions = {rival.name: rival.version() for rival in RIVALS}

    assert versions == {"LitServe": None, "BentoML": None, "mosec": "0.9.8", "Triton": None}


def test_figures_compare_each_rival_with_headrace_in_the_same_form() -> None:
    server, request = HttpServer(1, 1), HttpRequest("/", {}, b"")
    subjects = [
        gateway.Subject(name, form, server, request, [HttpOutcome(rate, cost)])
        for name, form, rate, cost in (
            ("headrace", JSON, 3000, 20),
            ("headrace", BINARY, 4000, 10),
            ("BentoML", JSON, 300, 200),
            ("mosec", BINARY, 2000, 30),
        )
    ]

    figures = {figure.name: figure for figure in gateway._figures(subjects)}

    assert figures["JSON: CPU a request, BentoML ÷ headrace"].median == 10
    assert figures["JSON: requests/s ÷ BentoML"].median == 10
    assert figures["binary: CPU a request, mosec ÷ headrace"].median == 3
    assert str(figures["JSON: CPU a request, BentoML ÷ headrace"].goal) == "≥ 5"
    assert str(figures["binary: CPU a request, mosec ÷ headrace"].goal) == "≥ 1"


def test_wrong_answer_ends_the_benchmark() -> None:
    with answering(b'{"outputs": [{"data": [0, 0]}]}') as port:
        questions = {JSON: v2_questions(tiny())[JSON]}
        with pytest.raises(RuntimeError, match="headrace answers"):
            gateway._subjects("headrace", HttpServer(port, 1), tiny(), questions)


def test_paused_tree_stands_still_and_none_of_it_is_left_at_the_end(tmp_path: Path) -> None:
    told = tmp_path / "child"
    with servers.rival(
        lambda port: [sys.executable, "-c", PARENT, str(told)],
        lambda port: told.exists() and told.read_text().endswith("\n"),
    ) as server:
        child = int(told.read_text())
        server.pause()
        paused = [reaches(pid, "T") for pid in (server.pid, child)]
        server.resume()
        resumed = [reaches(pid, "S") for pid in (server.pid, child)]

    assert all(paused)
    assert all(resumed)
    assert reaches(child, "ZX")


def reaches(pid: int, states: str) -> bool:
    """Whether the process comes into one of `states` (proc_pid_stat(5)) soon; X is also that it is gone."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            state = "X"
        if state in states:
            return True
        time.sleep(0.01)
    return False


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """The port of a server that answers each POST with `body`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing: the test's own output is enough."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
