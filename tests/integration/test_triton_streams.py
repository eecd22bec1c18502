"""Triton's clients on streams: order, errors among answers, the marks of a final answer."""

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException

from support.loops import run
from support.server import ServerProcess

Answer = tuple[triton.InferResult | None, InferenceServerException | None]


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    return serve("identity_int64", "identity_bytes", "steps", "lookup")


class Stream:
    """One stream of Triton's synchronous client."""

    def __init__(self, client: triton.InferenceServerClient, **options: Any) -> None:
        self._client = client
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        client.start_stream(lambda result, error: self._answers.put((result, error)), **options)

    def send(self, model: str, value: int, **options: Any) -> None:
        shape = [1] if model == "steps" else [1, 1]
        tensor = triton.InferInput("x", shape, "INT64")
        tensor.set_data_from_numpy(np.full(shape, value, np.int64))
        self._client.async_stream_infer(model, [tensor], request_id=str(value), **options)

    def next(self) -> Answer:
        return self._answers.get(timeout=20)

    def values(self, count: int) -> list[int]:
        """The values of `count` answers, none of which may be an error."""
        values = []
        for _ in range(count):
            result, error = self.next()
            assert error is None
            assert result is not None
            values.append(result.as_numpy("y").item())
        return values


@pytest.fixture
def stream(client: triton.InferenceServerClient) -> Iterator[Callable[..., Stream]]:
    yield lambda **options: Stream(client, **options)
    client.stop_stream()


def test_answers_come_in_the_order_of_requests(stream: Callable[..., Stream]) -> None:
    opened = stream()
    sent = list(range(1000))
    for value in sent:
        opened.send("identity_int64", value)

    assert opened.values(len(sent)) == sent


def test_a_slow_answer_holds_its_place(stream: Callable[..., Stream]) -> None:
    opened = stream()
    opened.send("steps", 800)
    for value in range(20):
        opened.send("identity_int64", value)

    assert opened.values(21) == [800, *range(20)]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_streams(stream: Callable[..., Stream], algorithm: str) -> None:
    opened = stream(compression_algorithm=algorithm)
    for value in range(50):
        opened.send("identity_int64", value)

    assert opened.values(50) == list(range(50))


def test_an_error_has_its_place_and_the_stream_goes_on(stream: Callable[..., Stream]) -> None:
    opened = stream()
    for model, value in [("identity_int64", 1), ("nobody", 2), ("lookup", 99), ("lookup", 4)]:
        opened.send(model, value)

    assert opened.values(1) == [1]
    assert opened.next() == (None, matching("unknown model: 'nobody' is not found"))
    assert opened.next() == (None, matching("model 'lookup' failed"))
    assert opened.values(1) == [44]


def test_an_error_is_a_status_where_the_caller_asks_for_it(stream: Callable[..., Stream]) -> None:
    opened = stream(headers={"triton_grpc_error": "true"})
    opened.send("identity_int64", 1)
    opened.send("nobody", 2)

    assert opened.values(1) == [1]
    _, error = opened.next()
    assert error is not None
    assert error.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("is_asked_for", [False, True])
def test_each_answer_is_marked_as_the_final_one(stream: Callable[..., Stream], is_asked_for: bool) -> None:
    """Nothing here answers more than once, so that no empty message is needed to say that it was the last."""
    opened = stream()
    opened.send("identity_int64", 5, enable_empty_final_response=is_asked_for)
    opened.send("identity_int64", 6)

    for value in (5, 6):
        result, _ = opened.next()
        assert result is not None
        response = result.get_response()
        assert (response.id, result.as_numpy("y").item()) == (str(value), value)
        assert response.parameters["triton_final_response"].bool_param


def test_a_stream_may_be_cancelled_with_requests_under_way(client: triton.InferenceServerClient) -> None:
    opened = Stream(client)
    for _ in range(5):
        opened.send("steps", 3000)

    client.stop_stream(cancel_requests=True)

    again = Stream(client)
    again.send("identity_int64", 1)
    assert again.values(1) == [1]
    client.stop_stream()


def test_a_stream_that_takes_too_long(client: triton.InferenceServerClient) -> None:
    opened = Stream(client, stream_timeout=0.1)
    opened.send("steps", 3000)

    _, error = opened.next()

    assert error is not None
    assert error.status() == "StatusCode.DEADLINE_EXCEEDED"
    client.stop_stream()


def test_the_asynchronous_client_streams(server: ServerProcess) -> None:
    async def requests() -> AsyncIterator[dict[str, Any]]:
        for value in range(300):
            tensor = triton_aio.InferInput("x", [1, 1], "INT64")
            tensor.set_data_from_numpy(np.array([[value]]))
            model = "nobody" if value % 100 == 50 else "identity_int64"
            yield {"model_name": model, "inputs": [tensor], "request_id": str(value)}
            if value % 50 == 0:
                await asyncio.sleep(0.01)

    async def main() -> list[int | str]:
        got: list[int | str] = []
        async with triton_aio.InferenceServerClient(server.grpc_url) as client:
            async for result, error in client.stream_infer(requests()):
                got.append(str(error) if error else result.as_numpy("y").item())
        return got

    got = run(main())

    assert [value for value in got if isinstance(value, int)] == [v for v in range(300) if v % 100 != 50]
    assert [index for index, value in enumerate(got) if isinstance(value, str)] == [50, 150, 250]


class matching:
    """Equal to an error whose message contains `text`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, InferenceServerException) and self._text in str(other.message())

    def __repr__(self) -> str:
        return f"<an error with {self._text!r}>"
