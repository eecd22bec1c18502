"""Which rivals there are, how each is started, and what it is asked."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from benchmarks.h2load import HttpRequest
from benchmarks.models import Array, Network

HERE = Path(__file__).parent
ENVIRONMENT = HERE.parent.parent / ".venv-rivals"

JSON, BINARY = "JSON", "binary"
JSON_TYPE: Mapping[str, str] = {"content-type": "application/json"}
BINARY_TYPE: Mapping[str, str] = {"content-type": "application/octet-stream"}

Command: TypeAlias = Callable[[Path, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Question:
    """One request with a row of the network, and how the numbers are read from the answer's body."""

    request: HttpRequest
    read: Callable[[bytes], Array]


@dataclass(frozen=True, slots=True)
class Rival:
    """`command` takes the model's path and a port, `questions` gives one for each form the rival takes.

    `goal` is how many times headrace's CPU time a request should cost here, at least.
    """

    name: str
    package: str
    command: Command
    questions: Callable[[Network], Mapping[str, Question]]
    goal: float

    def version(self) -> str | None:
        """What is installed of it in the rivals' environment."""
        pattern = f"lib/python*/site-packages/{self.package}-*.dist-info"
        for folder in ENVIRONMENT.glob(pattern):
            return folder.name.removesuffix(".dist-info").rpartition("-")[2]
        return None


def v2_questions(network: Network) -> dict[str, Question]:
    """In JSON and with the binary tensor extension, as headrace and Triton both take them."""
    path = f"/v2/models/{network.name}/infer"
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, *network.input_dims]}
    row = network.rows(1).tobytes()
    plain = json.dumps({"inputs": [{**tensor, "data": _numbers(network)}]}).encode()
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(row)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    lengths = {"inference-header-content-length": str(len(head))}
    return {
        JSON: Question(
            HttpRequest(path, JSON_TYPE, plain), _json_reader(lambda answer: answer["outputs"][0]["data"])
        ),
        BINARY: Question(
            HttpRequest(path, {**BINARY_TYPE, **lengths}, head + row),
            partial(_last_bytes, count=network.answer_bytes()),
        ),
    }


def _litserve_questions(network: Network) -> dict[str, Question]:
    body = json.dumps({"x": _numbers(network)}).encode()
    request = HttpRequest("/predict", JSON_TYPE, body)
    return {JSON: Question(request, _json_reader(lambda answer: answer["y"]))}


def _bentoml_questions(network: Network) -> dict[str, Question]:
    body = json.dumps({"x": [_numbers(network)]}).encode()
    request = HttpRequest("/infer", JSON_TYPE, body)
    return {JSON: Question(request, _json_reader(lambda answer: answer[0]))}


def _mosec_questions(network: Network) -> dict[str, Question]:
    body = json.dumps({"x": _numbers(network)}).encode()
    binary = HttpRequest("/binary", BINARY_TYPE, network.rows(1).tobytes())
    return {
        JSON: Question(HttpRequest("/json", JSON_TYPE, body), _json_reader(lambda answer: answer["y"])),
        BINARY: Question(binary, partial(_last_bytes, count=network.answer_bytes())),
    }


def _numbers(network: Network) -> list[float]:
    """One row, each number in as few digits as tell it from its neighbours."""
    return [float(str(number)) for number in network.rows(1)[0]]


def _json_reader(find: Callable[[Any], Any]) -> Callable[[bytes], Array]:
    return lambda body: np.asarray(find(json.loads(body)), np.float32)


def _last_bytes(body: bytes, count: int) -> Array:
    return np.frombuffer(body[-count:], np.float32)


def _program(name: str) -> str:
    return str(ENVIRONMENT / "bin" / name)


def _script(name: str, *options: str) -> Command:
    """A script of this folder that takes the model, then `options`, then the port."""
    return lambda model, port: [_program("python"), str(HERE / name), str(model), *options, str(port)]


def _bentoml_command(model: Path, port: int) -> list[str]:
    return [
        *("env", f"RIVAL_MODEL={model}", "BENTOML_DO_NOT_TRACK=True"),
        *(_program("bentoml"), "serve", "bentoml_service:Tiny", "--working-dir", str(HERE)),
        *("--quiet", "--host", "127.0.0.1", "--port", str(port)),
    ]


RIVALS = (
    Rival("LitServe", "litserve", _script("litserve_server.py"), _litserve_questions, goal=5),
    Rival("BentoML", "bentoml", _bentoml_command, _bentoml_questions, goal=5),
    Rival(
        "mosec",
        "mosec",
        _script("mosec_server.py", "--address", "127.0.0.1", "--log-level", "warning", "--port"),
        _mosec_questions,
        goal=1,
    ),
    Rival("Triton", "nvidia_pytriton", _script("triton_server.py"), v2_questions, goal=1),
)
