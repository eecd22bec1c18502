"""The real server as a subprocess on free ports, with its log kept."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import grpc

SERVER_READY = "/inference.GRPCInferenceService/ServerReady"
# ServerReadyResponse(ready=True), serialised.
READY = b"\x08\x01"


class ServerProcess:
    """`headrace serve`, ready inside the `with` block and gone after it.

    `arguments` follow those for the repository and the ports. `environment` is added to this process's, less
    its own HEADRACE_ variables. `command` is what is run instead of this interpreter's headrace; `uid` is
    whom it runs as, where this process is root. `is_encrypted` tells that it speaks TLS. What it remembers
    lies in `state_dir`, which goes at the end of the block.
    """

    def __init__(
        self,
        repository: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", "headrace.cli.main"),
        uid: int | None = None,
        ready_timeout_s: float = 60.0,
        is_encrypted: bool = False,
    ) -> None:
        self.grpc_port, self.http_port, self.metrics_port = _free_ports(3)
        self.grpc_url = f"127.0.0.1:{self.grpc_port}"
        self.http_url = f"127.0.0.1:{self.http_port}"
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        self.state_dir = Path(tempfile.mkdtemp())
        if uid is not None:
            self.state_dir.chmod(0o777)
        self._words = (
            *command,
            "serve",
            f"--state-dir={self.state_dir}",
            f"--model-repository={repository}",
            f"--grpc-port={self.grpc_port}",
            f"--http-port={self.http_port}",
            f"--metrics-port={self.metrics_port}",
            *arguments,
        )
        self._environment = _environment(environment or {})
        self._uid = uid
        self._ready_timeout_s = ready_timeout_s
        self._is_encrypted = is_encrypted
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready(self._ready_timeout_s)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self) -> None:
        """Starts the server and does not wait for it; `with` does both."""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  open for as long as the server
        self._process = subprocess.Popen(
            self._words,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=self._environment,
            cwd=tempfile.gettempdir(),
            user=self._uid,
            group=self._uid,
            extra_groups=None if self._uid is None else (),
        )

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "the server was not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_status(self) -> int | None:
        """None while it runs; -15 where SIGTERM ended it and it did not end by itself."""
        return self.process.poll()

    @property
    def log(self) -> str:
        """What it has written so far, to standard output and standard error."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def wait_until_ready(self, timeout_s: float) -> None:
        """Returns once ServerReady says so; AssertionError with the log where it ends before, or in time."""
        ends_at = time.monotonic() + timeout_s
        while not self._says_ready():
            status = self.exit_status
            assert status is None, f"the server ended with status {status}:\n{self.log}"
            assert time.monotonic() < ends_at, f"the server is not ready after {timeout_s:g} s:\n{self.log}"
            time.sleep(0.05)

    def _says_ready(self) -> bool:
        """By a call, or by its log where a call would need certificates."""
        return " ready: " in self.log if self._is_encrypted else is_ready(self.grpc_url)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 40.0) -> int:
        """The exit status; AssertionError with the log where it does not end in time."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server runs on after {timeout_s:g} s:\n{self.log}") from None

    def terminate(self, timeout_s: float = 40.0) -> int:
        """Tells it to stop; the exit status once it has."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self) -> int:
        """Ends it without a warning; the exit status."""
        self.process.kill()
        return self.wait()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.kill()
        self._log.close()
        shutil.rmtree(self.state_dir, ignore_errors=True)


def is_ready(url: str, timeout_s: float = 2.0) -> bool:
    """Whether a server answers at `url` and says that it is ready."""
    with grpc.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(SERVER_READY, None, None)
        try:
            return bool(call(b"", timeout=timeout_s) == READY)
        except grpc.RpcError:
            return False


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return {**own, "PYTHONUNBUFFERED": "1", **added}


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago: held together, so that they differ, then let go."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
