"""HTTP messages as the gateway's endpoints see them: a request, and a response that is written later."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from math import ceil
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import parse_qs

import orjson

from headrace.core.caller import STRANGER, Caller
from headrace.core.tensor import Buffer
from headrace.errors import HeadraceError, LimitExceeded, Status
from headrace.security.client_certificate import ClientCertificate
from headrace.transport.http.heads import Head

JSON = "application/json"
BINARY = "application/octet-stream"

# Messages quote what callers send, which may be long.
MAX_ERROR_LENGTH = 2048

_NO_PARAMS: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class HttpRequest:
    """One request, whole. Header names are in lower case; `params` are the parts of the path that vary.

    `arrived_ns` is on `time.monotonic_ns`. `head` is there where it came before. `certificate` is
    the caller's, where it has shown one.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Buffer
    arrived_ns: int
    params: Mapping[str, str] = field(default_factory=lambda: _NO_PARAMS)
    certificate: ClientCertificate | None = None
    caller: Caller = STRANGER
    head: Head | None = None

    @property
    def media_type(self) -> str:
        """The Content-Type without its parameters, in lower case; "" where there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def query_values(self) -> Mapping[str, str]:
        """The query's fields; of one that is given twice the last."""
        return {name: values[-1] for name, values in parse_qs(self.query, keep_blank_values=True).items()}


@dataclass(slots=True)
class HttpResponse:
    """What is answered; `body` is sent in parts, as they are.

    Only what `may_be_coded` is compressed where the caller takes that: there are clients that say so and then
    inflate some answers only.
    """

    body: Sequence[Buffer] = ()
    status: int = HTTPStatus.OK
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    may_be_coded: bool = False


class Answer(Protocol):
    """Where a caller waits. Exactly one of `complete` and `fail` is called, once, on the event loop."""

    @property
    def is_wanted(self) -> bool:
        """False once the caller has left."""
        ...

    def complete(self, response: HttpResponse) -> None: ...

    def fail(self, error: HeadraceError) -> None: ...


class HttpError(HeadraceError):
    """What only HTTP can say: a status that no gRPC status stands for."""

    def __init__(self, status: HTTPStatus, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.http_status = status
        self.headers = headers


# Triton's table (http_server.cc), and the usual codes for what it does not have.
_HTTP_STATUSES: Mapping[Status, HTTPStatus] = {
    Status.CANCELLED: HTTPStatus.BAD_REQUEST,
    Status.UNKNOWN: HTTPStatus.BAD_REQUEST,
    Status.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    Status.ALREADY_EXISTS: HTTPStatus.BAD_REQUEST,
    Status.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    Status.DEADLINE_EXCEEDED: HTTPStatus.GATEWAY_TIMEOUT,
    Status.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Status.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    Status.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Status.RESOURCE_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Status.UNIMPLEMENTED: HTTPStatus.NOT_IMPLEMENTED,
    Status.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}


_HEADERS: Mapping[Status, tuple[tuple[str, str], ...]] = {
    Status.UNAUTHENTICATED: (("WWW-Authenticate", "Bearer"),),
}


def http_status(error: HeadraceError) -> HTTPStatus:
    """The status that tells of `error`."""
    if isinstance(error, HttpError):
        return error.http_status
    return _HTTP_STATUSES.get(error.status, HTTPStatus.INTERNAL_SERVER_ERROR)


def error_response(error: HeadraceError) -> HttpResponse:
    """The answer that tells of `error`, in the protocol's form."""
    message = str(error)
    if len(message) > MAX_ERROR_LENGTH:
        message = message[: MAX_ERROR_LENGTH - 1] + "…"
    return HttpResponse([to_json({"error": message})], http_status(error), headers=_headers(error))


def _headers(error: HeadraceError) -> tuple[tuple[str, str], ...]:
    if isinstance(error, HttpError):
        return error.headers
    if isinstance(error, LimitExceeded):
        return (("Retry-After", str(max(1, ceil(error.retry_after_s)))),)  # in whole seconds, RFC 9110
    return _HEADERS.get(error.status, ())


def json_response(value: Any, status: int = HTTPStatus.OK) -> HttpResponse:
    return HttpResponse([to_json(value)], status)


def to_json(value: Any) -> bytes:
    """`value` as JSON, of numpy's types too; what is not Unicode in texts, as in file names, is marked."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        return orjson.dumps(_printable(value), option=orjson.OPT_SERIALIZE_NUMPY)


def _printable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_printable(key): _printable(item) for key, item in value.items()}
    return [_printable(item) for item in value] if isinstance(value, list | tuple) else value
