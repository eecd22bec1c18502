"""The sample models as anybody would call them: their examples, from many clients at once."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc.aio as triton

from support.loops import run
from support.onnx_models import NUMPY
from support.server import ServerProcess

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"
MODELS = ("cancer", "digits", "text_topics")
CLIENTS = 8
ROUNDS = 12


def examples() -> Iterator[tuple[str, str, Any, Any]]:
    """Model, file, request and expected outputs of each example."""
    for model in MODELS:
        folder = REPOSITORY / model / "examples"
        for file, outputs in json.loads((folder / "expected.json").read_text()).items():
            yield model, file, json.loads((folder / file).read_text()), outputs


EXAMPLES = [pytest.param(*example, id=f"{example[0]}-{example[1]}") for example in examples()]


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    return serve(repository=REPOSITORY)


def inputs_of(request: Any) -> list[triton.InferInput]:
    tensors = []
    for declared in request["inputs"]:
        data = [each.encode() if isinstance(each, str) else each for each in declared["data"]]
        array = np.array(data, NUMPY[declared["datatype"]]).reshape(declared["shape"])
        tensor = triton.InferInput(declared["name"], declared["shape"], declared["datatype"])
        tensors.append(tensor.set_data_from_numpy(array))
    return tensors


def plain(array: np.ndarray) -> list[object]:
    """The elements as an example's JSON has them."""
    return [each.decode() if isinstance(each, bytes) else each for each in array.ravel().tolist()]


@pytest.mark.parametrize(("model", "file", "request_", "expected"), EXAMPLES)
def test_an_example_is_answered_as_expected(
    server: ServerProcess, model: str, file: str, request_: Any, expected: Any
) -> None:
    async def main() -> triton.InferResult:
        async with triton.InferenceServerClient(server.grpc_url) as client:
            return await client.infer(model, inputs_of(request_))

    result = run(main())

    for name, values in expected.items():
        assert plain(result.as_numpy(name)) == values
    probabilities = result.as_numpy("probabilities")
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-4)


def test_both_versions_of_digits_answer(server: ServerProcess) -> None:
    request = json.loads((REPOSITORY / "digits/examples/batch.json").read_text())

    async def main() -> list[triton.InferResult]:
        async with triton.InferenceServerClient(server.grpc_url) as client:
            versions = ("1", "2", "")
            calls = [
                client.infer("digits", inputs_of(request), model_version=version) for version in versions
            ]
            return await asyncio.gather(*calls)

    first, second, default = run(main())

    assert plain(first.as_numpy("label")) == plain(second.as_numpy("label")) == list(range(10))
    assert not np.allclose(first.as_numpy("probabilities"), second.as_numpy("probabilities"), atol=1e-3)
    assert default.get_response().model_version == "2"
    assert np.allclose(default.as_numpy("probabilities"), second.as_numpy("probabilities"), atol=1e-5)


def test_classes_carry_their_labels(server: ServerProcess) -> None:
    request = json.loads((REPOSITORY / "text_topics/examples/one.json").read_text())

    async def main() -> triton.InferResult:
        async with triton.InferenceServerClient(server.grpc_url) as client:
            outputs = [triton.InferRequestedOutput("probabilities", class_count=7)]
            return await client.infer("text_topics", inputs_of(request), outputs=outputs)

    (classes,) = run(main()).as_numpy("probabilities")
    labels = (REPOSITORY / "text_topics/labels.txt").read_text().split()

    assert classes[0].decode().endswith(":concurrency")
    assert sorted(each.decode().split(":")[2] for each in classes) == sorted(labels)


def test_many_clients_at_once_get_what_is_theirs(server: ServerProcess) -> None:
    async def caller(number: int) -> int:
        """Sends each example over and over, in an order of its own; returns how many it sent."""
        ordered = [*examples()]
        ordered = ordered[number % len(ordered) :] + ordered[: number % len(ordered)]
        async with triton.InferenceServerClient(server.grpc_url) as client:
            for turn in range(ROUNDS):
                calls = [
                    check(client, f"{number}/{turn}/{index}", *example)
                    for index, example in enumerate(ordered)
                ]
                await asyncio.gather(*calls)
        return ROUNDS * len(ordered)

    async def check(
        client: triton.InferenceServerClient, key: str, model: str, file: str, request: Any, expected: Any
    ) -> None:
        result = await client.infer(model, inputs_of(request), request_id=key)
        assert result.get_response().id == key
        for name, values in expected.items():
            assert plain(result.as_numpy(name)) == values

    async def main() -> int:
        return sum(await asyncio.gather(*(caller(number) for number in range(CLIENTS))))

    assert run(main()) == CLIENTS * ROUNDS * len(EXAMPLES)
