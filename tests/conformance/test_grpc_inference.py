"""ModelInfer over every gRPC transport, by clients that others wrote and by plain calls."""

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable

import grpc
import grpc.aio
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.grpc.aio
from tritonclient.utils import InferenceServerException

from conformance.conftest import Serving
from headrace.errors import InvalidArgument, Unavailable
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.settings import Compression

PATH = "/inference.GRPCInferenceService/ModelInfer"


def a_request(model_name: str = "echo", request_id: str = "7", size: int = 16) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(
        model_name=model_name,
        id=request_id,
        inputs=[pb.ModelInferRequest.InferInputTensor(name="x", datatype="UINT8", shape=[1, size])],
        raw_input_contents=[bytes(size)],
    )


def unary(channel: grpc.Channel, path: str = PATH) -> grpc.UnaryUnaryMultiCallable:
    return channel.unary_unary(path)


def infer(channel: grpc.Channel, request: pb.ModelInferRequest, **options: object) -> pb.ModelInferResponse:
    data = unary(channel)(request.SerializeToString(), timeout=10, **options)
    return pb.ModelInferResponse.FromString(data)


class CountingProxy:
    """Passes one connection on to a port of this machine, and counts what comes back."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._server = socket.create_connection(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self.answered_bytes = 0
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "CountingProxy":
        self._start(self._accept)
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _start(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self._start(self._pass_on, client, self._server, False)
        self._pass_on(self._server, client, True)

    def _pass_on(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with source, contextlib.suppress(OSError):
            while data := source.recv(65536):
                self.answered_bytes += len(data) if is_answer else 0
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


def an_input(array: np.ndarray, datatype: str) -> tritonclient.grpc.InferInput:
    tensor = tritonclient.grpc.InferInput("x", array.shape, datatype)
    tensor.set_data_from_numpy(array)
    return tensor


@pytest.mark.parametrize(
    ("array", "datatype"),
    [
        (np.array([[True, False]]), "BOOL"),
        (np.array([[1, 255]], np.uint8), "UINT8"),
        (np.array([[1, 65535]], np.uint16), "UINT16"),
        (np.array([[1, 2**32 - 1]], np.uint32), "UINT32"),
        (np.array([[1, 2**64 - 1]], np.uint64), "UINT64"),
        (np.array([[-128, 127]], np.int8), "INT8"),
        (np.array([[-1, 2]], np.int16), "INT16"),
        (np.array([[-1, 2]], np.int32), "INT32"),
        (np.array([[-(2**63), 2]], np.int64), "INT64"),
        (np.array([[0.5, -2]], np.float16), "FP16"),
        (np.array([[0.5, np.inf]], np.float32), "FP32"),
        (np.array([[0.5, -2]], np.float64), "FP64"),
        (np.array([["grün".encode(), b"\x00\xff"]], np.object_), "BYTES"),
        (np.array([[0.5, -2]], ml_dtypes.bfloat16), "BF16"),
        (np.empty((0, 3), np.float32), "FP32"),
    ],
)
def test_tritonclient_gets_each_datatype_back(server: Serving, array: np.ndarray, datatype: str) -> None:
    with tritonclient.grpc.InferenceServerClient(server.target) as client:
        result = client.infer("echo", [an_input(array, datatype)], request_id="r1")

    answer = result.as_numpy("x")
    assert answer.shape == array.shape
    np.testing.assert_array_equal(answer, array)
    assert result.get_response().id == "r1"
    assert result.get_response().model_version == "1"


def test_tritonclient_aio(server: Serving) -> None:
    async def work() -> list[object]:
        async with tritonclient.grpc.aio.InferenceServerClient(server.target) as client:
            tensor = an_input(np.arange(3, dtype=np.int64), "INT64")
            results = await asyncio.gather(
                *[client.infer("echo", [tensor], request_id=str(index)) for index in range(20)]
            )
            return [result.get_response().id for result in results]

    assert server.loop.run(work()) == [str(index) for index in range(20)]


def test_tritonclient_sends_parameters_and_compressed_messages(server: Serving) -> None:
    array = np.zeros((1, 4096), np.float32)
    with tritonclient.grpc.InferenceServerClient(server.target) as client:
        for algorithm in ("gzip", "deflate"):
            result = client.infer(
                "echo",
                [an_input(array, "FP32")],
                compression_algorithm=algorithm,
                parameters={"word": "ü", "number": 3, "flag": True},
                priority=1,
                timeout=500,
            )
            np.testing.assert_array_equal(result.as_numpy("x"), array)

    assert server.inference.requests[-1].parameters == {
        "word": "ü",
        "number": 3,
        "flag": True,
        "priority": 1,
        "timeout": 500,
    }


@pytest.mark.parametrize(
    ("compression", "is_small"),
    [(Compression.NONE, False), (Compression.GZIP, True), (Compression.DEFLATE, True)],
)
def test_answers_are_compressed_where_settings_say_so(
    serve: Callable[..., Serving], compression: Compression, is_small: bool
) -> None:
    server = serve(compression=compression)

    with CountingProxy(server.port) as proxy, grpc.insecure_channel(f"127.0.0.1:{proxy.port}") as channel:
        response = infer(channel, a_request(size=100_000))

    assert response.raw_output_contents[0] == bytes(100_000)
    assert (proxy.answered_bytes < 10_000) is is_small


def test_four_mebibytes_both_ways(server: Serving) -> None:
    data = np.random.default_rng(0).bytes(4 * 2**20)
    request = a_request(size=len(data))
    request.raw_input_contents[0] = data

    assert infer(server.channel(), request).raw_output_contents[0] == data


def test_request_over_the_message_limit(serve: Callable[..., Serving]) -> None:
    server = serve(max_receive_message_bytes=2000)

    assert len(infer(server.channel(), a_request(size=1900)).raw_output_contents[0]) == 1900
    with pytest.raises(grpc.RpcError) as error:
        infer(server.channel(), a_request(size=2000))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_answer_over_the_message_limit(serve: Callable[..., Serving]) -> None:
    server = serve(max_send_message_bytes=2000)

    with pytest.raises(grpc.RpcError) as error:
        infer(server.channel(), a_request(size=4000))
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_errors_keep_their_status_and_text(server: Serving) -> None:
    text = "\t\ntest with whitespace\r\nand Unicode BMP ☺ and non-BMP 😈\t\n"
    server.inference.errors["odd"] = InvalidArgument(text)
    server.inference.errors["busy"] = Unavailable("Exceeds maximum queue size")

    with pytest.raises(grpc.RpcError) as odd:
        infer(server.channel(), a_request("odd"))
    with pytest.raises(grpc.RpcError) as busy:
        infer(server.channel(), a_request("busy"))
    with (
        tritonclient.grpc.InferenceServerClient(server.target) as client,
        pytest.raises(InferenceServerException) as unknown,
    ):
        client.infer("none", [an_input(np.zeros(1, np.int8), "INT8")])

    assert (odd.value.code(), odd.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, text)
    assert (busy.value.code(), busy.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        "Exceeds maximum queue size",
    )
    assert unknown.value.status() == "StatusCode.NOT_FOUND"
    assert unknown.value.message() == "Request for unknown model: 'none' is not found"


def test_a_long_error_is_cut_to_what_headers_hold(server: Serving) -> None:
    server.inference.errors["long"] = InvalidArgument("ü" * 50_000)

    with pytest.raises(grpc.RpcError) as error:
        infer(server.channel(), a_request("long"))

    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.value.details().startswith("üüü")
    assert error.value.details().endswith("ü…")


def test_bugs_are_logged_and_not_told(server: Serving, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as error:
        infer(server.channel(), a_request("bug"))

    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in error.value.details()
    (record,) = caplog.records
    assert record.getMessage() == f"{PATH} failed"
    assert "a secret of /etc/headrace" in caplog.text


def test_bytes_that_are_no_message(server: Serving) -> None:
    with pytest.raises(grpc.RpcError) as error:
        unary(server.channel())(b"\xff\xff\xff", timeout=10)

    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert error.value.details() == "the request is not a valid inference.ModelInferRequest message"


@pytest.mark.parametrize(
    "path",
    [
        "/inference.GRPCInferenceService/modelInfer",
        "/inference.GRPCInferenceService/ModelInfer/",
        "/inference.GRPCInferenceService/ModelInfer?x=1",
        "/inference.GRPCInferenceService/Model%49nfer",
        "/inference.Nothing/ModelInfer",
        "/nothing",
    ],
)
def test_unknown_method(server: Serving, path: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        unary(server.channel(), path)(b"", timeout=10)

    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error.value.details() == "Method not found!"


@pytest.mark.usefixtures("quiet")
def test_call_without_a_message_is_answered(server: Serving) -> None:
    with pytest.raises(grpc.RpcError) as error:
        server.channel().stream_unary(PATH)(iter(()), timeout=10)

    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_deadline_reaches_the_service(server: Serving) -> None:
    channel = server.channel()
    infer(channel, a_request())
    without = server.inference.requests[-1]
    unary(channel)(a_request().SerializeToString(), timeout=5)
    within = server.inference.requests[-1]
    unary(channel)(a_request().SerializeToString())
    none = server.inference.requests[-1]

    assert none.deadline_ns is None
    assert without.deadline_ns is not None
    assert within.deadline_ns is not None
    assert 4 < (within.deadline_ns - within.arrived_ns) / 1e9 < 5.1  # grpc rounds up
    assert abs(within.arrived_ns - time.monotonic_ns()) < 10e9


@pytest.mark.usefixtures("quiet")
def test_a_passed_deadline_leaves_nobody_waiting(server: Serving) -> None:
    with pytest.raises(grpc.RpcError) as error:
        unary(server.channel())(a_request("hold").SerializeToString(), timeout=0.2)

    assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    _, reply = server.inference.held[0]
    server.loop.until(lambda: not reply.is_wanted)
    server.loop.call(server.inference.release, 0)


@pytest.mark.usefixtures("quiet")
def test_a_cancelled_request_is_unwanted_and_harms_nobody(server: Serving) -> None:
    channel = server.channel()
    cancelled = unary(channel).future(a_request("hold", "a").SerializeToString())
    server.loop.until(lambda: len(server.inference.held) == 1)
    waiting = unary(channel).future(a_request("hold", "b").SerializeToString())
    server.loop.until(lambda: len(server.inference.held) == 2)

    cancelled.cancel()
    server.loop.until(lambda: not server.inference.held[0][1].is_wanted)
    assert server.inference.held[1][1].is_wanted
    server.loop.call(server.inference.release, 0)
    server.loop.call(server.inference.release, 1)

    assert pb.ModelInferResponse.FromString(waiting.result(10)).id == "b"


@pytest.mark.usefixtures("quiet")
def test_a_lost_connection_leaves_nobody_waiting(server: Serving) -> None:
    channel = server.channel()
    calls = [unary(channel).future(a_request("hold").SerializeToString()) for _ in range(10)]
    server.loop.until(lambda: len(server.inference.held) == 10)

    channel.close()

    server.loop.until(lambda: not any(reply.is_wanted for _, reply in server.inference.held))
    assert all(call.done() for call in calls)


@pytest.mark.usefixtures("quiet")
def test_many_callers_who_leave_at_any_moment(server: Serving) -> None:
    data = a_request("echo", size=50_000).SerializeToString()

    async def work() -> None:
        for delay_ms in range(40):
            async with grpc.aio.insecure_channel(server.target) as channel:
                calls = [channel.unary_unary(PATH)(data) for _ in range(8)]
                await asyncio.sleep(delay_ms / 10_000)
                for call in calls[::2]:
                    call.cancel()
                await asyncio.gather(*calls[1::2])

    server.loop.run(work())


def test_timings_by_parameter_and_by_metadata(server: Serving) -> None:
    expected = {
        "headrace_queue_us": 10,
        "headrace_batch_wait_us": 2,
        "headrace_compute_input_us": 3,
        "headrace_compute_infer_us": 40,
        "headrace_compute_output_us": 5,
        "headrace_total_us": 60,
        "headrace_batch_rows": 4,
    }
    channel, request = server.channel(), a_request()
    request.parameters["headrace_timings"].bool_param = True

    by_parameter = infer(channel, request)
    by_metadata = infer(channel, a_request(), metadata=[("headrace-timings", "true")])
    without = infer(channel, a_request())

    for response in (by_parameter, by_metadata):
        assert {name: value.int64_param for name, value in response.parameters.items()} == expected
    assert not without.parameters


def test_large_metadata_is_refused_over_the_limit_only(serve: Callable[..., Serving]) -> None:
    server = serve(max_metadata_bytes=16384)
    channel = server.channel()

    for _ in range(20):
        infer(channel, a_request(), metadata=[("x-large", "a" * 14_000)])
    with pytest.raises(grpc.RpcError) as error:
        infer(channel, a_request(), metadata=[("x-large", "a" * 20_000)])
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_drain_lets_calls_finish_and_takes_no_more(server: Serving) -> None:
    channel = server.channel()
    waiting = unary(channel).future(a_request("hold", "a").SerializeToString())
    server.loop.until(lambda: len(server.inference.held) == 1)

    async def stop_and_release() -> float:
        began = time.monotonic()
        stopping = asyncio.create_task(server.transport.stop(10))
        await asyncio.sleep(0.2)
        server.inference.release(0)
        await stopping
        return time.monotonic() - began

    assert server.loop.run(stop_and_release()) < 5
    assert pb.ModelInferResponse.FromString(waiting.result(10)).id == "a"
    with pytest.raises(grpc.RpcError) as error:
        infer(channel, a_request())
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE


def test_drain_ends_after_its_grace(server: Serving) -> None:
    waiting = unary(server.channel()).future(a_request("hold").SerializeToString())
    server.loop.until(lambda: len(server.inference.held) == 1)

    server.loop.run(server.transport.stop(0.2))

    assert waiting.exception(10).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert not server.inference.held[0][1].is_wanted


def test_a_port_in_use_is_named(serve: Callable[..., Serving]) -> None:
    first = serve()

    with pytest.raises(OSError, match=rf"cannot listen on 127\.0\.0\.1:{first.port}: address already in use"):
        serve(port=first.port)


def test_an_address_that_is_not_ours_is_named(serve: Callable[..., Serving], tmp_path: object) -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:0: cannot assign requested address"):
        serve(address="192.0.2.1")
    with pytest.raises(OSError, match=r"cannot listen on unix:.*/none/headrace\.sock"):
        serve(address=f"unix:{tmp_path}/none/headrace.sock")


def test_unix_socket(serve: Callable[..., Serving], tmp_path: object) -> None:
    address = f"unix:{tmp_path}/headrace.sock"
    server = serve(address=address)

    assert server.port == 0
    with grpc.insecure_channel(address) as channel:
        assert infer(channel, a_request()).id == "7"


def test_ipv6(serve: Callable[..., Serving]) -> None:
    server = serve(address="::1")

    with grpc.insecure_channel(f"[::1]:{server.port}") as channel:
        assert infer(channel, a_request()).id == "7"
