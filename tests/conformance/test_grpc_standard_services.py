"""Health and reflection over every gRPC transport, by grpcio's own packages for them."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from conformance.conftest import Serving
from headrace.pb.grpc.health.v1 import health_pb2 as our_health_pb2
from headrace.service.answers import HealthStatus

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def health(server: Serving) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(server.channel())


def check(health: health_pb2_grpc.HealthStub, service: str) -> int:
    return health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status


def test_check(server: Serving, health: health_pb2_grpc.HealthStub) -> None:
    assert check(health, "") == SERVING
    server.loop.call(server.control.set_health, "echo", HealthStatus.NOT_SERVING)
    assert check(health, "echo") == NOT_SERVING

    with pytest.raises(grpc.RpcError) as error:
        check(health, "none")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND


def test_watch_tells_of_changes(server: Serving, health: health_pb2_grpc.HealthStub) -> None:
    watch = health.Watch(health_pb2.HealthCheckRequest(service="new"), timeout=10)
    seen = [next(watch).status]
    server.loop.call(server.control.set_health, "other", HealthStatus.SERVING)
    server.loop.call(server.control.set_health, "new", HealthStatus.SERVING)
    seen.append(next(watch).status)
    server.loop.call(server.control.set_health, "new", HealthStatus.SERVING)
    server.loop.call(server.control.set_health, "new", HealthStatus.NOT_SERVING)
    seen.append(next(watch).status)

    assert seen == [SERVICE_UNKNOWN, SERVING, NOT_SERVING]
    watch.cancel()
    server.loop.until(lambda: not server.control.listeners)


def test_watch_ends_when_the_server_stops(server: Serving, health: health_pb2_grpc.HealthStub) -> None:
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=10)
    next(watch)

    server.loop.run(server.transport.stop(15))

    with pytest.raises(grpc.RpcError) as error:
        next(watch)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert server.control.listeners == []


def test_list(server: Serving) -> None:
    call = server.channel().unary_unary("/grpc.health.v1.Health/List")

    statuses = our_health_pb2.HealthListResponse.FromString(call(b"", timeout=10)).statuses
    assert {name: response.status for name, response in statuses.items()} == {"": SERVING, "echo": SERVING}

    for index in range(100):
        server.loop.call(server.control.set_health, f"model{index}", HealthStatus.SERVING)
    with pytest.raises(grpc.RpcError) as error:
        call(b"", timeout=10)
    assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_reflection_rebuilds_the_protocol(server: Serving) -> None:
    database = ProtoReflectionDescriptorDatabase(server.channel())
    pool = DescriptorPool(database)

    assert set(database.get_services()) == {
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "headrace.v1.Admin",
        "inference.GRPCInferenceService",
    }
    for service in database.get_services():
        assert pool.FindServiceByName(service).methods
    assert pool.FindMessageTypeByName("inference.ModelInferRequest").fields_by_name["raw_input_contents"]


def ask(
    server: Serving, version: str, *requests: reflection_pb2.ServerReflectionRequest
) -> Iterator[reflection_pb2.ServerReflectionResponse]:
    call = server.channel().stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
    data = [request.SerializeToString() for request in requests]
    return map(reflection_pb2.ServerReflectionResponse.FromString, call(iter(data), timeout=10))


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
@pytest.mark.parametrize(
    "symbol",
    [
        "inference.GRPCInferenceService",
        "inference.GRPCInferenceService.ModelInfer",
        "inference.ModelInferRequest",
        "inference.ModelInferRequest.InferInputTensor",
        "inference.ModelInferRequest.model_name",
        "inference.DataType",
        "grpc.reflection.v1.ServerReflection",
    ],
)
def test_reflection_finds_symbols(server: Serving, version: str, symbol: str) -> None:
    request = reflection_pb2.ServerReflectionRequest(host="h", file_containing_symbol=symbol)

    (response,) = ask(server, version, request)

    assert response.valid_host == "h"
    assert response.original_request == request
    assert response.file_descriptor_response.file_descriptor_proto


def test_reflection_sends_imported_files_too(server: Serving) -> None:
    request = reflection_pb2.ServerReflectionRequest(file_by_filename="inference/grpc_service.proto")

    (response,) = ask(server, "v1", request)

    assert len(response.file_descriptor_response.file_descriptor_proto) == 2


def test_reflection_of_what_is_not_there(server: Serving) -> None:
    extension = reflection_pb2.ExtensionRequest(containing_type="inference.ModelConfig", extension_number=5)
    responses = ask(
        server,
        "v1",
        reflection_pb2.ServerReflectionRequest(file_by_filename="none.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.Nothing"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.GRPCInferenceService.None"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=""),
        reflection_pb2.ServerReflectionRequest(file_containing_extension=extension),
        reflection_pb2.ServerReflectionRequest(all_extension_numbers_of_type="inference.ModelConfig"),
        reflection_pb2.ServerReflectionRequest(),
    )

    assert [response.error_response.error_code for response in responses] == [5, 5, 5, 5, 5, 5, 3]


def test_reflection_can_be_switched_off(serve: Callable[..., Serving]) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(serve(reflection=False).channel())

    with pytest.raises(grpc.RpcError) as error:
        next(stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")])))
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_our_messages_stand_beside_those_of_clients(order: tuple[int, int]) -> None:
    """Both define inference.* and grpc.health.*; either may be imported first."""
    imports = (
        "import headrace.transport.grpc.methods",
        "import tritonclient.grpc, grpc_health.v1.health_pb2, grpc_reflection.v1alpha.reflection_pb2",
    )
    program = "; ".join(imports[index] for index in order)

    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
