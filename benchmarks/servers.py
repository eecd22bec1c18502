"""Starts the servers that are measured, each as a process of its own on a free port of the loopback."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import processes
from benchmarks.control import Control

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
POLL_INTERVAL_S = 0.005


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is ready to answer on `port`; `ready_s` is the time from its start until then."""

    port: int
    pid: int
    ready_s: float
    control: Control

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        return processes.resident_bytes(self.pid)


@contextmanager
def headrace(repository: Path, *options: str) -> Iterator[RunningServer]:
    """headrace with `repository`, as an operator starts it; `options` are flags of `headrace serve`."""
    port = _free_port()
    with TemporaryDirectory(prefix="headrace-state-") as state:
        command = [
            *(sys.executable, "-m", "headrace.cli.main", "serve"),
            *("--model-repository", str(repository), "--state-dir", state, "--log-level", "warning"),
            *("--grpc-port", str(port), "--http-port", "0", "--metrics-port", "0"),
            *options,
        ]
        with _running(command, port) as server:
            yield server


@contextmanager
def echo(answer_bytes: int) -> Iterator[RunningServer]:
    """The least that grpc.aio can do: bytes in, `answer_bytes` of the same bytes out each time."""
    port = _free_port()
    command = [sys.executable, "-m", "benchmarks.echo_server", str(port), str(answer_bytes)]
    with _running(command, port) as server:
        yield server


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[RunningServer]:
    with TemporaryDirectory(prefix="headrace-log-") as folder:
        log = Path(folder, "log")
        started_s = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(lambda: _is_listening(port), process, log)
            with closing(Control(port)) as control:
                _wait(control.is_ready, process, log)
                yield RunningServer(port, process.pid, time.monotonic() - started_s, control)
            if process.poll() is not None:
                raise RuntimeError(f"the server ended by itself:\n{log.read_text()}")
        finally:
            _stop(process)


def _wait(is_done: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not is_done():
        if process.poll() is not None:
            raise RuntimeError(f"the server did not start:\n{log.read_text()}")
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"the server is not ready after {START_TIMEOUT_S:g} s:\n{log.read_text()}")
        time.sleep(POLL_INTERVAL_S)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
