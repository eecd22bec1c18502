"""ModelStreamInfer over every gRPC transport: order, errors, flow control, and callers who leave."""

import queue
import threading
import time
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from conformance.conftest import Serving
from conformance.test_grpc_inference import a_request
from headrace.errors import Unavailable
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.transport.grpc.infer_stream import MAX_UNANSWERED

PATH = "/inference.GRPCInferenceService/ModelStreamInfer"


class Requests:
    """The requests of one stream, sent as the test says."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[bytes | None] = queue.Queue()
        self.taken_count = 0

    def send(self, request: pb.ModelInferRequest) -> None:
        self._waiting.put(request.SerializeToString())

    def end(self) -> None:
        self._waiting.put(None)

    def __iter__(self) -> Iterator[bytes]:
        while (data := self._waiting.get()) is not None:
            self.taken_count += 1
            yield data


@pytest.fixture
def requests() -> Iterator[Requests]:
    requests = Requests()
    yield requests
    requests.end()


def open_stream(server: Serving, requests: Requests, **options: object) -> Iterator[bytes]:
    return server.channel().stream_stream(PATH)(iter(requests), **({"timeout": 20} | options))


def responses(call: Iterator[bytes]) -> list[pb.ModelStreamInferResponse]:
    return [pb.ModelStreamInferResponse.FromString(data) for data in call]


def test_answers_come_in_the_order_of_requests(server: Serving, requests: Requests) -> None:
    call = open_stream(server, requests)
    for index in range(5):
        requests.send(a_request("hold" if index in (0, 2) else "echo", str(index)))
    requests.end()
    server.loop.until(lambda: len(server.inference.requests) == 5)

    server.loop.call(server.inference.release, 1)
    server.loop.call(server.inference.release, 0)

    answers = responses(call)
    assert [answer.infer_response.id for answer in answers] == ["0", "1", "2", "3", "4"]
    assert all(answer.infer_response.parameters["triton_final_response"].bool_param for answer in answers)
    assert all(answer.infer_response.raw_output_contents == [bytes(16)] for answer in answers)


def test_an_error_is_a_message_and_the_stream_goes_on(server: Serving, requests: Requests) -> None:
    call = open_stream(server, requests)
    bad_datatype = a_request("echo", "bad")
    bad_datatype.inputs[0].datatype = "INT7"
    requests.send(a_request("none", "first"))
    requests.send(bad_datatype)
    requests.send(a_request("echo", "last"))
    requests.end()

    first, bad, last = responses(call)

    assert first.error_message == "Request for unknown model: 'none' is not found"
    assert first.infer_response.id == "first"
    assert bad.error_message == "input 'x' for model 'echo' has the unknown datatype 'INT7'"
    assert bad.infer_response.id == "bad"
    assert (last.error_message, last.infer_response.id) == ("", "last")


def test_an_error_is_a_status_where_the_caller_asks_for_it(server: Serving, requests: Requests) -> None:
    server.inference.errors["busy"] = Unavailable("Exceeds maximum queue size")
    call = open_stream(server, requests, metadata=[("triton_grpc_error", "true")])
    requests.send(a_request("echo", "first"))
    requests.send(a_request("hold", "second"))
    requests.send(a_request("busy", "third"))
    requests.send(a_request("hold", "fourth"))
    server.loop.until(lambda: len(server.inference.requests) == 4)
    server.loop.call(server.inference.release, 0)

    answers = []
    with pytest.raises(grpc.RpcError) as error:
        answers += [next(call), next(call)]
        next(call)

    assert len(answers) == 2
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error.value.details() == "Exceeds maximum queue size"
    server.loop.until(lambda: not server.inference.held[1][1].is_wanted)
    server.loop.call(server.inference.release, 1)


def test_bytes_that_are_no_message_end_the_stream(server: Serving) -> None:
    call = server.channel().stream_stream(PATH)(iter([b"\xff\xff"]), timeout=20)

    with pytest.raises(grpc.RpcError) as error:
        next(call)

    assert error.value.code() is grpc.StatusCode.INTERNAL


def test_bugs_end_the_stream_without_their_details(server: Serving, requests: Requests) -> None:
    call = open_stream(server, requests)
    requests.send(a_request("bug"))

    with pytest.raises(grpc.RpcError) as error:
        next(call)

    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.value.details()


def test_no_more_than_a_bounded_number_is_read(server: Serving, requests: Requests) -> None:
    call = open_stream(server, requests)
    for index in range(MAX_UNANSWERED + 50):
        requests.send(a_request("hold", str(index)))
    requests.end()
    server.loop.until(lambda: len(server.inference.held) == MAX_UNANSWERED)
    time.sleep(0.2)
    assert len(server.inference.held) == MAX_UNANSWERED

    for index in range(MAX_UNANSWERED):
        server.loop.call(server.inference.release, index)
    server.loop.until(lambda: len(server.inference.held) == MAX_UNANSWERED + 50)
    for index in range(MAX_UNANSWERED, MAX_UNANSWERED + 50):
        server.loop.call(server.inference.release, index)

    ids = [answer.infer_response.id for answer in responses(call)]
    assert ids == [str(index) for index in range(MAX_UNANSWERED + 50)]


def test_a_slow_reader_stops_its_own_requests(server: Serving, requests: Requests) -> None:
    call = open_stream(server, requests)
    for index in range(600):
        requests.send(a_request("echo", str(index), size=100_000))
    requests.end()

    settled = -1
    while settled != len(server.inference.requests):
        settled = len(server.inference.requests)
        time.sleep(0.3)
    assert settled < 500

    assert len(responses(call)) == 600


@pytest.mark.usefixtures("quiet")
def test_a_caller_who_leaves_is_not_waited_for(server: Serving, requests: Requests) -> None:
    call = open_stream(server, requests)
    for _ in range(3):
        requests.send(a_request("hold"))
    server.loop.until(lambda: len(server.inference.held) == 3)

    call.cancel()

    server.loop.until(lambda: not any(reply.is_wanted for _, reply in server.inference.held))
    for index in range(3):
        server.loop.call(server.inference.release, index)


@pytest.mark.usefixtures("quiet")
def test_slow_readers_may_leave(server: Serving) -> None:
    for _ in range(5):
        requests = Requests()
        call = open_stream(server, requests)
        for index in range(100):
            requests.send(a_request("echo", str(index), size=100_000))
        served_count = len(server.inference.requests)
        server.loop.until(lambda: len(server.inference.requests) > served_count)  # noqa: B023
        call.cancel()
        requests.end()

    began = time.monotonic()
    server.loop.run(server.transport.stop(10))
    assert time.monotonic() - began < 5


def test_a_stream_without_requests_ends_well(server: Serving, requests: Requests) -> None:
    requests.end()

    assert responses(open_stream(server, requests)) == []


def test_drain_answers_what_was_read_and_ends_the_stream(server: Serving, requests: Requests) -> None:
    call = open_stream(server, requests)
    requests.send(a_request("hold", "a"))
    server.loop.until(lambda: len(server.inference.held) == 1)

    stopping = threading.Thread(target=server.loop.run, args=(server.transport.stop(10),))
    stopping.start()
    time.sleep(0.1)
    server.loop.call(server.inference.release, 0)
    answer = pb.ModelStreamInferResponse.FromString(next(call))
    with pytest.raises(grpc.RpcError) as error:
        next(call)
    stopping.join(5)

    assert not stopping.is_alive()
    assert answer.infer_response.id == "a"
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_tritonclient_streams(server: Serving) -> None:
    answers: queue.Queue[tuple[object, InferenceServerException | None]] = queue.Queue()
    array = np.arange(8, dtype=np.float32)
    tensor = tritonclient.grpc.InferInput("x", array.shape, "FP32")
    tensor.set_data_from_numpy(array)

    with tritonclient.grpc.InferenceServerClient(server.target) as client:
        client.start_stream(callback=lambda result, error: answers.put((result, error)))
        for index in range(20):
            client.async_stream_infer(
                "echo", [tensor], request_id=str(index), enable_empty_final_response=True
            )
        client.async_stream_infer("none", [tensor], request_id="20")
        client.stop_stream()

    for index in range(20):
        result, error = answers.get(timeout=5)
        assert error is None
        assert result.get_response().id == str(index)
        np.testing.assert_array_equal(result.as_numpy("x"), array)
    _, error = answers.get(timeout=5)
    assert error.message() == "Request for unknown model: 'none' is not found"
