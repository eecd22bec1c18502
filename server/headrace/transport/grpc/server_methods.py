"""What callers ask of the server and its models: liveness, readiness, metadata, configuration."""

from collections.abc import Iterable

from headrace.core.varint import varint
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.security.control_guard import GuardedControl
from headrace.service.answers import TensorMetadata
from headrace.transport.grpc.calls import Call, ControlMethod, Method
from headrace.transport.grpc.parse import parse

SERVICE = "/inference.GRPCInferenceService/"

_CONFIG = b"\x0a"  # field 1 of ModelConfigResponse, of wire type 2


class ServerMethods:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def methods(self) -> list[Method]:
        return [
            ControlMethod(SERVICE + "ServerLive", self.server_live),
            ControlMethod(SERVICE + "ServerReady", self.server_ready),
            ControlMethod(SERVICE + "ModelReady", self.model_ready),
            ControlMethod(SERVICE + "ServerMetadata", self.server_metadata),
            ControlMethod(SERVICE + "ModelMetadata", self.model_metadata),
            ControlMethod(SERVICE + "ModelConfig", self.model_config),
        ]

    def server_live(self, data: bytes, call: Call) -> bytes:
        parse(pb.ServerLiveRequest, data)
        return pb.ServerLiveResponse(live=self._control.of(call.caller).is_live()).SerializeToString()

    def server_ready(self, data: bytes, call: Call) -> bytes:
        parse(pb.ServerReadyRequest, data)
        return pb.ServerReadyResponse(ready=self._control.of(call.caller).is_ready()).SerializeToString()

    def model_ready(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.ModelReadyRequest, data)
        is_ready = self._control.of(call.caller).is_model_ready(request.name, request.version)
        return pb.ModelReadyResponse(ready=is_ready).SerializeToString()

    def server_metadata(self, data: bytes, call: Call) -> bytes:
        parse(pb.ServerMetadataRequest, data)
        metadata = self._control.of(call.caller).server_metadata()
        return pb.ServerMetadataResponse(
            name=metadata.name, version=metadata.version, extensions=metadata.extensions
        ).SerializeToString()

    def model_metadata(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.ModelMetadataRequest, data)
        metadata = self._control.of(call.caller).model_metadata(request.name, request.version)
        return pb.ModelMetadataResponse(
            name=metadata.name,
            versions=metadata.versions,
            platform=metadata.platform,
            inputs=_tensors(metadata.inputs),
            outputs=_tensors(metadata.outputs),
            properties=metadata.properties,
        ).SerializeToString()

    def model_config(self, data: bytes, call: Call) -> bytes:
        """The service's bytes are the field's value as they are."""
        request = parse(pb.ModelConfigRequest, data)
        config = self._control.of(call.caller).model_config(request.name, request.version)
        return b"".join([_CONFIG, varint(len(config)), config])


def _tensors(tensors: Iterable[TensorMetadata]) -> list[pb.ModelMetadataResponse.TensorMetadata]:
    return [
        pb.ModelMetadataResponse.TensorMetadata(
            name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
        )
        for tensor in tensors
    ]
