"""gRPC server reflection, v1 and v1alpha: which services there are, and the .proto files that describe them.

The two versions differ in nothing but their package's name, so v1's messages read and write both.
"""

from collections.abc import Iterable

from google.protobuf.descriptor import FileDescriptor

from headrace.errors import HeadraceError, InvalidArgument, NotFound, Unavailable
from headrace.pb.grpc.reflection.v1 import reflection_pb2 as pb
from headrace.pb.grpc.reflection.v1alpha import reflection_pb2 as _v1alpha  # noqa: F401  described as well
from headrace.pb.pool import POOL
from headrace.transport.grpc.calls import Call, Method, Stream, StreamMethod
from headrace.transport.grpc.parse import parse

SERVICES = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class ReflectionMethods:
    """Describes `services`, by their full names, and itself."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = sorted({*services, *SERVICES})

    def methods(self) -> list[Method]:
        return [StreamMethod(f"/{service}/ServerReflectionInfo", self.open) for service in SERVICES]

    def open(self, call: Call, stream: Stream) -> "ReflectionStream":
        return ReflectionStream(self._services, stream)


class ReflectionStream:
    """One ServerReflectionInfo call: a response to each request."""

    def __init__(self, services: list[str], stream: Stream) -> None:
        self._services = services
        self._stream = stream

    def receive(self, data: bytes) -> None:
        request = parse(pb.ServerReflectionRequest, data)
        response = pb.ServerReflectionResponse(valid_host=request.host, original_request=request)
        try:
            self._fill(response, request)
        except HeadraceError as error:
            response.error_response.error_code = error.status
            response.error_response.error_message = str(error)
        self._stream.send(response.SerializeToString())

    def receive_end(self) -> None:
        self._stream.finish()

    def pause_writing(self) -> None:
        self._stream.pause_reading()

    def resume_writing(self) -> None:
        self._stream.resume_reading()

    def drain(self) -> None:
        self._stream.fail(Unavailable("the server is shutting down"))

    def close(self) -> None:
        pass

    def _fill(self, response: pb.ServerReflectionResponse, request: pb.ServerReflectionRequest) -> None:
        kind = request.WhichOneof("message_request")
        if kind == "list_services":
            response.list_services_response.service.extend(
                pb.ServiceResponse(name=name) for name in self._services
            )
        elif kind == "file_by_filename":
            response.file_descriptor_response.CopyFrom(_files(_file_by_name(request.file_by_filename)))
        elif kind == "file_containing_symbol":
            response.file_descriptor_response.CopyFrom(_files(_file_with(request.file_containing_symbol)))
        elif kind is None:
            raise InvalidArgument("the request asks for nothing")
        else:
            raise NotFound("no message here has extensions")


def _file_by_name(name: str) -> FileDescriptor:
    try:
        return POOL.FindFileByName(name)
    except KeyError:
        raise NotFound(f"there is no file '{name}'") from None


def _file_with(symbol: str) -> FileDescriptor:
    """The file that declares a service, a method, a message, a field or an enum."""
    try:
        return POOL.FindFileContainingSymbol(symbol)
    except KeyError:
        pass
    service, _, method = symbol.rpartition(".")
    try:
        descriptor = POOL.FindServiceByName(service)
    except KeyError:
        raise NotFound(f"there is no symbol '{symbol}'") from None
    if method not in descriptor.methods_by_name:
        raise NotFound(f"there is no symbol '{symbol}'")
    return descriptor.file


def _files(file: FileDescriptor) -> pb.FileDescriptorResponse:
    """`file` and all that it imports, each once."""
    found: dict[str, FileDescriptor] = {}
    waiting = [file]
    while waiting:
        file = waiting.pop()
        if file.name not in found:
            found[file.name] = file
            waiting.extend(file.dependencies)
    return pb.FileDescriptorResponse(file_descriptor_proto=[each.serialized_pb for each in found.values()])
