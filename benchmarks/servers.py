"""Starts the servers that are measured, each as a process of its own on a free port of the loopback."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import processes
from benchmarks.control import Control

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
RIVAL_STOP_TIMEOUT_S = 5.0
POLL_INTERVAL_S = 0.005


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is ready to answer on `port`; `ready_s` is the time from its start until then."""

    port: int
    pid: int
    ready_s: float
    control: Control
    http_port: int | None = None

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.pid)

    def resident_bytes(self) -> int:
        return processes.resident_bytes(self.pid)


@dataclass(frozen=True, slots=True)
class HttpServer:
    """A server of which nothing is known but that it answers HTTP on `port`."""

    port: int
    pid: int

    def cpu_seconds(self) -> float:
        return processes.cpu_seconds(self.pid)

    def pause(self) -> None:
        """Holds the process tree: some servers poll while they have nothing to do."""
        _signal(processes.tree_of(self.pid), signal.SIGSTOP)

    def resume(self) -> None:
        _signal(processes.tree_of(self.pid), signal.SIGCONT)


@contextmanager
def headrace(repository: Path, *options: str) -> Iterator[RunningServer]:
    """headrace with `repository`, as an operator starts it; `options` are flags of `headrace serve`."""
    port, http_port = _free_ports(2)
    with TemporaryDirectory(prefix="headrace-state-") as state:
        command = [
            *(sys.executable, "-m", "headrace.cli.main", "serve"),
            *("--model-repository", str(repository), "--state-dir", state, "--log-level", "warning"),
            *("--grpc-port", str(port), "--http-port", str(http_port), "--metrics-port", "0"),
            *options,
        ]
        with _running(command, port, http_port) as server:
            yield server


@contextmanager
def echo(answer_bytes: int) -> Iterator[RunningServer]:
    """The least that grpc.aio can do: bytes in, `answer_bytes` of the same bytes out each time."""
    (port,) = _free_ports(1)
    command = [sys.executable, "-m", "benchmarks.echo_server", str(port), str(answer_bytes)]
    with _running(command, port) as server:
        yield server


@contextmanager
def rival(
    command_for: Callable[[int], Sequence[str]], is_ready: Callable[[int], bool]
) -> Iterator[HttpServer]:
    """Another's server; both arguments take the port.

    RuntimeError or TimeoutError where it does not start.
    """
    (port,) = _free_ports(1)
    with TemporaryDirectory(prefix="headrace-rival-") as folder:
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(command_for(port), stdout=output, stderr=subprocess.STDOUT, cwd=folder)
        try:
            _wait(lambda: is_ready(port), process, log)
            yield HttpServer(port, process.pid)
        finally:
            _stop_tree(process)


@contextmanager
def _running(command: Sequence[str], port: int, http_port: int | None = None) -> Iterator[RunningServer]:
    with TemporaryDirectory(prefix="headrace-log-") as folder:
        log = Path(folder, "log")
        started_s = time.monotonic()
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(lambda: _is_listening(port), process, log)
            with closing(Control(port)) as control:
                _wait(control.is_ready, process, log)
                ready_s = time.monotonic() - started_s
                yield RunningServer(port, process.pid, ready_s, control, http_port)
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


def _stop_tree(process: subprocess.Popen[bytes]) -> None:
    """Ends `process` and what it has started; not every server takes its children along."""
    tree = processes.tree_of(process.pid)
    _signal(tree, signal.SIGCONT)
    process.terminate()
    deadline_s = time.monotonic() + RIVAL_STOP_TIMEOUT_S
    while time.monotonic() < deadline_s and (process.poll() is None or any(map(_is_alive, tree[1:]))):
        time.sleep(POLL_INTERVAL_S)
    if process.poll() is None:
        process.kill()
    _signal(tree[1:], signal.SIGKILL)
    process.wait()


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(count: int) -> tuple[int, ...]:
    """So many ports that nobody listens on, each another."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)
