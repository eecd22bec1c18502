"""The model repository: its index, loading and unloading, in Triton's dialect and in KServe's."""

from collections.abc import Mapping
from typing import TypeAlias

from headrace.errors import InvalidArgument, Unimplemented
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.security.control_guard import GuardedControl
from headrace.transport.grpc.calls import Call, ControlMethod, Method
from headrace.transport.grpc.parse import parse
from headrace.transport.grpc.server_methods import SERVICE

_FILE = "file:"

_Parameters: TypeAlias = Mapping[str, pb.ModelRepositoryParameter]


class RepositoryMethods:
    def __init__(self, control: GuardedControl) -> None:
        self._control = control

    def methods(self) -> list[Method]:
        return [
            ControlMethod(SERVICE + "RepositoryIndex", self.index),
            ControlMethod(SERVICE + "RepositoryModelLoad", self.load),
            ControlMethod(SERVICE + "RepositoryModelUnload", self.unload),
        ]

    def index(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RepositoryIndexRequest, data)
        entries = self._control.of(call.caller).repository_index(request.repository_name, request.ready)
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(
                    name=entry.name, version=entry.version, state=entry.state, reason=entry.reason
                )
                for entry in entries
            ]
        ).SerializeToString()

    async def load(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RepositoryModelLoadRequest, data)
        model_name, is_kserve = _model_name(request)
        config, files = _load_parameters(request.parameters)
        await self._control.of(call.caller).load(model_name, config, files)
        if not is_kserve:
            return b""
        return pb.RepositoryModelLoadResponse(model_name=model_name, isLoaded=True).SerializeToString()

    async def unload(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RepositoryModelUnloadRequest, data)
        model_name, is_kserve = _model_name(request)
        _check_unload_parameters(request.parameters)
        await self._control.of(call.caller).unload(model_name)
        if not is_kserve:
            return b""
        return pb.RepositoryModelUnloadResponse(model_name=model_name, isUnloaded=True).SerializeToString()


def _model_name(
    request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest,
) -> tuple[str, bool]:
    """The model's name, and whether the request is in KServe's dialect.

    KServe's message has the model's name where Triton's has the repository's; Triton refuses any repository
    name, so no client of Triton's sends one.
    """
    if not request.repository_name:
        return request.model_name, False
    if request.model_name:
        raise Unimplemented("'repository_name' specification is not supported")
    return request.repository_name, True


def _load_parameters(parameters: _Parameters) -> tuple[str | None, dict[str, bytes]]:
    """The configuration (JSON) and the files that are to be loaded instead of the repository's."""
    config: str | None = None
    files: dict[str, bytes] = {}
    for name, parameter in parameters.items():
        kind = parameter.WhichOneof("parameter_choice")
        if name == "config":
            if kind != "string_param":
                raise InvalidArgument(
                    "invalid value type for load parameter 'config', expected string_param."
                )
            config = parameter.string_param
        elif name.startswith(_FILE):
            if kind != "bytes_param":
                raise InvalidArgument(
                    f"invalid value type for load parameter '{name}', expected bytes_param."
                )
            files[name.removeprefix(_FILE)] = parameter.bytes_param
        else:
            raise InvalidArgument(f"unrecognized load parameter '{name}'.")
    return config, files


def _check_unload_parameters(parameters: _Parameters) -> None:
    """`unload_dependents` is taken, though without ensembles no model depends on another."""
    for name, parameter in parameters.items():
        if name != "unload_dependents":
            raise InvalidArgument(f"unrecognized unload parameter '{name}'.")
        if parameter.WhichOneof("parameter_choice") != "bool_param":
            raise InvalidArgument(
                "invalid value type for unload parameter 'unload_dependents', expected bool_param."
            )
