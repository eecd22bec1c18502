"""The groups of Triton's restricted protocols that gRPC methods are in, and methods that ask for a header."""

from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import replace

from headrace.errors import Unavailable
from headrace.transport.grpc.calls import (
    Answer,
    Call,
    ControlMethod,
    InferenceMethod,
    Method,
    Stream,
    StreamHandler,
)
from headrace.transport.restriction import Api, Refused, Restriction

METADATA_PREFIX = "triton-grpc-protocol-"

_GROUPS: Mapping[str, Api] = {
    "ServerLive": Api.HEALTH,
    "ServerReady": Api.HEALTH,
    "ModelReady": Api.HEALTH,
    "Check": Api.HEALTH,
    "List": Api.HEALTH,
    "Watch": Api.HEALTH,
    "ServerMetadata": Api.METADATA,
    "ModelMetadata": Api.METADATA,
    "ModelInfer": Api.INFERENCE,
    "ModelStreamInfer": Api.INFERENCE,
    "SystemSharedMemoryStatus": Api.SHARED_MEMORY,
    "SystemSharedMemoryRegister": Api.SHARED_MEMORY,
    "SystemSharedMemoryUnregister": Api.SHARED_MEMORY,
    "CudaSharedMemoryStatus": Api.SHARED_MEMORY,
    "CudaSharedMemoryRegister": Api.SHARED_MEMORY,
    "CudaSharedMemoryUnregister": Api.SHARED_MEMORY,
    "ModelConfig": Api.MODEL_CONFIG,
    "RepositoryIndex": Api.MODEL_REPOSITORY,
    "RepositoryModelLoad": Api.MODEL_REPOSITORY,
    "RepositoryModelUnload": Api.MODEL_REPOSITORY,
    # headrace.v1.Rollouts: like loading and unloading, they decide which version answers.
    "Start": Api.MODEL_REPOSITORY,
    "Status": Api.MODEL_REPOSITORY,
    "Pause": Api.MODEL_REPOSITORY,
    "Resume": Api.MODEL_REPOSITORY,
    "Promote": Api.MODEL_REPOSITORY,
    "Rollback": Api.MODEL_REPOSITORY,
    "Abort": Api.MODEL_REPOSITORY,
    "History": Api.MODEL_REPOSITORY,
    "Explain": Api.MODEL_REPOSITORY,
    "Compare": Api.MODEL_REPOSITORY,
    "GetRoute": Api.MODEL_REPOSITORY,
    "SetRoute": Api.MODEL_REPOSITORY,
    "ClearRoute": Api.MODEL_REPOSITORY,
    "ModelStatistics": Api.STATISTICS,
    "Batches": Api.STATISTICS,
    "Models": Api.STATISTICS,
    "TraceSetting": Api.TRACE,
    "LogSettings": Api.LOGGING,
}


def group_of(path: str) -> Api:
    """The group of the method `path`; KeyError where nobody has put it into one."""
    return _GROUPS[path.rpartition("/")[2]]


def restricted(
    methods: Iterable[Method], restrictions: Mapping[Api, Restriction], refused: Refused
) -> list[Method]:
    """`methods`, of which those in a group with a restriction answer only calls that meet it."""
    return [_asking(method, restrictions, refused) for method in methods]


def _asking(method: Method, restrictions: Mapping[Api, Restriction], refused: Refused) -> Method:
    group = group_of(method.path)
    restriction = restrictions.get(group)
    if restriction is None:
        return method

    def refusal(call: Call) -> Unavailable | None:
        if restriction.is_met_by(call.metadata(restriction.header)):
            return None
        error = Unavailable(f"This protocol is restricted, expecting header '{restriction.header}'")
        refused(group, call.caller, error)
        return error

    if isinstance(method, InferenceMethod):
        submit = method.submit

        def submit_if_met(data: bytes, call: Call, answer: Answer) -> None:
            if error := refusal(call):
                answer.fail(error)
            else:
                submit(data, call, answer)

        return replace(method, submit=submit_if_met)
    if isinstance(method, ControlMethod):
        handle = method.handle

        def handle_if_met(data: bytes, call: Call) -> bytes | Awaitable[bytes]:
            if error := refusal(call):
                raise error
            return handle(data, call)

        return replace(method, handle=handle_if_met)
    open_stream = method.open

    def open_if_met(call: Call, stream: Stream) -> StreamHandler:
        if error := refusal(call):
            raise error
        return open_stream(call, stream)

    return replace(method, open=open_if_met)
