"""What the figures were taken on."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("grpcio", "numpy", "onnxruntime", "protobuf", "uvloop")


def facts() -> dict[str, str]:
    """The processor, what it runs, and how busy it was before."""
    one, five, _ = os.getloadavg()
    return {
        "processor": _processor(),
        "cores": str(cores()),
        "load average": f"{one:.2f} (1 minute), {five:.2f} (5 minutes)",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "h2load": _h2load(),
        **{package: version(package) for package in PACKAGES},
    }


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _h2load() -> str:
    return subprocess.run(["h2load", "--version"], capture_output=True, text=True, check=True).stdout.strip()
