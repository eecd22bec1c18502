"""Every method besides inference, over every gRPC transport."""

from collections.abc import Callable

import grpc
import pytest
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from conformance.conftest import Serving
from headrace.errors import LoadError
from headrace.pb.headrace.v1 import admin_pb2
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.service.answers import HealthStatus

SERVICE = "/inference.GRPCInferenceService/"
SHARED_MEMORY_TEXT = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)


@pytest.fixture
def client(server: Serving) -> tritonclient.grpc.InferenceServerClient:
    with tritonclient.grpc.InferenceServerClient(server.target) as client:
        yield client


def test_liveness_and_readiness(server: Serving, client: tritonclient.grpc.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("echo")
    assert client.is_model_ready("echo", "1")
    assert not client.is_model_ready("echo", "2")

    server.loop.call(server.control.set_health, "", HealthStatus.NOT_SERVING)

    assert client.is_server_live()
    assert not client.is_server_ready()


def test_metadata(client: tritonclient.grpc.InferenceServerClient) -> None:
    server = client.get_server_metadata()
    model = client.get_model_metadata("echo")

    assert (server.name, server.version) == ("headrace", "0.1")
    assert list(server.extensions) == ["model_repository", "statistics"]
    assert (model.name, list(model.versions), model.platform) == ("echo", ["1"], "onnxruntime_onnx")
    assert [(each.name, each.datatype, list(each.shape)) for each in model.inputs] == [
        ("x", "FP32", [-1, 16])
    ]
    assert [(each.name, each.datatype, list(each.shape)) for each in model.outputs] == [
        ("y", "BYTES", [-1, 2])
    ]
    with pytest.raises(InferenceServerException, match="'none' is not found"):
        client.get_model_metadata("none")


def test_metadata_has_the_standards_properties(server: Serving) -> None:
    data = server.channel().unary_unary(SERVICE + "ModelMetadata")(
        pb.ModelMetadataRequest(name="echo").SerializeToString(), timeout=10
    )

    assert pb.ModelMetadataResponse.FromString(data).properties == {"sha256/1/model.onnx": "ab12"}


def test_model_config(client: tritonclient.grpc.InferenceServerClient) -> None:
    config = client.get_model_config("echo").config

    assert (config.name, config.max_batch_size, config.backend) == ("echo", 8, "onnxruntime")


def test_statistics(client: tritonclient.grpc.InferenceServerClient) -> None:
    (model,) = client.get_inference_statistics("echo").model_stats

    assert (model.name, model.version) == ("echo", "1")
    assert (model.inference_count, model.execution_count) == (3, 1)
    assert model.last_inference > 0
    stages = model.inference_stats
    assert {field.name for field, _ in stages.ListFields()} == {
        field.name for field in stages.DESCRIPTOR.fields
    }
    assert (stages.success.count, stages.success.ns) == (2, 3000)
    assert (stages.queue.count, stages.queue.ns) == (2, 30)
    assert (stages.compute_infer.count, stages.compute_infer.ns) == (2, 400)
    assert (stages.cache_hit.count, stages.cache_miss.count) == (0, 0)
    (batch,) = model.batch_stats
    assert (batch.batch_size, batch.compute_infer.count, batch.compute_infer.ns) == (3, 1, 200)


def test_repository_index(server: Serving, client: tritonclient.grpc.InferenceServerClient) -> None:
    index = client.get_model_repository_index().models

    assert [(each.name, each.version, each.state, each.reason) for each in index] == [
        ("echo", "1", "READY", ""),
        ("idle", "2", "UNAVAILABLE", "unloaded"),
    ]
    assert server.control.calls == [("index", "", False)]


def test_load_and_unload(server: Serving, client: tritonclient.grpc.InferenceServerClient) -> None:
    client.load_model("echo")
    client.load_model("echo", config='{"backend": "onnxruntime"}', files={"file:1/model.onnx": b"\x08\x00"})
    client.unload_model("echo", unload_dependents=True)

    assert server.control.calls == [
        ("load", "echo", None, {}),
        ("load", "echo", '{"backend": "onnxruntime"}', {"1/model.onnx": b"\x08\x00"}),
        ("unload", "echo"),
    ]


def test_load_that_fails(server: Serving, client: tritonclient.grpc.InferenceServerClient) -> None:
    server.control.load_error = LoadError("load failed for model 'echo': no graph")

    with pytest.raises(InferenceServerException, match="no graph") as error:
        client.load_model("echo")

    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_kserve_dialect(server: Serving) -> None:
    """KServe's messages: the model's name is field 1 of both the request and the response."""
    channel = server.channel()
    kserve = b"\x0a\x04echo"

    loaded = channel.unary_unary(SERVICE + "RepositoryModelLoad")(kserve, timeout=10)
    unloaded = channel.unary_unary(SERVICE + "RepositoryModelUnload")(kserve, timeout=10)

    assert loaded == b"\x0a\x04echo\x10\x01"
    assert unloaded == b"\x0a\x04echo\x10\x01"
    assert server.control.calls == [("load", "echo", None, {}), ("unload", "echo")]


def test_a_repository_name_is_refused(server: Serving) -> None:
    request = pb.RepositoryModelLoadRequest(repository_name="other", model_name="echo")

    with pytest.raises(grpc.RpcError) as error:
        server.channel().unary_unary(SERVICE + "RepositoryModelLoad")(request.SerializeToString(), timeout=10)

    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error.value.details() == "'repository_name' specification is not supported"


def test_trace_and_log_settings(server: Serving, client: tritonclient.grpc.InferenceServerClient) -> None:
    trace = client.update_trace_settings("echo", {"trace_level": ["TIMESTAMPS"], "trace_rate": None})
    log = client.update_log_settings({"log_info": False, "log_verbose_level": 2})

    assert server.control.calls == [("trace", "echo", {"trace_level": ["TIMESTAMPS"], "trace_rate": []})]
    assert list(trace.settings["trace_rate"].value) == ["1000"]
    assert log.settings["log_info"].bool_param is False
    assert log.settings["log_verbose_level"].uint32_param == 2
    assert log.settings["log_file"].string_param == ""


@pytest.mark.parametrize("kind", ["System", "Cuda"])
@pytest.mark.parametrize("action", ["Status", "Register", "Unregister"])
def test_shared_memory_is_disabled(server: Serving, kind: str, action: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        server.channel().unary_unary(f"{SERVICE}{kind}SharedMemory{action}")(b"", timeout=10)

    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert error.value.details() == SHARED_MEMORY_TEXT


def test_admin(server: Serving) -> None:
    channel = server.channel()
    batches = admin_pb2.BatchesResponse.FromString(
        channel.unary_unary("/headrace.v1.Admin/Batches")(
            admin_pb2.BatchesRequest(model_name="echo", limit=3).SerializeToString(), timeout=10
        )
    )
    models = admin_pb2.ModelsResponse.FromString(
        channel.unary_unary("/headrace.v1.Admin/Models")(b"", timeout=10)
    )

    assert server.control.calls == [("batches", "echo", "", 3)]
    (batch,) = batches.batches
    assert (batch.rows, batch.closed_because, batch.instance) == (3, "full", "echo_0")
    (model,) = models.models
    assert (model.name, model.device, model.is_default) == ("echo", "cpu", True)


def test_every_method_of_the_protocol_is_there(serve: Callable[..., Serving]) -> None:
    channel = serve().channel()
    service = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

    for method in service.methods:
        if method.name not in ("ModelInfer", "ModelStreamInfer"):
            try:
                channel.unary_unary(SERVICE + method.name)(b"", timeout=10)
            except grpc.RpcError as error:
                assert error.details() != "Method not found!", method.name
