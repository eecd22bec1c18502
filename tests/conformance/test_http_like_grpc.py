"""The same request over gRPC and over HTTP: the same outputs, or corresponding codes and the same words."""

import asyncio
import http.client
import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from conformance.conftest import Loop
from conformance.fakes import FakeControl, FakeInference
from headrace import errors
from headrace.core import strings
from headrace.core.caller import STRANGER
from headrace.errors import HeadraceError
from headrace.instance.planner import Machine
from headrace.model.lifecycle import Lifecycle
from headrace.model.loader import Loader
from headrace.model.registry import Registry
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.repository.repository import Repository
from headrace.router.router import Router
from headrace.service.inference import InferenceService
from headrace.settings import GrpcSettings, HttpSettings
from headrace.settings.groups import ExecutionSettings
from headrace.transport.grpc.grpcio import GrpcioTransport
from headrace.transport.grpc.methods import build_methods
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.http_server import HttpTransport
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import Routes
from headrace.transport.limits import DEFAULT_LIMITS
from support import onnx_models
from support.entrances import open_entrance, open_inference

Array = NDArray[Any]
# Name, datatype, shape and the bytes of a tensor.
Wire = tuple[str, str, tuple[int, ...], bytes]

PATH = "/inference.GRPCInferenceService/ModelInfer"
HTTP_CODES = {
    "CANCELLED": 400,
    "UNKNOWN": 400,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "PERMISSION_DENIED": 403,
    "UNAUTHENTICATED": 401,
    "ALREADY_EXISTS": 400,
    "FAILED_PRECONDITION": 409,
    "RESOURCE_EXHAUSTED": 429,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
ALL_MODELS = (
    *(f"identity_{datatype.lower()}" for datatype in onnx_models.ELEMENT_TYPES),
    "sums",
    "mixed",
    "labelled",
    "lookup",
    "versions",
    "scalar",
)


@dataclass(frozen=True)
class Ask:
    """One request in the words of both protocols."""

    model: str
    inputs: tuple[Wire, ...]
    outputs: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    version: str = ""
    id: str = "7"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    of_inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Got:
    """An answer, or the code and the text of an error, the code in gRPC's words."""

    outputs: tuple[Wire, ...] = ()
    version: str = ""
    id: str = ""
    code: Any = None
    text: str = ""


def wire(name: str, datatype: str, array: Array) -> Wire:
    data = strings.pack(array.ravel().tolist()) if datatype == "BYTES" else array.tobytes()
    return name, datatype, array.shape, data


def ones(name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (1, 3)) -> Wire:
    return wire(name, datatype, np.ones(shape, onnx_models.NUMPY[datatype]))


def asking(model: str = "identity_fp32", *inputs: Wire, **fields: Any) -> Ask:
    return Ask(model, inputs or (ones(),), **fields)


class Both:
    """One inference service behind a transport of each kind."""

    def __init__(self, loop: Loop, service: Any) -> None:
        self._loop = loop
        control = FakeControl()
        grpc_settings, http_settings = GrpcSettings(port=0), HttpSettings(port=0)
        methods = build_methods(service, control, grpc_settings, DEFAULT_LIMITS)
        routes = Routes(build_routes(service, control, http_settings, DEFAULT_LIMITS, OffLoop()))
        self._transports = (
            GrpcioTransport(grpc_settings, methods, open_entrance()),
            HttpTransport(http_settings, routes, OffLoop(), open_entrance()),
        )
        grpc_port, self._http_port = (loop.run(each.start()) for each in self._transports)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{grpc_port}")
        self._connection = http.client.HTTPConnection("127.0.0.1", self._http_port, timeout=10)

    def close(self) -> None:
        self._channel.close()
        self._connection.close()
        for each in self._transports:
            self._loop.run(each.stop(1))

    def over_grpc(self, ask: Ask) -> Got:
        message = pb.ModelInferRequest(
            model_name=ask.model,
            model_version=ask.version,
            id=ask.id,
            parameters=parameters_of(ask.parameters),
            inputs=[
                pb.ModelInferRequest.InferInputTensor(
                    name=name, datatype=datatype, shape=shape, parameters=parameters_of(ask.of_inputs)
                )
                for name, datatype, shape, _ in ask.inputs
            ],
            outputs=[
                pb.ModelInferRequest.InferRequestedOutputTensor(name=name, parameters=parameters_of(given))
                for name, given in ask.outputs
            ],
            raw_input_contents=[data for *_, data in ask.inputs],
        )
        try:
            data = self._channel.unary_unary(PATH)(message.SerializeToString(), timeout=10)
        except grpc.RpcError as error:
            return Got(code=error.code().name, text=error.details())
        response = pb.ModelInferResponse.FromString(data)
        outputs = zip(response.outputs, response.raw_output_contents, strict=True)
        return Got(
            tuple((each.name, each.datatype, tuple(each.shape), raw) for each, raw in outputs),
            response.model_version,
            response.id,
        )

    def over_http(self, ask: Ask) -> Got:
        """All tensors as binary data, both ways."""
        document = {
            "id": ask.id,
            "parameters": {**ask.parameters, "binary_data_output": True},
            "inputs": [
                {
                    "name": name,
                    "datatype": datatype,
                    "shape": shape,
                    "parameters": {**ask.of_inputs, "binary_data_size": len(data)},
                }
                for name, datatype, shape, data in ask.inputs
            ],
            "outputs": [{"name": name, "parameters": dict(given)} for name, given in ask.outputs],
        }
        status, headers, body = self._post(ask, document, *[data for *_, data in ask.inputs])
        if status != 200:
            return Got(code=status, text=json.loads(body)["error"])
        length = int(headers["Inference-Header-Content-Length"])
        response, rest = json.loads(body[:length]), body[length:]
        outputs = []
        for each in response["outputs"]:
            size = each["parameters"]["binary_data_size"]
            outputs.append((each["name"], each["datatype"], tuple(each["shape"]), rest[:size]))
            rest = rest[size:]
        assert rest == b""
        return Got(tuple(outputs), response["model_version"], response.get("id", ""))

    def over_json(self, ask: Ask) -> Got:
        """All tensors as JSON, both ways; numbers that JSON can hold only."""
        document = {
            "id": ask.id,
            "parameters": dict(ask.parameters),
            "inputs": [
                {"name": name, "datatype": datatype, "shape": shape, "data": listed(datatype, data)}
                for name, datatype, shape, data in ask.inputs
            ],
            "outputs": [{"name": name, "parameters": dict(given)} for name, given in ask.outputs],
        }
        status, _, body = self._post(ask, document)
        if status != 200:
            return Got(code=status, text=json.loads(body)["error"])
        response = json.loads(body)
        outputs = tuple(
            (each["name"], each["datatype"], tuple(each["shape"]), packed(each["datatype"], each["data"]))
            for each in response["outputs"]
        )
        return Got(outputs, response["model_version"], response.get("id", ""))

    def _post(self, ask: Ask, document: Any, *blobs: bytes) -> tuple[int, Mapping[str, str], bytes]:
        text = json.dumps(document).encode()
        version = f"/versions/{ask.version}" if ask.version else ""
        headers = {"Inference-Header-Content-Length": str(len(text))} if blobs else {}
        path = f"/v2/models/{ask.model}{version}/infer"
        self._connection.request("POST", path, b"".join([text, *blobs]), headers)
        response = self._connection.getresponse()
        return response.status, response.headers, response.read()


def parameters_of(values: Mapping[str, Any]) -> dict[str, pb.InferParameter]:
    fields = {bool: "bool_param", int: "int64_param", float: "double_param", str: "string_param"}
    return {name: pb.InferParameter(**{fields[type(value)]: value}) for name, value in values.items()}


def listed(datatype: str, data: bytes) -> list[Any]:
    if datatype == "BYTES":
        return [each.decode() for each in strings.unpack(data)]
    values: list[Any] = np.frombuffer(data, onnx_models.NUMPY[datatype]).tolist()
    return values


def packed(datatype: str, data: list[Any]) -> bytes:
    if datatype == "BYTES":
        return strings.pack([each.encode() for each in data])
    return np.array(data, onnx_models.NUMPY[datatype]).tobytes()


def assert_refused_alike(over_grpc: Got, over_http: Got, *, in_the_same_words: bool = True) -> None:
    assert over_grpc.code is not None
    assert over_http.code == HTTP_CODES[over_grpc.code]
    assert over_http.text
    if in_the_same_words:
        assert over_http.text == over_grpc.text


@pytest.fixture(scope="module")
def both(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    """Models that run, behind both."""
    path = tmp_path_factory.mktemp("repository")
    onnx_models.write_models(path, *ALL_MODELS)

    async def running() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    async def load() -> None:
        await lifecycle.apply(await lifecycle.rescan())

    event_loop = loop.run(running())
    executor = ThreadPoolExecutor(2)
    registry, repository = Registry(), Repository(path)
    loader = Loader(repository, Machine(2, ()), ExecutionSettings(), executor, event_loop)
    lifecycle = Lifecycle(repository, registry, loader, executor, event_loop)
    loop.run(load())
    both = Both(loop, open_inference(InferenceService(Router(registry, event_loop))))
    loop.unhandled.clear()
    yield both
    both.close()
    assert loop.run(lifecycle.stop(10))
    executor.shutdown()
    assert loop.unhandled == []


# Answers

VALID = {
    **{
        f"identity {datatype}": asking(
            f"identity_{datatype.lower()}",
            wire("x", datatype, onnx_models.array(datatype, (3, 5), seed=4)),
        )
        for datatype in onnx_models.ELEMENT_TYPES
    },
    "no elements": asking("identity_fp32", ones(shape=(2, 0))),
    "no id": asking(id=""),
    "an id": asking(id="ü-🙂\n"),
    "all outputs": asking("sums", ones("a", shape=(2, 4)), ones("b", shape=(2, 4))),
    "inputs in another order": asking("sums", ones("b", shape=(2, 4)), ones("a", shape=(2, 4))),
    "some outputs": asking(
        "sums", ones("a", shape=(1, 4)), ones("b", shape=(1, 4)), outputs=(("first", {}), ("sum", {}))
    ),
    "an output twice": asking(
        outputs=(("y", {"classification": 1}), ("y", {})),
    ),
    "classes": asking(
        "labelled",
        wire("x", "FP32", np.array([[0.5, 3, -1], [7, 7, 8]], np.float32)),
        outputs=(("y", {"classification": 2}),),
    ),
    "more classes than there are": asking("labelled", outputs=(("y", {"classification": 1000}),)),
    "a version": asking("versions", ones("x", "INT64", (1, 1)), version="1"),
    "the newest version": asking("versions", ones("x", "INT64", (1, 1))),
    "a scalar": asking("scalar", ones(shape=(1,))),
    "parameters": asking(parameters={"a": 1, "b": "x", "c": True, "d": 0.5, "priority": 0, "timeout": 10**6}),
    "several types": asking(
        "mixed",
        wire("number", "INT64", onnx_models.array("INT64", (2, 1))),
        wire("text", "BYTES", onnx_models.array("BYTES", (2, 3))),
        wire("flag", "BOOL", onnx_models.array("BOOL", (2, 2))),
        wire("matrix", "FP16", onnx_models.array("FP16", (2, 2, 4))),
    ),
}


@pytest.mark.parametrize("name", VALID)
def test_a_request_is_answered_alike(both: Both, name: str) -> None:
    over_grpc, over_http = both.over_grpc(VALID[name]), both.over_http(VALID[name])

    assert over_grpc.code is None
    assert over_http == over_grpc


def fits_json(tensor: Wire) -> bool:
    """JSON has neither half precision nor NaN and infinities."""
    _, datatype, _, data = tensor
    if datatype in ("FP32", "FP64"):
        return bool(np.isfinite(np.frombuffer(data, onnx_models.NUMPY[datatype])).all())
    return datatype not in ("FP16", "BF16")


IN_JSON = {name: ask for name, ask in VALID.items() if all(map(fits_json, ask.inputs))}


@pytest.mark.parametrize("name", IN_JSON)
def test_a_request_in_json_is_answered_alike(both: Both, name: str) -> None:
    assert both.over_json(IN_JSON[name]) == both.over_grpc(IN_JSON[name])


# Refusals by the model

REFUSED = {
    "unknown model": asking("nobody"),
    "unknown version": asking("versions", ones("x", "INT64", (1, 1)), version="2"),
    "version 0": asking("versions", ones("x", "INT64", (1, 1)), version="0"),
    "no version": asking("versions", ones("x", "INT64", (1, 1)), version="x"),
    "unknown input": asking("identity_fp32", ones("z")),
    "missing input": asking("sums", ones("a", shape=(1, 4))),
    "wrong datatype": asking("identity_fp32", ones("x", "FP64")),
    "wrong shape": asking("labelled", ones(shape=(1, 4))),
    "wrong rank": asking("labelled", ones(shape=(3,))),
    "too many rows": asking("labelled", ones(shape=(33, 3))),
    "no rows": asking("labelled", ones(shape=(0, 3))),
    "rows that differ": asking("sums", ones("a", shape=(1, 4)), ones("b", shape=(2, 4))),
    "too few bytes": asking("identity_fp32", ("x", "FP32", (1, 3), bytes(8))),
    "too many bytes": asking("identity_fp32", ("x", "FP32", (1, 3), bytes(13))),
    "text that breaks off": asking("identity_bytes", ("x", "BYTES", (1, 1), b"\x09\0\0\0a")),
    "text that is not UTF-8": asking("identity_bytes", ("x", "BYTES", (1, 1), b"\x01\0\0\0\xff")),
    "fewer texts": asking("identity_bytes", ("x", "BYTES", (1, 2), b"\x01\0\0\0a")),
    "unknown output": asking(outputs=(("z", {}),)),
    "classes of texts": asking(
        "identity_bytes", ("x", "BYTES", (1, 1), bytes(4)), outputs=(("y", {"classification": 1}),)
    ),
    "a run that fails": asking("lookup", wire("x", "INT64", np.array([[99]]))),
    # by the transports, which have the same words for these
    "negative size": asking("identity_fp32", ("x", "FP32", (-1, 3), bytes(12))),
    "huge size": asking("identity_fp32", ("x", "FP32", (1, 2**31), bytes(12))),
    "sizes that overflow": asking("identity_fp32", ("x", "FP32", (2**16, 2**16), bytes(12))),
    "33 dimensions": asking("identity_fp32", ("x", "FP32", (1,) * 33, bytes(4))),
    "an input twice": asking("identity_fp32", ones(), ones()),
    "257 inputs": asking("identity_fp32", *[ones(str(index), shape=(1,)) for index in range(257)]),
    "257 outputs": asking(outputs=tuple((str(index), {}) for index in range(257))),
    "no class": asking(outputs=(("y", {"classification": 0}),)),
    "negative classes": asking(outputs=(("y", {"classification": -1}),)),
    "shared input": asking(of_inputs={"shared_memory_region": "r"}),
    "shared output": asking(outputs=(("y", {"shared_memory_region": "r"}),)),
    "headers": asking(parameters={"headers": "x"}),
    "triton_": asking(parameters={"triton_x": True}),
    "headrace_": asking(parameters={"headrace_x": True}),
    "negative priority": asking(parameters={"priority": -1}),
    "negative timeout": asking(parameters={"timeout": -1}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_is_refused_in_the_same_words(both: Both, name: str) -> None:
    assert_refused_alike(both.over_grpc(REFUSED[name]), both.over_http(REFUSED[name]))


@pytest.mark.parametrize("request_id", ["", "9", "ü" * 200])
def test_a_refusal_names_the_request_alike(both: Both, request_id: str) -> None:
    ask = replace(REFUSED["wrong shape"], id=request_id)

    over_grpc, over_http = both.over_grpc(ask), both.over_http(ask)

    assert_refused_alike(over_grpc, over_http)
    assert over_http.text.startswith(f"[request id: {request_id[:128] or '<id_unknown>'}] ")


IN_OTHER_WORDS = {
    "unknown datatype": asking("identity_fp32", ("x", "FP8", (1, 3), bytes(12))),
    "sequence_id": asking(parameters={"sequence_id": True}),
    "sequence_start": asking(parameters={"sequence_start": 1}),
    "priority": asking(parameters={"priority": "1"}),
    "timeout": asking(parameters={"timeout": 1.5}),
    "headrace_timings": asking(parameters={"headrace_timings": "true"}),
    "classification": asking(outputs=(("y", {"classification": "1"}),)),
    "257 parameters": asking(parameters={str(index): True for index in range(257)}),
    "257 parameters of an input": asking(of_inputs={str(index): True for index in range(257)}),
    "257 parameters of an output": asking(outputs=(("y", {str(index): True for index in range(257)}),)),
}


@pytest.mark.parametrize("name", IN_OTHER_WORDS)
def test_a_request_is_refused_with_the_same_code(both: Both, name: str) -> None:
    ask = IN_OTHER_WORDS[name]

    assert_refused_alike(both.over_grpc(ask), both.over_http(ask), in_the_same_words=False)


# What reaches the service


@pytest.fixture(scope="module")
def fake() -> FakeInference:
    return FakeInference()


@pytest.fixture(scope="module")
def both_on_fakes(loop: Loop, fake: FakeInference) -> Iterator[Both]:
    both = Both(loop, fake)
    yield both
    both.close()


REACHING = {
    "parameters": asking(
        "echo",
        parameters={"a": 1, "b": "ü", "c": True, "d": 0.5, "sequence_id": 5, "priority": 1, "timeout": 9},
    ),
    "timings": asking("echo", parameters={"headrace_timings": True}),
    "outputs": asking("echo", outputs=(("y", {"classification": 3}), ("z", {}))),
    "version": asking("echo", version="12", id=""),
    "inputs": asking("echo", *[ones(name, kind) for name, kind in zip("abc", ("FP64", "BOOL", "BF16"))]),
}


@pytest.mark.parametrize("name", REACHING)
def test_the_service_sees_the_same_request(both_on_fakes: Both, fake: FakeInference, name: str) -> None:
    both_on_fakes.over_grpc(REACHING[name])
    both_on_fakes.over_http(REACHING[name])

    over_grpc, over_http = fake.requests[-2:]
    assert over_grpc.model_name == over_http.model_name == "echo"
    for tensor in (*over_grpc.inputs, *over_http.inputs):
        tensor.data = bytes(tensor.data)
    # Of strangers the address is known where it costs nothing.
    same = {"arrived_ns": 0, "deadline_ns": None, "caller": STRANGER}
    assert replace(over_http, **same) == replace(over_grpc, **same)


@pytest.mark.parametrize(
    "error",
    [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HeadraceError)],
    ids=lambda error: error.__name__,
)
def test_each_error_has_corresponding_codes_and_one_text(
    both_on_fakes: Both, fake: FakeInference, error: type[HeadraceError]
) -> None:
    fake.errors["odd"] = error("\ttext of BMP ☺ and beyond 😈\n")

    over_grpc, over_http = both_on_fakes.over_grpc(asking("odd")), both_on_fakes.over_http(asking("odd"))

    assert_refused_alike(over_grpc, over_http)
    assert over_http.text == "\ttext of BMP ☺ and beyond 😈\n"


def test_a_bug_is_told_in_the_same_words(both_on_fakes: Both, caplog: pytest.LogCaptureFixture) -> None:
    over_grpc, over_http = both_on_fakes.over_grpc(asking("bug")), both_on_fakes.over_http(asking("bug"))

    assert over_grpc.code == "INTERNAL"
    assert over_http.code == 500
    assert "secret" not in over_grpc.text + over_http.text
    assert [record.getMessage() for record in caplog.records] == [
        f"{PATH} failed",
        "POST /v2/models/bug/infer failed",
    ]
