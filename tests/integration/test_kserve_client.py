"""KServe's SDK, from a virtual environment of its own, against the real server."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.server import ServerProcess

SDK = "kserve==0.21.0"
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("kserve_script.py")
VENV = ROOT / ".venv-kserve"
INSTALL_TIMEOUT_S = 600


@pytest.fixture(scope="module")
def python() -> Path:
    """A Python with the SDK; made once, which takes a minute or two, and then reused."""
    python = VENV / "bin" / "python"
    if is_installed(python):
        return python
    try:
        for command in (
            [sys.executable, "-m", "venv", str(VENV)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SDK],
        ):
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S)
    except subprocess.SubprocessError as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1]
        pytest.skip(f"{SDK} cannot be installed: {reason}")
    return python


def is_installed(python: Path) -> bool:
    name, _, version = SDK.partition("==")
    ask = f"from importlib.metadata import version; print(version({name!r}))"
    try:
        result = subprocess.run([str(python), "-c", ask], capture_output=True, text=True, timeout=60)
    except OSError:
        return False
    return result.stdout.strip() == version


@pytest.fixture(scope="module")
def answers(python: Path, serve: Callable[..., ServerProcess]) -> dict[str, Any]:
    models = [f"identity_{kind}" for kind in ("fp32", "fp16", "int64", "uint8", "bool", "bytes")]
    server = serve("sums", *models, arguments=("--model-control-mode=explicit", "--load-model=*"))
    command = [str(python), str(SCRIPT), server.grpc_url]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    told: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return told


def test_readiness(answers: dict[str, Any]) -> None:
    assert answers["live"] is True
    assert answers["ready"] is True
    assert answers["model ready"] is True
    assert answers["unknown model ready"] is False


@pytest.mark.parametrize("form", ["raw", "typed"])
@pytest.mark.parametrize("kind", ["fp32", "int64", "uint8", "bool", "bytes"])
def test_tensors_come_back_as_sent(answers: dict[str, Any], kind: str, form: str) -> None:
    assert answers[f"identity_{kind} {form}"] is True


def test_half_precision_comes_back_as_sent(answers: dict[str, Any]) -> None:
    assert answers["identity_fp16 raw"] is True


def test_several_inputs_and_outputs(answers: dict[str, Any]) -> None:
    assert answers["sums"] == {"sum": [2, 4, 6, 8], "difference": [0, 0, 0, 0], "first": [1, 2, 3, 4]}


def test_an_unknown_model_is_not_found(answers: dict[str, Any]) -> None:
    assert answers["unknown model"] == "NOT_FOUND"


def test_metadata(answers: dict[str, Any]) -> None:
    assert answers["server name"] == "headrace"
    assert answers["metadata"] == ["sums", ["1"], ["a", "b"]]


def test_load_and_unload_in_kserves_dialect(answers: dict[str, Any]) -> None:
    """Its messages have the model's name where Triton's have the repository's, and answers with fields."""
    assert answers["unloaded"] == ["sums", True]
    assert answers["ready while unloaded"] is False
    assert answers["loaded"] == ["sums", True]
