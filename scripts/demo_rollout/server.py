"""The server of the demonstration: a process on a free port, with a model repository of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import onnx

from headrace.pb.inference import grpc_service_pb2 as pb

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "model_repository"
MODEL = "digits"

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 40.0
READY = "/inference.GRPCInferenceService/ServerReady"
# Signs of a defect in a log that should tell of rollouts only.
BUGS = ("Traceback", "this is a bug", "never retrieved")


class Repository:
    """The sample models in a folder of their own; `digits` begins with version 1, and more are added."""

    def __init__(self, folder: Path, rollout: str) -> None:
        """`rollout` is the section of that name for the configuration of `digits`, in YAML."""
        self.path = folder / "models"
        self._waiting = folder / "waiting"
        self._waiting.mkdir()
        shutil.copytree(SAMPLES, self.path)
        shutil.rmtree(self.path / MODEL / "2")
        config = self.path / MODEL / "config.yaml"
        kept, _, _ = config.read_text(encoding="utf-8").partition("version_policy:")
        config.write_text(f"{kept}version_policy:\n  all: {{}}\n\n{rollout}", encoding="utf-8")

    def add(self, version: int, model: onnx.ModelProto | None = None) -> None:
        """Version 2 as it is, or `model` in its place; its golden requests come along."""
        folder = self._waiting / str(version)
        shutil.copytree(SAMPLES / MODEL / "2", folder)
        if model is not None:
            (folder / "model.onnx").write_bytes(model.SerializeToString())
        folder.rename(self.path / MODEL / str(version))

    def remove_golden(self, version: int) -> None:
        """From now on nobody asks whether the version answers as it should."""
        shutil.rmtree(self.path / MODEL / str(version) / "golden")


@dataclass(frozen=True, slots=True)
class RunningServer:
    """Answers gRPC at `url`; what it says is in the file `log`."""

    url: str
    repository: Repository
    log: Path

    def bugs(self) -> list[str]:
        """Lines of the log that tell of a defect."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if _is_bug(line)]


@contextmanager
def running(rollout: str) -> Iterator[RunningServer]:
    """`headrace serve` on the loopback, until the end of the block. RuntimeError where it does not start."""
    with TemporaryDirectory(prefix="headrace-demo-") as name:
        folder = Path(name)
        repository = Repository(folder, rollout)
        log, port = folder / "log", _free_port()
        command = [
            *(sys.executable, "-m", "headrace.cli.main", "serve"),
            *("--model-repository", str(repository.path), "--state-dir", str(folder / "state")),
            *("--repository-poll-interval-s", "1", "--repository-settle-time-s", "0.5"),
            *("--grpc-port", str(port), "--http-enabled", "false", "--metrics-enabled", "false"),
        ]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, cwd=folder, env=_environment()
            )
        try:
            _wait(process, f"127.0.0.1:{port}", log)
            yield RunningServer(f"127.0.0.1:{port}", repository, log)
            if process.poll() is not None:
                raise RuntimeError(f"the server has ended by itself:\n{log.read_text(errors='replace')}")
        finally:
            _stop(process)


def _wait(process: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while not _is_ready(url):
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise RuntimeError(f"the server did not start:\n{log.read_text(errors='replace')}")
        time.sleep(0.1)


def _is_ready(url: str) -> bool:
    with grpc.insecure_channel(url, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        call = channel.unary_unary(READY, None, pb.ServerReadyResponse.FromString)
        try:
            answer: pb.ServerReadyResponse = call(b"", timeout=2.0)
        except grpc.RpcError:
            return False
    return answer.ready


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_bug(line: str) -> bool:
    return any(sign in line for sign in BUGS)


def _environment() -> dict[str, str]:
    """This process's, less the settings of another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
