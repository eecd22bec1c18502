"""The requests to send: a repository's examples, with the answers to expect."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import isclose
from pathlib import Path

from headrace.cli.request_file import read_file
from headrace.cli.requests import PreparedRequest
from headrace.cli.tensors import BadAnswer, decode
from headrace.errors import ConfigError
from headrace.pb.inference import grpc_service_pb2

FOLDER = "examples"
EXPECTED = "expected.json"
RELATIVE_TOLERANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Example:
    """A request, ready to be sent, and the values that outputs must have; `name` is what reports say."""

    name: str
    model: str
    request: bytes
    expected: Mapping[str, Sequence[object]]

    def complaint(self, answer: grpc_service_pb2.ModelInferResponse) -> str:
        """What is wrong with `answer`, or ""."""
        if answer.model_name != self.model:
            return f"model '{answer.model_name}' answered, expected '{self.model}'"
        try:
            outputs = decode(answer)
        except BadAnswer as error:
            return str(error)
        for name, values in self.expected.items():
            if name not in outputs:
                return f"output '{name}' is missing"
            if not _is_equal(outputs[name].ravel().tolist(), values):
                return f"output '{name}' is not as expected"
        return ""


@cache
def read_examples(repository: Path, models: str = "") -> Sequence[Example]:
    """The examples of `models` ("digits,cancer:1"), or of all models that have some.

    ConfigError where there are none.
    """
    wanted = [word.strip() for word in models.split(",") if word.strip()]
    if not wanted:
        found = sorted(repository.glob(f"*/{FOLDER}/{EXPECTED}"))
        wanted = [path.parent.parent.name for path in found]
    examples = [example for model in wanted for example in _examples_of(repository, model)]
    if not examples:
        raise ConfigError(f"{repository}: no model has {FOLDER}/{EXPECTED}")
    return examples


def _examples_of(repository: Path, model: str) -> list[Example]:
    name, _, version = model.partition(":")
    folder = repository / name / FOLDER
    try:
        expected = json.loads((folder / EXPECTED).read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{folder / EXPECTED}: cannot be read: {error}") from error
    return [
        Example(
            f"{model}/{Path(file).stem}",
            name,
            _read_request(folder / file).to_message(name, version).SerializeToString(),
            outputs,
        )
        for file, outputs in expected.items()
    ]


def _read_request(path: Path) -> PreparedRequest:
    content = read_file(path)
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], PreparedRequest):
        return content[0]
    raise ConfigError(f"{path}: expected one request of the V2 protocol")


def _is_equal(values: Sequence[object], expected: Sequence[object]) -> bool:
    """Numbers may differ as floats do between machines; everything else is equal or not."""
    if len(values) != len(expected):
        return False
    return all(map(_is_close, values, expected))


def _is_close(value: object, expected: object) -> bool:
    if isinstance(value, float) and isinstance(expected, int | float):
        return isclose(value, expected, rel_tol=RELATIVE_TOLERANCE)
    return value == expected
