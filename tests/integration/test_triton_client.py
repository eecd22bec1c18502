"""Triton's synchronous client, every method of it, against the real server."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from support import onnx_models
from support.refusals import REFUSALS
from support.server import ServerProcess

Client = triton.InferenceServerClient
Array = NDArray[np.generic]

SHARED_MEMORY_DISABLED = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("repository")
    onnx_models.write_models(path)
    return path


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess], repository: Path) -> ServerProcess:
    arguments = ("--model-control-mode=explicit", "--load-model=*", "--server-name=under-test")
    return serve(repository=repository, arguments=arguments)


def an_input(name: str, datatype: str, array: Array) -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    return tensor.set_data_from_numpy(array)


def infer(client: Client, model: str, array: Array, datatype: str = "FP32", **options: object) -> Array:
    """Output `y` of `model` for input `x`."""
    result = client.infer(model, [an_input("x", datatype, array)], **options)
    values: Array = result.as_numpy("y")
    return values


def rows(count: int = 1, width: int = 3) -> Array:
    return np.arange(count * width, dtype=np.float32).reshape(count, width)


def refusal(call: Callable[..., object], *arguments: object, **options: object) -> tuple[str, str]:
    """The status and the message with which a call is refused."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **options)
    return str(caught.value.status()), str(caught.value.message())


def test_liveness_and_readiness(client: Client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("versions")
    assert client.is_model_ready("versions", "1")
    assert not client.is_model_ready("versions", "2")
    assert not client.is_model_ready("nobody")


def test_server_metadata(client: Client) -> None:
    metadata = client.get_server_metadata()

    assert metadata.name == "under-test"
    assert {"classification", "model_repository", "binary_tensor_data", "statistics"} <= set(
        metadata.extensions
    )
    assert client.get_server_metadata(as_json=True)["name"] == "under-test"


def test_model_metadata(client: Client) -> None:
    metadata = client.get_model_metadata("mixed", as_json=True)

    assert (metadata["name"], metadata["platform"], metadata["versions"]) == (
        "mixed",
        "onnxruntime_onnx",
        ["1"],
    )
    assert metadata["inputs"] == [
        {"name": "number", "datatype": "INT64", "shape": ["-1", "1"]},
        {"name": "text", "datatype": "BYTES", "shape": ["-1", "-1"]},
        {"name": "flag", "datatype": "BOOL", "shape": ["-1", "2"]},
        {"name": "matrix", "datatype": "FP16", "shape": ["-1", "2", "-1"]},
    ]
    assert [output["name"] for output in metadata["outputs"]] == [
        "matrix_out",
        "flag_out",
        "text_out",
        "number_out",
    ]


def test_metadata_of_versions(client: Client) -> None:
    assert list(client.get_model_metadata("versions").versions) == ["1", "3"]
    assert list(client.get_model_metadata("versions", "1").versions) == ["1"]


@pytest.mark.parametrize(
    ("version", "status", "text"),
    [
        ("2", "StatusCode.NOT_FOUND", "Request for unknown model: 'versions' version 2 is not found"),
        ("x", "StatusCode.INVALID_ARGUMENT", "failed to get model version from specified version string 'x'"),
    ],
)
def test_versions_that_are_not_there(client: Client, version: str, status: str, text: str) -> None:
    for call in (client.get_model_metadata, client.get_model_config):
        assert refusal(call, "versions", version)[0] == status
    got_status, got_text = refusal(
        infer, client, "versions", np.ones((1, 1), "i8"), "INT64", model_version=version
    )

    assert got_status == status
    assert text in got_text


def test_model_config(client: Client) -> None:
    config = client.get_model_config("labelled", as_json=True)["config"]

    assert config["name"] == "labelled"
    assert config["max_batch_size"] == 32
    assert config["backend"] == "onnxruntime"
    assert "dynamic_batching" in config
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": ["3"]}]
    assert config["output"][0]["label_filename"] == "labels.txt"


def test_repository_index(client: Client) -> None:
    index = {(entry.name, entry.version): entry.state for entry in client.get_model_repository_index().models}

    assert index[("versions", "1")] == index[("versions", "3")] == "READY"
    assert {name for name, _ in index} == set(onnx_models.MODELS)


@pytest.mark.parametrize("datatype", onnx_models.ELEMENT_TYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (32, 2), (2, 0)], ids=str)
def test_each_datatype_comes_back_as_sent(client: Client, datatype: str, shape: tuple[int, ...]) -> None:
    sent = onnx_models.array(datatype, shape)

    got = infer(client, f"identity_{datatype.lower()}", sent, datatype)

    assert got.shape == sent.shape
    assert same(got, sent)


@pytest.mark.parametrize("datatype", onnx_models.ELEMENT_TYPES)
def test_each_datatype_without_a_batch_dimension(client: Client, datatype: str) -> None:
    sent = onnx_models.array(datatype, (2, 3), seed=1)

    got = infer(client, f"fixed_{datatype.lower()}", sent, datatype)

    assert got.shape == (2, 3)
    assert same(got, sent)


def same(got: Array, sent: Array) -> bool:
    """Bit by bit; NaN is itself and no other."""
    return got.tolist() == sent.tolist() if got.dtype == object else got.tobytes() == sent.tobytes()


TYPED = {
    "BOOL": ("bool_contents", [True, False, True]),
    "INT8": ("int_contents", [-128, 0, 127]),
    "INT16": ("int_contents", [-(2**15), 0, 2**15 - 1]),
    "INT32": ("int_contents", [-(2**31), 0, 2**31 - 1]),
    "INT64": ("int64_contents", [-(2**63), 0, 2**63 - 1]),
    "UINT8": ("uint_contents", [0, 1, 255]),
    "UINT16": ("uint_contents", [0, 1, 2**16 - 1]),
    "UINT32": ("uint_contents", [0, 1, 2**32 - 1]),
    "UINT64": ("uint64_contents", [0, 1, 2**64 - 1]),
    "FP32": ("fp32_contents", [-0.0, 1.5, float("inf")]),
    "FP64": ("fp64_contents", [-0.0, 1e300, float("-inf")]),
    "BYTES": ("bytes_contents", [b"", b"\0", "é".encode()]),
}


@pytest.mark.parametrize("datatype", TYPED)
def test_typed_contents(client: Client, datatype: str) -> None:
    field, values = TYPED[datatype]
    tensor = triton.InferInput("x", [1, 3], datatype)
    getattr(tensor._get_tensor().contents, field).extend(values)

    got = client.infer(f"identity_{datatype.lower()}", [tensor]).as_numpy("y")

    assert same(got, np.array([values], onnx_models.NUMPY[datatype]))


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


def test_requested_outputs_come_alone_and_in_the_order_asked_for(client: Client) -> None:
    a, b = rows(2, 4), rows(2, 4) * 10
    outputs = [triton.InferRequestedOutput("first"), triton.InferRequestedOutput("sum")]

    result = client.infer("sums", [an_input("a", "FP32", a), an_input("b", "FP32", b)], outputs=outputs)

    assert [output.name for output in result.get_response().outputs] == ["first", "sum"]
    assert np.array_equal(result.as_numpy("first"), a)
    assert np.array_equal(result.as_numpy("sum"), a + b)
    assert result.as_numpy("difference") is None


def test_an_optional_input(client: Client) -> None:
    x = np.arange(4, dtype=np.float32)
    given = [an_input("x", "FP32", x), an_input("bias", "FP32", x * 2)]

    assert np.array_equal(infer(client, "optional", x), x + onnx_models.DEFAULT_BIAS)
    assert np.array_equal(client.infer("optional", given).as_numpy("y"), x * 3)


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        ("variable", (2, 3, 4)),
        ("variable", (1, 3, 1)),
        ("variable", (0, 3, 5)),
        ("scalar", (1,)),
        ("reshaped", (5, 1)),
        ("fixed_batch", (1, 3)),
        ("fixed_batch", (4, 3)),
    ],
    ids=str,
)
def test_shapes_of_all_kinds(client: Client, model: str, shape: tuple[int, ...]) -> None:
    sent = onnx_models.array("FP32", shape)

    got = infer(client, model, sent)

    assert got.shape == shape
    assert same(got, sent)


def test_external_data_is_loaded(client: Client) -> None:
    assert np.array_equal(infer(client, "external", rows(2, 4)), rows(2, 4) + onnx_models.EXTERNAL_WEIGHTS)


def test_not_a_number_is_an_answer(client: Client) -> None:
    got = infer(client, "logarithm", np.array([[-1, 0, 1, np.inf]], np.float32))

    assert np.array_equal(got, np.array([[np.nan, -np.inf, 0, np.inf]], np.float32), equal_nan=True)


@pytest.mark.parametrize(("version", "expected"), [("", 21), ("1", 42), ("3", 21)])
def test_the_version_that_is_asked_for_answers(client: Client, version: str, expected: int) -> None:
    result = client.infer("versions", [an_input("x", "INT64", np.array([[42]]))], model_version=version)

    assert result.as_numpy("y").item() == expected
    assert result.get_response().model_version == (version or "3")


def test_classification_with_labels(client: Client) -> None:
    x = np.array([[0.5, 3, -1], [7, 7, 8]], np.float32)
    outputs = [triton.InferRequestedOutput("y", class_count=2)]

    got = client.infer("labelled", [an_input("x", "FP32", x)], outputs=outputs).as_numpy("y")

    assert got.tolist() == [
        [b"3.000000:1:one", b"0.500000:0:zero"],
        [b"8.000000:2:two", b"7.000000:0:zero"],
    ]


def test_classification_asks_for_no_more_classes_than_there_are(client: Client) -> None:
    outputs = [triton.InferRequestedOutput("y", class_count=1000)]

    got = client.infer("identity_int8", [an_input("x", "INT8", np.array([[-3, 5]], "i1"))], outputs=outputs)

    assert got.as_numpy("y").tolist() == [[b"5.000000:1", b"-3.000000:0"]]


@pytest.mark.parametrize("request_id", ["", "7", "ü-漢-🙂", "two\nlines", "x" * 65536])
def test_the_request_id_comes_back(client: Client, request_id: str) -> None:
    tensor = an_input("x", "FP32", rows())

    response = client.infer("identity_fp32", [tensor], request_id=request_id).get_response()

    assert response.id == request_id
    assert (response.model_name, response.model_version) == ("identity_fp32", "1")


def test_parameters_priority_timeout_and_sequence_are_taken(client: Client) -> None:
    options = {
        "parameters": {"text": "a", "number": 1, "share": 0.5, "flag": True},
        "priority": 2,
        "timeout": 5_000_000,
        "sequence_id": 9,
        "sequence_start": True,
        "sequence_end": True,
        "headers": {"x-anything": "1"},
    }

    assert same(infer(client, "identity_fp32", rows(), **options), rows())


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests(client: Client, algorithm: str) -> None:
    sent = np.zeros((4, 50_000), np.float32)

    assert same(infer(client, "identity_fp32", sent, compression_algorithm=algorithm), sent)


def test_client_timeout(client: Client) -> None:
    began_s = time.monotonic()

    status, text = refusal(infer, client, "steps", np.array([3000]), "INT64", client_timeout=0.05)

    assert (status, text) == ("StatusCode.DEADLINE_EXCEEDED", "Deadline Exceeded")
    assert time.monotonic() - began_s < 1
    assert infer(client, "identity_fp32", rows(), client_timeout=5).shape == (1, 3)


def test_many_asynchronous_requests(client: Client) -> None:
    answers: queue.SimpleQueue[tuple[int, triton.InferResult | None, object]] = queue.SimpleQueue()
    for index in range(500):
        tensor = an_input("x", "INT64", np.array([[index, -index]]))
        client.async_infer(
            "identity_int64",
            [tensor],
            lambda result, error, index=index: answers.put((index, result, error)),
            request_id=str(index),
        )

    got = [answers.get(timeout=20) for _ in range(500)]

    assert sorted(index for index, _, _ in got) == list(range(500))
    for index, result, error in got:
        assert error is None
        assert result is not None
        assert result.get_response().id == str(index)
        assert result.as_numpy("y").tolist() == [[index, -index]]


def test_an_asynchronous_request_can_be_cancelled(client: Client) -> None:
    done = threading.Event()
    errors: list[InferenceServerException] = []

    def ended(result: object, error: InferenceServerException) -> None:
        errors.append(error)
        done.set()

    context = client.async_infer("steps", [an_input("x", "INT64", np.array([3000]))], ended)
    context.cancel()

    assert done.wait(5)
    assert errors[0].status() == "StatusCode.CANCELLED"
    assert infer(client, "steps", np.array([1]), "INT64").item() == 1


@pytest.mark.parametrize(("model", "inputs", "text"), REFUSALS)
def test_refusals(
    client: Client, model: str, inputs: list[tuple[str, str, tuple[int, ...]]], text: str
) -> None:
    tensors = [an_input(name, kind, onnx_models.array(kind, shape)) for name, kind, shape in inputs]

    status, message = refusal(client.infer, model, tensors, request_id="9")

    assert status == "StatusCode.INVALID_ARGUMENT"
    assert message.startswith("[request id: 9] ")
    assert text in message


def test_an_unknown_model(client: Client) -> None:
    for call in (client.get_model_metadata, client.get_model_config):
        assert refusal(call, "nobody") == (
            "StatusCode.NOT_FOUND",
            "Request for unknown model: 'nobody' is not found",
        )
    assert refusal(infer, client, "nobody", rows()) == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'nobody' is not found",
    )
    assert refusal(client.get_inference_statistics, "nobody") == (
        "StatusCode.INVALID_ARGUMENT",
        "requested model 'nobody' is not available",
    )


def test_an_unknown_output(client: Client) -> None:
    outputs = [triton.InferRequestedOutput("z")]

    status, text = refusal(infer, client, "identity_fp32", rows(), outputs=outputs)

    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "unexpected inference output 'z' for model 'identity_fp32'" in text


def test_statistics_have_every_stage(client: Client) -> None:
    infer(client, "fixed_fp32", rows(2))

    (statistics,) = client.get_inference_statistics("fixed_fp32", as_json=True)["model_stats"]

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


def test_statistics_of_everything_and_of_one_version(client: Client) -> None:
    every = client.get_inference_statistics().model_stats
    one = client.get_inference_statistics("versions", "1").model_stats

    assert {statistics.name for statistics in every} >= {"versions", "sums", "identity_bf16"}
    assert [(statistics.name, statistics.version) for statistics in one] == [("versions", "1")]
    assert refusal(client.get_inference_statistics, "versions", "2") == (
        "StatusCode.INVALID_ARGUMENT",
        "requested model version is not available for model 'versions'",
    )


def test_trace_settings(client: Client) -> None:
    settings = client.get_trace_settings(as_json=True)["settings"]

    assert settings["trace_level"]["value"] == ["OFF"]
    assert client.update_trace_settings(settings={"trace_level": None}, as_json=True)["settings"] == settings
    assert refusal(client.update_trace_settings, "labelled", settings={"trace_level": ["TIMESTAMPS"]})[0] == (
        "StatusCode.UNIMPLEMENTED"
    )


def test_log_settings(client: Client, server: ServerProcess) -> None:
    before = client.get_log_settings(as_json=True)["settings"]

    changed = client.update_log_settings({"log_verbose_level": 1}, as_json=True)["settings"]
    restored = client.update_log_settings({"log_verbose_level": 0}, as_json=True)["settings"]

    assert before["log_info"] == {"bool_param": True}
    assert changed["log_verbose_level"] == {"uint32_param": 1}
    assert restored == before
    assert refusal(client.update_log_settings, {"log_nothing": True})[0] == "StatusCode.INVALID_ARGUMENT"


def test_a_log_file_cannot_be_set_by_a_caller(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "written"

    status, _ = refusal(client.update_log_settings, {"log_file": str(path)})

    assert status in ("StatusCode.INVALID_ARGUMENT", "StatusCode.UNIMPLEMENTED")
    assert not path.exists()


def test_shared_memory_is_refused_in_tritons_words(client: Client) -> None:
    expected = ("StatusCode.UNIMPLEMENTED", SHARED_MEMORY_DISABLED)

    assert refusal(client.register_system_shared_memory, "region", "/key", 64) == expected
    assert refusal(client.get_system_shared_memory_status) == expected
    assert refusal(client.unregister_system_shared_memory) == expected
    assert refusal(client.register_cuda_shared_memory, "region", b"aGFuZGxl", 0, 64) == expected
    assert refusal(client.get_cuda_shared_memory_status) == expected
    assert refusal(client.unregister_cuda_shared_memory) == expected


def test_tensors_in_shared_memory_are_refused(client: Client) -> None:
    shared = triton.InferInput("x", [1, 3], "FP32").set_shared_memory("region", 12)
    output = triton.InferRequestedOutput("y")
    output.set_shared_memory("region", 12)

    for inputs, outputs in (([shared], None), ([an_input("x", "FP32", rows())], [output])):
        assert refusal(client.infer, "identity_fp32", inputs, outputs=outputs) == (
            "StatusCode.UNIMPLEMENTED",
            SHARED_MEMORY_DISABLED,
        )


@pytest.fixture
def reloaded(client: Client) -> Iterator[str]:
    """A model that the test may load and unload as it likes; it is as on disk afterwards."""
    yield "sums"
    client.load_model("sums")


def sum_of(client: Client, a: Array, b: Array) -> Array:
    values: Array = client.infer("sums", [an_input("a", "FP32", a), an_input("b", "FP32", b)]).as_numpy("sum")
    return values


def test_unload_and_load(client: Client, reloaded: str) -> None:
    client.unload_model(reloaded)

    assert not client.is_model_ready(reloaded)
    assert client.is_server_ready()
    assert refusal(sum_of, client, rows(1, 4), rows(1, 4)) == (
        "StatusCode.NOT_FOUND",
        "Request for unknown model: 'sums' has no available versions",
    )

    client.load_model(reloaded)

    assert client.is_model_ready(reloaded)
    assert np.array_equal(sum_of(client, rows(1, 4), rows(1, 4)), 2 * rows(1, 4))


def test_load_with_a_config_of_the_callers(client: Client, reloaded: str) -> None:
    client.load_model(reloaded, config=json.dumps({"max_batch_size": 2, "backend": "onnxruntime"}))

    assert client.get_model_config(reloaded).config.max_batch_size == 2
    assert refusal(sum_of, client, rows(3, 4), rows(3, 4))[0] == "StatusCode.INVALID_ARGUMENT"

    client.load_model(reloaded)

    assert client.get_model_config(reloaded).config.max_batch_size == 32


def test_load_with_files_of_the_callers(client: Client, reloaded: str, repository: Path) -> None:
    graph = onnx_models.sums(("batch", 2)).SerializeToString()

    client.load_model(reloaded, config="{}", files={"file:7/model.onnx": graph})

    assert list(client.get_model_metadata(reloaded).versions) == ["7"]
    assert np.array_equal(sum_of(client, rows(1, 2), rows(1, 2)), 2 * rows(1, 2))
    assert [path.name for path in (repository / reloaded).iterdir()] == ["1"]

    client.load_model(reloaded)

    assert list(client.get_model_metadata(reloaded).versions) == ["1"]
    assert sum_of(client, rows(1, 4), rows(1, 4)).shape == (1, 4)


@pytest.mark.parametrize(
    "path",
    [
        "file:../x/1/model.onnx",
        "file:/etc/model.onnx",
        "file:1/../../model.onnx",
        "file:1\\model.onnx",
        "file:",
    ],
)
def test_files_cannot_leave_the_models_folder(
    client: Client, reloaded: str, repository: Path, path: str
) -> None:
    before = sorted(repository.rglob("*"))
    graph = onnx_models.sums().SerializeToString()

    status, _ = refusal(client.load_model, reloaded, config="{}", files={path: graph})

    assert status == "StatusCode.INVALID_ARGUMENT"
    assert sorted(repository.rglob("*")) == before
    assert sum_of(client, rows(1, 4), rows(1, 4)).shape == (1, 4)


@pytest.mark.parametrize(
    ("config", "files"),
    [
        ("{", None),
        ('{"max_batch_sise": 2}', None),
        ('{"max_batch_size": -1}', None),
        ("{}", {"file:1/model.onnx": b"no graph"}),
        ("{}", {"file:readme": b""}),
        (None, {"file:1/model.onnx": b""}),
    ],
)
def test_a_load_that_fails_leaves_the_model_serving(
    client: Client, reloaded: str, config: str | None, files: dict[str, bytes] | None
) -> None:
    status, text = refusal(client.load_model, reloaded, config=config, files=files)

    assert status == "StatusCode.INVALID_ARGUMENT"
    assert text
    assert sum_of(client, rows(1, 4), rows(1, 4)).shape == (1, 4)


def test_load_of_what_is_not_there(client: Client) -> None:
    status, text = refusal(client.load_model, "nobody")

    assert status in ("StatusCode.INTERNAL", "StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND")
    assert "'nobody'" in text
