"""Triton's HTTP clients, synchronous and asynchronous, against the real server and its sample models."""

import asyncio
import http.client
import json
import shutil
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http as triton
import tritonclient.http.aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from support import onnx_models
from support.loops import run
from support.refusals import REFUSALS
from support.server import ServerProcess

T = TypeVar("T")
Client = triton.InferenceServerClient
AioClient = tritonclient.http.aio.InferenceServerClient
Array = NDArray[Any]

SAMPLES = Path(__file__).resolve().parents[2] / "model_repository"
SAMPLE_NAMES = ("cancer", "digits", "text_topics")
NAMES = (
    *(f"identity_{datatype.lower()}" for datatype in onnx_models.ELEMENT_TYPES),
    "fixed_fp32",
    "variable",
    "sums",
    "mixed",
    "labelled",
    "logarithm",
    "versions",
)
WITHOUT_JSON = ("FP16", "BF16")
CODINGS = [None, "gzip", "deflate"]
SHARED_MEMORY_DISABLED = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository")
    for name in SAMPLE_NAMES:
        shutil.copytree(SAMPLES / name, path / name)
    onnx_models.write_models(path, *NAMES)
    return path


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess], repository: Path) -> ServerProcess:
    arguments = ("--model-control-mode=explicit", "--load-model=*", "--server-name=under-test")
    return serve(repository=repository, arguments=arguments)


@pytest.fixture(scope="module")
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.http_url, concurrency=8) as client:
        yield client


@pytest.fixture(scope="module")
def grpc_client(server: ServerProcess) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(server.grpc_url) as client:
        yield client


def an_input(name: str, datatype: str, array: Array, binary_data: bool = True) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array, binary_data=binary_data)


def infer(client: Client, model: str, array: Array, datatype: str = "FP32", **options: object) -> Array:
    """Output `y` of `model` for input `x`."""
    result: Array = client.infer(model, [an_input("x", datatype, array)], **options).as_numpy("y")
    return result


def rows(count: int = 1, width: int = 3) -> Array:
    return np.arange(count * width, dtype=np.float32).reshape(count, width)


def same(got: Array, sent: Array) -> bool:
    """Bit by bit; NaN is itself and no other."""
    return got.tolist() == sent.tolist() if got.dtype == object else got.tobytes() == sent.tobytes()


def finite(datatype: str, shape: tuple[int, ...]) -> Array:
    """An array that JSON can hold."""
    array = onnx_models.array(datatype, shape)
    return np.nan_to_num(array, nan=0.5, posinf=2, neginf=-2) if array.dtype.kind == "f" else array


def refusal(call: Callable[..., object], *arguments: object, **options: object) -> tuple[str, str]:
    """The status and the message with which a call is refused."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return str(caught.value.status()), str(caught.value.message())


def post(
    server: ServerProcess, path: str, body: bytes, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    """What a plain client gets, its body read."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=10)
    try:
        connection.request("POST", path, body, headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


# The server and its models


def test_liveness_and_readiness(client: Client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "1")
    assert not client.is_model_ready("digits", "3")
    assert not client.is_model_ready("nobody")


def test_server_metadata(client: Client) -> None:
    metadata = client.get_server_metadata()

    assert metadata["name"] == "under-test"
    assert {"classification", "model_repository", "binary_tensor_data", "statistics"} <= set(
        metadata["extensions"]
    )


def test_model_metadata(client: Client) -> None:
    metadata = client.get_model_metadata("digits")

    assert (metadata["name"], metadata["platform"], metadata["versions"]) == (
        "digits",
        "onnxruntime_onnx",
        ["1", "2"],
    )
    assert metadata["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 8, 8]}]
    assert metadata["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "label", "datatype": "INT64", "shape": [-1, 1]},
    ]
    assert client.get_model_metadata("digits", "1")["versions"] == ["1"]


def test_model_config(client: Client) -> None:
    config = client.get_model_config("cancer")

    assert (config["name"], config["max_batch_size"], config["backend"]) == ("cancer", 128, "onnxruntime")
    assert config["input"][0]["dims"] == [30]
    assert config["output"][1]["label_filename"] == "labels.txt"
    assert config["dynamic_batching"]["max_queue_delay_microseconds"] == 200


def test_config_and_metadata_are_those_of_grpc(
    client: Client, grpc_client: tritonclient.grpc.InferenceServerClient
) -> None:
    def whole(value: Any) -> Any:
        """The same with every number as a text, as protobuf's JSON has the wide ones."""
        if isinstance(value, dict):
            return {name: whole(item) for name, item in value.items()}
        if isinstance(value, list):
            return [whole(item) for item in value]
        return str(value) if type(value) is int else value

    for name in (*SAMPLE_NAMES, "mixed"):
        metadata = grpc_client.get_model_metadata(name, as_json=True)
        config = grpc_client.get_model_config(name, as_json=True)["config"]
        assert whole(client.get_model_metadata(name)).items() >= metadata.items()
        assert_holds(whole(client.get_model_config(name)), whole(config))


def assert_holds(document: Any, expected: Any) -> None:
    """`document` says everything that `expected` says, and may say more."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_holds(document[name], value)
    elif isinstance(expected, list):
        for item, value in zip(document, expected, strict=True):
            assert_holds(item, value)
    else:
        assert document == expected


@pytest.mark.parametrize(
    ("version", "status", "text"),
    [
        ("3", "404", "Request for unknown model: 'digits' version 3 is not found"),
        ("x", "400", "failed to get model version from specified version string 'x'"),
        ("0", "400", "failed to get model version from specified version string '0'"),
    ],
)
def test_versions_that_are_not_there(client: Client, version: str, status: str, text: str) -> None:
    image = [an_input("image", "FP32", np.zeros((1, 8, 8), np.float32))]

    for got_status, got_text in (
        refusal(client.get_model_metadata, "digits", version),
        refusal(client.get_model_config, "digits", version),
        refusal(client.infer, "digits", image, model_version=version),
    ):
        assert got_status == status
        assert text in got_text


def test_the_version_that_is_asked_for_answers(client: Client) -> None:
    tensor = an_input("x", "INT64", np.array([[42]]))

    answers = [
        client.infer("versions", [tensor], model_version=version).get_response()["model_version"]
        for version in ("", "1", "3")
    ]

    assert answers == ["3", "1", "3"]


# Inference


FORMS = [
    (datatype, binary_in, binary_out)
    for datatype in onnx_models.ELEMENT_TYPES
    for binary_in in (True, False)
    for binary_out in (True, False)
    if datatype not in WITHOUT_JSON or (binary_in and binary_out)
]


@pytest.mark.parametrize(("datatype", "binary_in", "binary_out"), FORMS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 0)], ids=str)
def test_each_datatype_comes_back_as_sent(
    client: Client, datatype: str, shape: tuple[int, ...], binary_in: bool, binary_out: bool
) -> None:
    sent = onnx_models.array(datatype, shape) if binary_in and binary_out else finite(datatype, shape)
    tensor = an_input("x", datatype, sent, binary_in)
    output = triton.InferRequestedOutput("y", binary_data=binary_out)

    result = client.infer(f"identity_{datatype.lower()}", [tensor], outputs=[output])

    got = result.as_numpy("y")
    if datatype == "BYTES" and not binary_out:
        got = np.array([each.encode() for each in got.ravel()], object).reshape(got.shape)
    assert got.shape == shape
    assert same(got, sent)
    assert ("data" in result.get_output("y")) is not binary_out


@pytest.mark.parametrize("datatype", onnx_models.ELEMENT_TYPES)
def test_http_and_grpc_answer_alike_to_the_bit(
    client: Client, grpc_client: tritonclient.grpc.InferenceServerClient, datatype: str
) -> None:
    array = onnx_models.array(datatype, (4, 7), seed=2)
    tensor = tritonclient.grpc.InferInput("x", [4, 7], datatype).set_data_from_numpy(array)
    model = f"identity_{datatype.lower()}"

    over_grpc = grpc_client.infer(model, [tensor]).as_numpy("y")

    assert same(infer(client, model, array, datatype), over_grpc)


@pytest.mark.parametrize("name", SAMPLE_NAMES)
@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_samples_answer_alike_over_http_and_grpc(
    client: Client,
    grpc_client: tritonclient.grpc.InferenceServerClient,
    name: str,
    binary_in: bool,
    binary_out: bool,
) -> None:
    (tensor,) = json.loads((SAMPLES / name / "examples" / "batch.json").read_text())["inputs"]
    data = [each.encode() if isinstance(each, str) else each for each in tensor["data"]]
    array = np.array(data, onnx_models.NUMPY[tensor["datatype"]]).reshape(tensor["shape"])
    outputs = [each["name"] for each in client.get_model_metadata(name)["outputs"]]
    over_grpc = grpc_client.infer(
        name,
        [
            tritonclient.grpc.InferInput(
                tensor["name"], tensor["shape"], tensor["datatype"]
            ).set_data_from_numpy(array)
        ],
    )

    over_http = client.infer(
        name,
        [an_input(tensor["name"], tensor["datatype"], array, binary_in)],
        outputs=[triton.InferRequestedOutput(each, binary_data=binary_out) for each in outputs],
    )

    for output in outputs:
        got, expected = over_http.as_numpy(output), over_grpc.as_numpy(output)
        if got.dtype == object and not binary_out:
            expected = np.array([each.decode() for each in expected.ravel()], object).reshape(expected.shape)
        assert same(got, expected)


@pytest.mark.parametrize("request_coding", CODINGS)
@pytest.mark.parametrize("response_coding", CODINGS)
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [3, 20_000])
def test_compression_both_ways(
    client: Client, request_coding: str | None, response_coding: str | None, binary: bool, count: int
) -> None:
    sent = (np.arange(count) % 100).astype(np.float32).reshape(1, count)

    result = client.infer(
        "identity_fp32",
        [an_input("x", "FP32", sent, binary)],
        outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
        request_compression_algorithm=request_coding,
        response_compression_algorithm=response_coding,
    )

    assert same(result.as_numpy("y"), sent)


@pytest.mark.parametrize("request_id", ["", "7", "ü-漢-🙂", "two\nlines", "x" * 65536])
def test_the_request_id_comes_back(client: Client, request_id: str) -> None:
    response = client.infer(
        "identity_fp32", [an_input("x", "FP32", rows())], request_id=request_id
    ).get_response()

    assert response.get("id", "") == request_id
    assert (response["model_name"], response["model_version"]) == ("identity_fp32", "1")


def test_requested_outputs_come_alone_and_in_the_order_asked_for(client: Client) -> None:
    a, b = rows(2, 4), rows(2, 4) * 10
    outputs = [triton.InferRequestedOutput("first", binary_data=False), triton.InferRequestedOutput("sum")]

    result = client.infer(
        "sums", [an_input("a", "FP32", a), an_input("b", "FP32", b, False)], outputs=outputs
    )

    assert [output["name"] for output in result.get_response()["outputs"]] == ["first", "sum"]
    assert np.array_equal(result.as_numpy("first"), a)
    assert np.array_equal(result.as_numpy("sum"), a + b)
    assert result.as_numpy("difference") is None


def test_several_inputs_and_outputs_of_different_types(client: Client) -> None:
    sent = {
        "number": ("INT64", onnx_models.array("INT64", (2, 1))),
        "text": ("BYTES", onnx_models.array("BYTES", (2, 3))),
        "flag": ("BOOL", onnx_models.array("BOOL", (2, 2))),
        "matrix": ("FP16", onnx_models.array("FP16", (2, 2, 4))),
    }
    inputs = [an_input(name, *tensor) for name, tensor in reversed(sent.items())]

    result = client.infer("mixed", inputs)

    for name, (_, array) in sent.items():
        assert same(result.as_numpy(f"{name}_out"), array)


@pytest.mark.parametrize("binary", [True, False])
def test_classification_with_labels(client: Client, binary: bool) -> None:
    x = np.array([[0.5, 3, -1], [7, 7, 8]], np.float32)
    outputs = [triton.InferRequestedOutput("y", class_count=2, binary_data=binary)]

    got = client.infer("labelled", [an_input("x", "FP32", x)], outputs=outputs).as_numpy("y")

    expected = [["3.000000:1:one", "0.500000:0:zero"], ["8.000000:2:two", "7.000000:0:zero"]]
    assert [[each.decode() if binary else each for each in row] for row in got.tolist()] == expected


def test_not_a_number_is_null_in_json_and_itself_in_binary(client: Client) -> None:
    x = [an_input("x", "FP32", np.array([[-1, 0, 1, np.inf]], np.float32))]

    in_json = client.infer("logarithm", x, outputs=[triton.InferRequestedOutput("y", binary_data=False)])
    in_binary = client.infer("logarithm", x).as_numpy("y")

    assert in_json.get_output("y")["data"] == [None, None, 0.0, None]
    assert np.array_equal(in_binary, np.array([[np.nan, -np.inf, 0, np.inf]], np.float32), equal_nan=True)


def test_parameters_priority_timeout_and_sequence_are_taken(client: Client) -> None:
    options = {
        "parameters": {"text": "a", "number": 1, "share": 0.5, "flag": True},
        "priority": 2,
        "timeout": 5_000_000,
        "sequence_id": 9,
        "sequence_start": True,
        "sequence_end": True,
        "headers": {"x-anything": "1"},
        "query_params": {"q": "1"},
    }

    assert same(infer(client, "identity_fp32", rows(), **options), rows())


def test_many_asynchronous_requests(client: Client) -> None:
    waiting = [
        client.async_infer(
            "identity_int64", [an_input("x", "INT64", np.array([[index, -index]]))], request_id=str(index)
        )
        for index in range(60)
    ]

    results = [each.get_result() for each in waiting]

    assert [result.get_response()["id"] for result in results] == [str(index) for index in range(60)]
    assert [result.as_numpy("y").tolist() for result in results] == [[[index, -index]] for index in range(60)]


def test_an_asynchronous_request_that_is_refused(client: Client) -> None:
    waiting = client.async_infer("nobody", [an_input("x", "FP32", rows())])

    assert refusal(waiting.get_result) == ("404", "Request for unknown model: 'nobody' is not found")


# Requests whose body is one tensor


@pytest.mark.parametrize(
    ("model", "datatype", "shape"),
    [("fixed_fp32", "FP32", (2, 3)), ("identity_int64", "INT64", (1, 5)), ("labelled", "FP32", (1, 3))],
)
def test_a_body_that_is_one_tensor(
    server: ServerProcess, model: str, datatype: str, shape: tuple[int, ...]
) -> None:
    sent = onnx_models.array(datatype, shape)
    headers = {"Inference-Header-Content-Length": "0"}

    response, body = post(server, f"/v2/models/{model}/infer", sent.tobytes(), headers)

    length = int(response.headers["Inference-Header-Content-Length"])
    (output,) = json.loads(body[:length])["outputs"]
    assert (output["shape"], output["parameters"]) == (list(shape), {"binary_data_size": sent.nbytes})
    assert body[length:] == sent.tobytes()


def test_a_body_that_is_one_text(server: ServerProcess) -> None:
    headers = {"Inference-Header-Content-Length": "0"}

    response, body = post(server, "/v2/models/text_topics/infer", b"An ordinary sentence.", headers)

    length = int(response.headers["Inference-Header-Content-Length"])
    assert [output["shape"] for output in json.loads(body[:length])["outputs"]] == [[1, 1], [1, 7]]


@pytest.mark.parametrize(
    ("model", "size", "status", "text"),
    [
        ("sums", 16, 400, "a raw request carries one input, but model 'sums' has 2"),
        ("variable", 12, 400, "of which 2 sizes vary"),
        ("identity_int64", 9, 400, "expected a multiple of 8"),
        ("fixed_fp32", 20, 400, "input byte size mismatch for input 'x' for model 'fixed_fp32'"),
        ("nobody", 8, 404, "Request for unknown model: 'nobody' is not found"),
    ],
)
def test_a_body_that_is_no_tensor_of_the_model(
    server: ServerProcess, model: str, size: int, status: int, text: str
) -> None:
    headers = {"Inference-Header-Content-Length": "0"}

    response, body = post(server, f"/v2/models/{model}/infer", bytes(size), headers)

    assert response.status == status
    assert text in json.loads(body)["error"]


# Refusals


@pytest.mark.parametrize(("model", "inputs", "text"), REFUSALS)
def test_refusals(
    client: Client,
    grpc_client: tritonclient.grpc.InferenceServerClient,
    model: str,
    inputs: list[tuple[str, str, tuple[int, ...]]],
    text: str,
) -> None:
    arrays = [(name, kind, onnx_models.array(kind, shape)) for name, kind, shape in inputs]
    over_grpc = [
        tritonclient.grpc.InferInput(name, list(array.shape), kind).set_data_from_numpy(array)
        for name, kind, array in arrays
    ]

    status, message = refusal(client.infer, model, [an_input(*each) for each in arrays], request_id="9")

    assert status == "400"
    assert message.startswith("[request id: 9] ")
    assert text in message
    assert refusal(grpc_client.infer, model, over_grpc, request_id="9")[1] == message


def test_an_unknown_model(client: Client) -> None:
    unknown = ("404", "Request for unknown model: 'nobody' is not found")

    assert refusal(client.get_model_metadata, "nobody") == unknown
    assert refusal(client.get_model_config, "nobody") == unknown
    assert refusal(infer, client, "nobody", rows()) == unknown
    assert refusal(client.get_inference_statistics, "nobody") == (
        "400",
        "requested model 'nobody' is not available",
    )


def test_an_unknown_output(client: Client) -> None:
    outputs = [triton.InferRequestedOutput("z")]

    status, text = refusal(infer, client, "identity_fp32", rows(), outputs=outputs)

    assert status == "400"
    assert "unexpected inference output 'z' for model 'identity_fp32'" in text


def test_half_precision_in_json(client: Client) -> None:
    half = np.ones((1, 2), np.float16)
    text = "sending FP16 data via JSON is not supported. Please use the binary data format"

    of_the_input = refusal(client.infer, "identity_fp16", [an_input("x", "FP16", half, False)])
    of_the_output = refusal(
        client.infer,
        "identity_fp16",
        [an_input("x", "FP16", half)],
        outputs=[triton.InferRequestedOutput("y", binary_data=False)],
    )

    assert of_the_input == of_the_output == ("400", text)


def test_strings_that_are_not_utf_8(client: Client) -> None:
    status, text = refusal(infer, client, "identity_bytes", np.array([[b"\xff"]], object), "BYTES")

    assert status == "400"
    assert "UTF-8" in text


def test_shared_memory_is_refused(client: Client) -> None:
    expected = ("501", SHARED_MEMORY_DISABLED)
    shared = triton.InferInput("x", [1, 3], "FP32").set_shared_memory("region", 12)
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory("region", 12)

    assert refusal(client.register_system_shared_memory, "region", "/key", 64) == expected
    assert refusal(client.get_system_shared_memory_status) == expected
    assert refusal(client.unregister_system_shared_memory) == expected
    assert refusal(client.get_system_shared_memory_status, "region") == expected
    assert refusal(client.register_cuda_shared_memory, "region", b"aGFuZGxl", 0, 64) == expected
    assert refusal(client.get_cuda_shared_memory_status) == expected
    assert refusal(client.unregister_cuda_shared_memory, "region") == expected
    assert refusal(client.infer, "identity_fp32", [shared]) == expected
    assert refusal(infer, client, "identity_fp32", rows(), outputs=[output]) == expected


# Statistics and settings


def test_statistics_have_every_stage(client: Client) -> None:
    infer(client, "fixed_fp32", rows(2))

    (statistics,) = client.get_inference_statistics("fixed_fp32")["model_stats"]

    assert set(statistics["inference_stats"]) == {
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    }
    assert statistics["inference_stats"]["success"]["count"] == statistics["inference_count"] >= 1


def test_statistics_of_everything_and_of_one_version(client: Client) -> None:
    every = client.get_inference_statistics()["model_stats"]
    one = client.get_inference_statistics("digits", "1")["model_stats"]

    assert {each["name"] for each in every} == {*SAMPLE_NAMES, *NAMES}
    assert [(each["name"], each["version"]) for each in one] == [("digits", "1")]
    assert refusal(client.get_inference_statistics, "digits", "3") == (
        "400",
        "requested model version is not available for model 'digits'",
    )


def test_trace_settings(client: Client) -> None:
    settings = client.get_trace_settings()

    assert settings["trace_level"] == ["OFF"]
    assert settings["trace_rate"] == "1000"
    assert client.update_trace_settings(settings={"trace_level": None}) == settings
    assert client.update_trace_settings("digits", settings={"trace_rate": "1000"}) == settings
    assert refusal(client.update_trace_settings, "digits", {"trace_level": ["TIMESTAMPS"]})[0] == "501"
    assert refusal(client.update_trace_settings, settings={"trace_nothing": "1"})[0] == "400"
    assert refusal(client.get_trace_settings, "nobody")[0] == "404"


def test_log_settings(client: Client) -> None:
    before = client.get_log_settings()

    changed = client.update_log_settings({"log_verbose_level": 1})
    restored = client.update_log_settings({"log_verbose_level": 0})

    assert set(before) == {
        "log_file",
        "log_info",
        "log_warning",
        "log_error",
        "log_verbose_level",
        "log_format",
    }
    assert changed == {**before, "log_verbose_level": 1}
    assert restored == before


@pytest.mark.parametrize(
    "settings",
    [
        {"log_nothing": True},
        {"log_info": 1},
        {"log_verbose_level": True},
        {"log_file": "x"},
        {"log_format": "y"},
    ],
    ids=str,
)
def test_refused_log_settings(client: Client, settings: dict[str, object]) -> None:
    before = client.get_log_settings()

    assert refusal(client.update_log_settings, settings)[0] == "400"
    assert client.get_log_settings() == before


# Loading and unloading


@pytest.fixture
def reloaded(client: Client) -> Iterator[str]:
    """A model that the test may load and unload as it likes; it is as on disk afterwards."""
    yield "sums"
    client.load_model("sums")


def sum_of(client: Client, a: Array, b: Array) -> Array:
    values: Array = client.infer("sums", [an_input("a", "FP32", a), an_input("b", "FP32", b)]).as_numpy("sum")
    return values


def test_the_repository_index(client: Client, server: ServerProcess) -> None:
    index = {(each["name"], each["version"]): each["state"] for each in client.get_model_repository_index()}
    _, ready = post(server, "/v2/repository/index", b'{"ready": true}', {})

    assert index[("digits", "1")] == index[("digits", "2")] == "READY"
    assert {name for name, _ in index} == {*SAMPLE_NAMES, *NAMES}
    assert {(each["name"], each["version"]) for each in json.loads(ready)} == set(index)


def test_unload_and_load(client: Client, reloaded: str) -> None:
    client.unload_model(reloaded, unload_dependents=True)

    assert not client.is_model_ready(reloaded)
    assert client.is_server_ready()
    assert refusal(sum_of, client, rows(1, 4), rows(1, 4)) == (
        "404",
        "Request for unknown model: 'sums' has no available versions",
    )

    client.load_model(reloaded)

    assert client.is_model_ready(reloaded)
    assert np.array_equal(sum_of(client, rows(1, 4), rows(1, 4)), 2 * rows(1, 4))


def test_load_with_a_config_of_the_callers(client: Client, reloaded: str) -> None:
    client.load_model(reloaded, config=json.dumps({"max_batch_size": 2, "backend": "onnxruntime"}))

    assert client.get_model_config(reloaded)["max_batch_size"] == 2
    assert refusal(sum_of, client, rows(3, 4), rows(3, 4))[0] == "400"

    client.load_model(reloaded)

    assert client.get_model_config(reloaded)["max_batch_size"] == 32


def test_load_with_files_of_the_callers(client: Client, reloaded: str, repository: Path) -> None:
    graph = onnx_models.sums(("batch", 2)).SerializeToString()

    client.load_model(reloaded, config="{}", files={"file:7/model.onnx": graph})

    assert client.get_model_metadata(reloaded)["versions"] == ["7"]
    assert np.array_equal(sum_of(client, rows(1, 2), rows(1, 2)), 2 * rows(1, 2))
    assert [path.name for path in (repository / reloaded).iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("config", "files"),
    [
        ("{", None),
        ('{"max_batch_sise": 2}', None),
        ("{}", {"file:1/model.onnx": b"no graph"}),
        ("{}", {"file:../x/1/model.onnx": b"no graph"}),
        ("", {"file:1/model.onnx": b""}),
    ],
)
def test_a_load_that_fails_leaves_the_model_serving(
    client: Client, reloaded: str, config: str, files: dict[str, bytes] | None
) -> None:
    status, text = refusal(client.load_model, reloaded, config=config, files=files)

    assert status == "400"
    assert text
    assert sum_of(client, rows(1, 4), rows(1, 4)).shape == (1, 4)


def test_load_of_what_is_not_there(
    client: Client, grpc_client: tritonclient.grpc.InferenceServerClient
) -> None:
    status, text = refusal(client.load_model, "nobody")

    assert status in ("500", "400", "404")
    assert text == refusal(grpc_client.load_model, "nobody")[1]


# The asynchronous client


def ask(server: ServerProcess, use: Callable[[AioClient], Awaitable[T]]) -> T:
    """What `use` gets from an asynchronous client of its own."""

    async def main() -> T:
        async with AioClient(server.http_url, conn_limit=20) as client:
            return await use(client)

    return run(main())


def test_aio_questions_about_the_server_and_its_models(server: ServerProcess) -> None:
    async def use(client: AioClient) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("digits")
        assert not await client.is_model_ready("nobody")
        assert "statistics" in (await client.get_server_metadata())["extensions"]
        assert (await client.get_model_metadata("mixed"))["inputs"][1]["datatype"] == "BYTES"
        assert (await client.get_trace_settings())["trace_level"] == ["OFF"]
        assert await client.update_trace_settings(settings={"trace_level": "OFF"})
        assert (await client.get_log_settings())["log_info"] is True
        assert (await client.update_log_settings({"log_info": True}))["log_info"] is True

    ask(server, use)


LONG_ANSWERS: dict[str, Callable[[AioClient], Awaitable[Any]]] = {
    "config": lambda client: client.get_model_config("digits"),
    "index": lambda client: client.get_model_repository_index(),
    "statistics": lambda client: client.get_inference_statistics(),
}


@pytest.mark.parametrize("question", LONG_ANSWERS)
def test_aio_answers_besides_inference_are_not_compressed(server: ServerProcess, question: str) -> None:
    assert ask(server, LONG_ANSWERS[question])


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("binary", [True, False])
def test_aio_many_requests_at_once(server: ServerProcess, coding: str | None, binary: bool) -> None:
    async def use(client: AioClient) -> list[object]:
        async def one(value: int) -> object:
            result = await client.infer(
                "identity_int64",
                [an_input("x", "INT64", np.full((1, 300), value), binary)],
                outputs=[triton.InferRequestedOutput("y", binary_data=binary)],
                request_id=str(value),
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
            )
            assert result.get_response()["id"] == str(value)
            return result.as_numpy("y").tolist()

        return await asyncio.gather(*(one(value) for value in range(40)))

    assert ask(server, use) == [[[value] * 300] for value in range(40)]


def test_aio_errors(server: ServerProcess) -> None:
    async def use(client: AioClient) -> None:
        with pytest.raises(InferenceServerException) as unknown:
            await client.infer("nobody", [an_input("x", "FP32", rows())])
        with pytest.raises(InferenceServerException) as shared:
            await client.get_system_shared_memory_status()
        assert unknown.value.message() == "Request for unknown model: 'nobody' is not found"
        assert unknown.value.status() == "404"
        assert shared.value.message() == SHARED_MEMORY_DISABLED

    ask(server, use)


def test_aio_load_and_unload(server: ServerProcess) -> None:
    async def use(client: AioClient) -> None:
        await client.unload_model("labelled")
        assert not await client.is_model_ready("labelled")
        graph = onnx_models.identity("FP32", ("batch", 5)).SerializeToString()
        await client.load_model("labelled", config="{}", files={"file:1/model.onnx": graph})
        assert (await client.get_model_metadata("labelled"))["inputs"][0]["shape"] == [-1, 5]
        await client.load_model("labelled")
        assert (await client.get_model_metadata("labelled"))["inputs"][0]["shape"] == [-1, 3]

    ask(server, use)
