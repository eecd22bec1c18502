"""How long the sample repository takes to be ready, and how much memory it then needs."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import servers
from benchmarks.effort import Effort
from benchmarks.report import Figure, Report, at_most, differences

SAMPLES = Path(__file__).parent.parent / "model_repository"

# What no server of these models can do without: the libraries, and a session for each graph.
_BARE = """
import sys
from pathlib import Path
import grpc.aio, numpy, onnxruntime, uvloop
sessions = [onnxruntime.InferenceSession(path) for path in sys.argv[1:]]
resident = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")]
print(int(resident[0].split()[1]) * 1024)
"""


def run(effort: Effort) -> Report:
    ready_s: list[float] = []
    resident_mb: list[float] = []
    bare_s: list[float] = []
    bare_mb: list[float] = []
    with TemporaryDirectory(prefix="headrace-benchmark-") as temporary:
        folder = Path(temporary, "models")
        shutil.copytree(SAMPLES, folder)
        _start(folder)
        for _ in range(effort.rounds):
            for sample, samples in zip(_start(folder), (ready_s, resident_mb)):
                samples.append(sample)
            for sample, samples in zip(_start_bare(folder), (bare_s, bare_mb)):
                samples.append(sample)
    return Report(
        (
            Figure("time to ready, second start", tuple(ready_s), "s", at_most(2.0)),
            Figure("time to ready - bare libraries and sessions", differences(ready_s, bare_s), "s"),
            Figure("resident memory", tuple(resident_mb), "MB"),
            Figure("resident memory - bare libraries and sessions", differences(resident_mb, bare_mb), "MB"),
        )
    )


def _start(folder: Path) -> tuple[float, float]:
    with servers.headrace(folder) as server:
        return server.ready_s, server.resident_bytes() / 1e6


def _start_bare(folder: Path) -> tuple[float, float]:
    graphs = [str(path) for path in sorted(folder.glob("*/*/model.onnx"))]
    start_s = time.monotonic()
    output = subprocess.run(
        [sys.executable, "-c", _BARE, *graphs], capture_output=True, text=True, check=True
    ).stdout
    return time.monotonic() - start_s, int(output) / 1e6
