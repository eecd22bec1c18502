"""`headrace version`: which versions of what are installed, without loading any of it."""

import argparse
import json
import platform
import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from headrace.version import VERSION

EPILOG = """\
examples:
  headrace version
  headrace version --json
"""

_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino")
_PROVIDER_LIBRARY = re.compile(r"(?:lib)?onnxruntime_providers_(\w+)\.(?:so|dll|dylib)")
_PROVIDERS = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    versions = installed_versions()
    if arguments.json:
        print(json.dumps(versions))
        return 0
    for name, value in versions.items():
        print(f"{name:<12} {', '.join(value) if isinstance(value, list) else value or 'not installed'}")
    return 0


def installed_versions() -> dict[str, str | list[str] | None]:
    """By name; None for what is not installed. `providers` are those whose libraries ONNX Runtime has."""
    runtime = next(filter(None, map(_distribution, _RUNTIMES)), None)
    return {
        "headrace": VERSION,
        "python": platform.python_version(),
        "grpcio": _version("grpcio"),
        "protobuf": _version("protobuf"),
        "onnxruntime": runtime.version if runtime else None,
        "providers": _providers(runtime) if runtime else [],
    }


def _version(name: str) -> str | None:
    found = _distribution(name)
    return found.version if found else None


def _distribution(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _providers(runtime: Distribution) -> list[str]:
    """Told from the libraries that lie in the package: asking ONNX Runtime itself would load it."""
    folder = Path(str(runtime.locate_file("onnxruntime/capi")))
    found = {match[1] for file in folder.glob("*") if (match := _PROVIDER_LIBRARY.match(file.name))}
    return [provider for library, provider in _PROVIDERS.items() if library in found] + [
        "CPUExecutionProvider"
    ]
