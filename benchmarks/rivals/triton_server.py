"""Triton: `triton_server.py MODEL PORT` serves it as `tiny` with the server that nvidia-pytriton brings.

That server has no backend for ONNX, so `triton_model.py` runs the network in Triton's Python backend. It is
started directly: PyTriton itself would add a process, and another copy, to each request.
"""

import os
import shutil
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from onnx_session import MAX_BATCH_SIZE

HERE = Path(__file__).parent
CONFIG = """\
name: "tiny"
backend: "python"
max_batch_size: {max_batch_size}
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 16 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 2 ] }} ]
instance_group [ {{ kind: KIND_CPU count: 1 }} ]
dynamic_batching {{ max_queue_delay_microseconds: {delay_us} }}
parameters [ {{ key: "model" value: {{ string_value: "{path}" }} }} ]
"""
# Dearer without the delay, and with its default of 8 threads.
DELAY_US = 500
HTTP_THREADS = 1


def main() -> int:
    path, port = sys.argv[1:]
    with TemporaryDirectory(prefix="headrace-triton-") as folder:
        repository, backends = Path(folder, "models"), Path(folder, "backends")
        _write_model(repository / "tiny", path)
        _copy_backend(backends / "python")
        server = subprocess.Popen(_command(repository, backends, port), env=_environment())
        signal.signal(signal.SIGTERM, lambda *_: server.terminate())
        return server.wait()


def _write_model(folder: Path, path: str) -> None:
    (folder / "1").mkdir(parents=True)
    shutil.copy(HERE / "triton_model.py", folder / "1" / "model.py")
    shutil.copy(HERE / "onnx_session.py", folder / "1")
    (folder / "config.pbtxt").write_text(
        CONFIG.format(max_batch_size=MAX_BATCH_SIZE, delay_us=DELAY_US, path=path)
    )


def _copy_backend(folder: Path) -> None:
    """Triton's Python backend, with the stub for this version of Python beside it."""
    shutil.copytree(_triton() / "backends" / "python", folder)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(_triton() / "python_backend_stubs" / version / "triton_python_backend_stub", folder)


def _command(repository: Path, backends: Path, port: str) -> list[str]:
    return [
        str(_triton() / "bin" / "tritonserver"),
        *("--model-repository", str(repository), "--backend-directory", str(backends)),
        *("--http-address", "127.0.0.1", "--http-port", port, "--http-thread-count", str(HTTP_THREADS)),
        *("--allow-grpc", "false", "--allow-metrics", "false", "--log-info", "false"),
    ]


def _environment() -> dict[str, str]:
    libraries = _triton().parent.parent / "nvidia_pytriton.libs"
    return {
        **os.environ,
        "LD_LIBRARY_PATH": str(libraries),
        "PATH": f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}",
    }


def _triton() -> Path:
    specification = find_spec("pytriton")
    if specification is None or specification.origin is None:
        raise ModuleNotFoundError("nvidia-pytriton is not installed")
    return Path(specification.origin).parent / "tritonserver"


if __name__ == "__main__":
    sys.exit(main())
