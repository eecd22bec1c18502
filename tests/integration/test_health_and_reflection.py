"""The standard health and reflection services, by the clients that come with grpcio."""

import queue
import threading
from collections.abc import Callable, Iterator

import grpc
import pytest
import tritonclient.grpc as triton
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from support.server import ServerProcess

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
INFERENCE = "inference.GRPCInferenceService"


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    arguments = ("--model-control-mode=explicit", "--load-model=identity_int64", "--load-model=sums")
    return serve("identity_int64", "sums", "labelled", arguments=arguments)


@pytest.fixture
def health(channel: grpc.Channel) -> health_pb2_grpc.HealthStub:
    return health_pb2_grpc.HealthStub(channel)


@pytest.fixture(autouse=True)
def as_at_the_start(client: triton.InferenceServerClient) -> Iterator[None]:
    yield
    client.load_model("sums")


def check(health: health_pb2_grpc.HealthStub, service: str) -> int:
    status: int = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=10).status
    return status


class Watch:
    """What a Watch call tells, as it comes."""

    def __init__(self, health: health_pb2_grpc.HealthStub, service: str) -> None:
        self._call = health.Watch(health_pb2.HealthCheckRequest(service=service))
        self._statuses: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                self._statuses.put(response.status)
        except grpc.RpcError:
            pass

    def next(self) -> int:
        return self._statuses.get(timeout=10)

    @property
    def is_silent(self) -> bool:
        return self._statuses.empty()

    def __enter__(self) -> "Watch":
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()
        self._thread.join(10)


def test_check_of_the_server_its_service_and_a_model(health: health_pb2_grpc.HealthStub) -> None:
    for service in ("", INFERENCE, "identity_int64", "sums"):
        assert check(health, service) == SERVING


def test_check_of_what_is_not_known(health: health_pb2_grpc.HealthStub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        check(health, "nobody")

    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_check_follows_an_unload_and_a_load(
    health: health_pb2_grpc.HealthStub, client: triton.InferenceServerClient
) -> None:
    client.unload_model("sums")

    assert check(health, "sums") == NOT_SERVING
    assert check(health, "identity_int64") == SERVING
    assert check(health, "") == SERVING

    client.load_model("sums")

    assert check(health, "sums") == SERVING


def test_watch_tells_of_an_unload_and_a_load(
    health: health_pb2_grpc.HealthStub, client: triton.InferenceServerClient
) -> None:
    with Watch(health, "sums") as sums, Watch(health, "") as overall:
        assert sums.next() == overall.next() == SERVING
        for _ in range(3):
            client.unload_model("sums")
            assert sums.next() == NOT_SERVING
            client.load_model("sums")
            assert sums.next() == SERVING

        assert overall.is_silent


def test_watch_of_a_model_that_comes_later(
    health: health_pb2_grpc.HealthStub, client: triton.InferenceServerClient
) -> None:
    with Watch(health, "labelled") as watch:
        assert watch.next() == SERVICE_UNKNOWN

        client.load_model("labelled")

        told = [watch.next()]
        while told[-1] != SERVING:
            told.append(watch.next())
        assert set(told) <= {NOT_SERVING, SERVING}


def test_a_reload_is_no_interruption(
    health: health_pb2_grpc.HealthStub, client: triton.InferenceServerClient
) -> None:
    with Watch(health, "identity_int64") as watch:
        assert watch.next() == SERVING

        for _ in range(3):
            client.load_model("identity_int64")

        assert check(health, "identity_int64") == SERVING
        assert watch.is_silent


def test_reflection_lists_the_services(channel: grpc.Channel) -> None:
    services = ProtoReflectionDescriptorDatabase(channel).get_services()

    assert {
        INFERENCE,
        "grpc.health.v1.Health",
        "headrace.v1.Admin",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    } <= set(services)


def test_reflection_describes_the_protocol(channel: grpc.Channel) -> None:
    database = ProtoReflectionDescriptorDatabase(channel)

    file = database.FindFileContainingSymbol(f"{INFERENCE}.ModelInfer")

    (service,) = [service for service in file.service if service.name == "GRPCInferenceService"]
    assert {method.name for method in service.method} >= {
        "ModelInfer",
        "ModelStreamInfer",
        "RepositoryModelLoad",
    }
    for dependency in file.dependency:
        assert database.FindFileByName(dependency).name == dependency


def test_reflection_of_a_symbol_that_is_not_there(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.Nobody")

    (answer,) = stub.ServerReflectionInfo(iter([request]), timeout=10)

    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
