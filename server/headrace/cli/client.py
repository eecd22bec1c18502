"""A small synchronous gRPC client for the commands that talk to a server."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import Message

from headrace.errors import HeadraceError
from headrace.pb.headrace.v1 import admin_pb2
from headrace.pb.inference import grpc_service_pb2

DEFAULT_URL = "127.0.0.1:8001"
DEFAULT_TIMEOUT_S = 30.0

Request = TypeVar("Request", bound=Message)
Response = TypeVar("Response", bound=Message)


class CallFailed(HeadraceError):
    """A server could not be reached, or answered with an error."""


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: who signs servers' certificates (the machine's authorities by default), and our own."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True)
class Method(Generic[Request, Response]):
    """A unary call, with the class of its answer."""

    path: str
    request: type[Request]
    response: type[Response]


MODEL_METADATA = Method(
    "/inference.GRPCInferenceService/ModelMetadata",
    grpc_service_pb2.ModelMetadataRequest,
    grpc_service_pb2.ModelMetadataResponse,
)
MODEL_INFER = Method(
    "/inference.GRPCInferenceService/ModelInfer",
    grpc_service_pb2.ModelInferRequest,
    grpc_service_pb2.ModelInferResponse,
)
BATCHES = Method("/headrace.v1.Admin/Batches", admin_pb2.BatchesRequest, admin_pb2.BatchesResponse)
MODELS = Method("/headrace.v1.Admin/Models", admin_pb2.ModelsRequest, admin_pb2.ModelsResponse)


class Client:
    """A connection to one server; use it in a `with` statement."""

    def __init__(
        self, url: str, timeout_s: float = DEFAULT_TIMEOUT_S, tls: Tls | None = None, api_key: str = ""
    ) -> None:
        """`tls` None is without encryption, unless `url` begins with grpcs://; `api_key` "" is none."""
        self._metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
        is_secure = tls is not None or url.startswith("grpcs://")
        self._address = url.removeprefix("grpcs://").removeprefix("grpc://")
        self._timeout_s = timeout_s
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if is_secure:
            self._channel = grpc.secure_channel(self._address, _credentials(tls or Tls()), options)
        else:
            self._channel = grpc.insecure_channel(self._address, options)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def call(self, method: Method[Request, Response], request: Request) -> Response:
        """The answer; CallFailed in one sentence where there is none. May be called from several threads."""
        call = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )
        try:
            response: Response = call(request, timeout=self._timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CallFailed(self._explain(method.path, error.code(), error.details() or "")) from error
        return response

    def _explain(self, path: str, code: grpc.StatusCode, details: str) -> str:
        if code is grpc.StatusCode.UNAVAILABLE and "connect" in details:
            return f"no server answers at {self._address}"
        if code is grpc.StatusCode.UNIMPLEMENTED and path.startswith("/headrace."):
            return f"{self._address} is no headrace server: it does not know {path}"
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{self._address}: no answer within {self._timeout_s:g} s"
        return f"{self._address}: {code.name}: {details}"


def _credentials(tls: Tls) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        root_certificates=_read(tls.ca), private_key=_read(tls.key), certificate_chain=_read(tls.certificate)
    )


def _read(path: Path | None) -> bytes | None:
    try:
        return None if path is None else path.read_bytes()
    except OSError as error:
        raise CallFailed(f"{path} cannot be read: {error.strerror}") from None
