"""The gRPC transport on grpcio's `grpc.aio`: works wherever grpcio can be installed.

grpc.aio spends far more on a call than all the rest of the server, so little is added to it: generic handlers
without (de)serializers, one object and one future per call.
"""

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, NoReturn, TypeAlias
from urllib.parse import unquote

import grpc
import grpc.aio
from grpc.aio import EOF  # type: ignore[attr-defined]  # the stubs lack it

from headrace.core.caller import STRANGER, Caller
from headrace.errors import HeadraceError, LimitExceeded, Unimplemented
from headrace.security.authenticator import Credentials
from headrace.security.certificates import Pair
from headrace.security.client_certificate import ClientCertificate, read_client_certificate
from headrace.security.entrance import Entrance
from headrace.settings import Compression, GrpcSettings
from headrace.transport.failures import to_error
from headrace.transport.grpc.calls import (
    NO_MESSAGE,
    ControlMethod,
    InferenceMethod,
    Method,
    StreamHandler,
    StreamMethod,
    status_message,
)

# What a stream may have waiting to be sent before its method is told to pause.
HIGH_WATER_BYTES = 256 * 1024
MESSAGE_OVERHEAD_BYTES = 256

_Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]

_GRPC_AIO_LOGGER = logging.getLogger("grpc._cython.cygrpc")
_CODES = {code.value[0]: code for code in grpc.StatusCode}
_COMPRESSIONS = {
    Compression.NONE: None,
    Compression.GZIP: grpc.Compression.Gzip,
    Compression.DEFLATE: grpc.Compression.Deflate,
}


class GrpcioTransport:
    """Serves `methods` on one address."""

    def __init__(
        self,
        settings: GrpcSettings,
        methods: Mapping[str, Method],
        entrance: Entrance,
        pairs: Callable[[], Pair] | None = None,
    ) -> None:
        """`pairs` tells the newest certificate and key; without it nothing is encrypted."""
        self.entrance = entrance
        self.asks_certificates = pairs is not None and pairs().client_ca is not None
        self._settings = settings
        self._pairs = pairs
        self._methods = methods
        self._server: grpc.aio.Server | None = None
        self._streams: set[_StreamCall] = set()
        self._is_draining = False

    async def start(self) -> int:
        """Listens; returns the port, 0 on a Unix socket. OSError names the address where that fails."""
        settings = self._settings
        server = grpc.aio.server(
            handlers=[_MethodTable(self._methods, self)],
            options=_options(settings),
            compression=_COMPRESSIONS[settings.compression],
        )
        target = _target(settings.address, settings.port)
        try:
            if self._pairs is None:
                port = server.add_insecure_port(target)
            else:
                port = server.add_secure_port(target, _credentials(self._pairs))
        except RuntimeError:
            raise _listen_error(settings.address, settings.port) from None
        _GRPC_AIO_LOGGER.addFilter(_is_news)
        await server.start()
        self._server = server
        return 0 if _is_unix(settings.address) else port

    async def stop(self, grace_s: float) -> None:
        """Takes no more calls, lets those under way finish for `grace_s` seconds, then cancels them."""
        server, self._server = self._server, None
        if server is None:
            return
        self._is_draining = True
        for stream in tuple(self._streams):
            stream.drain()
        await server.stop(grace_s)
        _GRPC_AIO_LOGGER.removeFilter(_is_news)

    def add(self, stream: "_StreamCall") -> None:
        self._streams.add(stream)
        if self._is_draining:
            stream.drain()

    def discard(self, stream: "_StreamCall") -> None:
        self._streams.discard(stream)


class _MethodTable(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Gives grpc.aio a call object for each call to a method that there is."""

    def __init__(self, methods: Mapping[str, Method], transport: GrpcioTransport) -> None:
        self._methods = methods
        self._transport = transport

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        method = self._methods.get(details.method)
        if isinstance(method, InferenceMethod):
            return _InferenceCall(method, details.invocation_metadata, self._transport)
        if isinstance(method, ControlMethod):
            return _ControlCall(method, details.invocation_metadata, self._transport)
        if isinstance(method, StreamMethod):
            return _StreamCall(method, details.invocation_metadata, self._transport)
        return None


class _Call:
    """One call: the handler that grpc.aio runs, and what a method may ask of the call.

    Unary methods are declared as taking a stream: otherwise grpc.aio never answers a call without a message.
    """

    request_streaming = True
    response_streaming = False
    request_deserializer = None
    response_serializer = None

    __slots__ = ("_caller", "_context", "_entrance", "_metadata", "_transport", "arrived_ns", "deadline_ns")

    _context: "grpc.aio.ServicerContext[Any, Any]"

    def __init__(self, metadata: _Metadata, transport: GrpcioTransport) -> None:
        self._metadata = metadata
        self._transport = transport
        self._entrance = transport.entrance
        self._caller = STRANGER
        self.arrived_ns = 0
        self.deadline_ns: int | None = None

    @property
    def caller(self) -> Caller:
        return self._caller

    @property
    def peer(self) -> str:
        return str(self._context.peer())

    def metadata(self, key: str) -> str | None:
        for name, value in self._metadata:
            if name == key:
                return value if isinstance(value, str) else None
        return None

    def _begin(self, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self._context = context
        self.arrived_ns = time.monotonic_ns()
        remaining_s = context.time_remaining()
        if remaining_s is not None:
            self.deadline_ns = self.arrived_ns + int(remaining_s * 1e9)

    def _identify(self) -> None:
        """Learns who calls; Unauthenticated where that is claimed wrongly."""
        credentials = Credentials(
            self._credential("authorization"),
            self._credential("x-api-key"),
            _certificate(self._context) if self._transport.asks_certificates else None,
            _address(self.peer),
        )
        self._caller = self._entrance.caller(credentials)

    def _credential(self, key: str) -> str | None:
        """All that was sent for `key`, as HTTP has it: two credentials are none, and neither goes first."""
        values = [value for name, value in self._metadata if name == key and isinstance(value, str)]
        return ", ".join(values) if values else None


class _InferenceCall(_Call):
    """A call that waits for one callback; it is its own `calls.Answer`."""

    __slots__ = ("_future", "_method")

    _future: asyncio.Future[bytes | HeadraceError]

    def __init__(self, method: InferenceMethod, metadata: _Metadata, transport: GrpcioTransport) -> None:
        super().__init__(metadata, transport)
        self._method = method

    @property
    def is_wanted(self) -> bool:
        """False as soon as the caller has left: grpc.aio cancels the task, and so this future."""
        return not self._future.done()

    def complete(self, data: bytes) -> None:
        if not self._future.done():
            self._future.set_result(data)

    def fail(self, error: HeadraceError) -> None:
        if not self._future.done():
            self._future.set_result(error)

    async def stream_unary(self, requests: object, context: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
        data = await _read_request(context)
        self._begin(context)
        self._future = asyncio.get_running_loop().create_future()
        try:
            if self._entrance.wants_all:
                self._identify()
            self._method.submit(data, self, self)
        except Exception as error:
            self.fail(to_error(error, self._method.path))
        del data  # the tensors have their own bytes, or a view of these
        answer = await self._future
        if isinstance(answer, HeadraceError):
            await _abort(context, answer)
        return answer


class _ControlCall(_Call):
    """A call that is answered at once, or by an awaitable."""

    __slots__ = ("_method",)

    def __init__(self, method: ControlMethod, metadata: _Metadata, transport: GrpcioTransport) -> None:
        super().__init__(metadata, transport)
        self._method = method

    async def stream_unary(self, requests: object, context: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
        data = await _read_request(context)
        self._begin(context)
        try:
            self._identify()
            answer = self._method.handle(data, self)
            return answer if isinstance(answer, bytes) else await answer
        except Exception as error:
            await _abort(context, to_error(error, self._method.path))


class _StreamCall(_Call):
    """A streaming call; it is its own `calls.Stream`. One task reads, grpc.aio's own task writes."""

    response_streaming = True

    __slots__ = (
        "_error",
        "_handler",
        "_has_news",
        "_is_ended",
        "_is_writing_paused",
        "_may_read",
        "_method",
        "_unsent",
        "_unsent_bytes",
    )

    _handler: StreamHandler

    def __init__(
        self,
        method: StreamMethod,
        metadata: _Metadata,
        transport: GrpcioTransport,
    ) -> None:
        super().__init__(metadata, transport)
        self._method = method
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._is_writing_paused = False
        self._is_ended = False
        self._error: HeadraceError | None = None
        self._has_news = asyncio.Event()
        self._may_read = asyncio.Event()
        self._may_read.set()

    @property
    def caller(self) -> Caller:
        """Asked for anew each time: what a caller has shown may be taken back while the stream goes on."""
        if self._entrance.wants_all:
            self._identify()
        return self._caller

    def send(self, data: bytes) -> None:
        if self._is_ended:
            return
        self._unsent.append(data)
        self._unsent_bytes += len(data) + MESSAGE_OVERHEAD_BYTES
        self._has_news.set()
        if self._unsent_bytes > HIGH_WATER_BYTES and not self._is_writing_paused:
            self._is_writing_paused = True
            self._tell(self._handler.pause_writing)

    def finish(self) -> None:
        self._is_ended = True
        self._has_news.set()

    def fail(self, error: HeadraceError) -> None:
        if not self._is_ended:
            self._error = error
            self.finish()

    def pause_reading(self) -> None:
        self._may_read.clear()

    def resume_reading(self) -> None:
        self._may_read.set()

    def drain(self) -> None:
        self._tell(self._handler.drain)

    async def stream_stream(self, requests: object, context: "grpc.aio.ServicerContext[Any, Any]") -> None:
        self._begin(context)
        try:
            self._identify()
            self._handler = self._method.open(self, self)
        except Exception as error:
            await _abort(context, to_error(error, self._method.path))
        self._transport.add(self)
        reader = asyncio.get_running_loop().create_task(self._read())
        try:
            await self._write()
        finally:
            self._is_ended = True
            self._transport.discard(self)
            self._handler.close()
            reader.cancel()
            await asyncio.wait((reader,))
        if self._error is not None:
            await _abort(context, self._error)

    async def _read(self) -> None:
        try:
            while not self._is_ended:
                await self._may_read.wait()
                data = await self._context.read()
                if data is EOF:
                    self._tell(self._handler.receive_end)
                    return
                self._tell(self._handler.receive, data)
        except grpc.aio.BaseError:
            return  # the call is over, and its task knows

    async def _write(self) -> None:
        unsent = self._unsent
        while True:
            while unsent:
                data = unsent.popleft()
                await self._write_message(data)
                self._unsent_bytes -= len(data) + MESSAGE_OVERHEAD_BYTES
                if self._is_writing_paused and self._unsent_bytes <= HIGH_WATER_BYTES // 2:
                    self._is_writing_paused = False
                    self._tell(self._handler.resume_writing)
            if self._is_ended:
                return
            await self._has_news.wait()
            self._has_news.clear()

    async def _write_message(self, data: bytes) -> None:
        try:
            await self._context.write(data)
        except grpc.aio.InternalError:
            # The caller is gone and grpc.aio has yet to hear of it: end as it will then end the call.
            raise asyncio.CancelledError from None

    def _tell(self, event: Callable[..., None], *arguments: bytes) -> None:
        if self._is_ended:
            return
        try:
            event(*arguments)
        except Exception as error:
            self.fail(to_error(error, self._method.path))


async def _read_request(context: "grpc.aio.ServicerContext[Any, Any]") -> bytes:
    data = await context.read()
    if data is EOF:
        await _abort(context, Unimplemented(NO_MESSAGE))
    message: bytes = data
    return message


async def _abort(context: "grpc.aio.ServicerContext[Any, Any]", error: HeadraceError) -> NoReturn:
    """Ends the call with the error's status; raises what grpc.aio ends the handler with."""
    try:
        await context.abort(_CODES[error.status], status_message(error), _trailing_metadata(error))
    except grpc.aio.InternalError:
        # grpc-core has ended the call already, its deadline for one: end as grpc.aio will then end it.
        raise asyncio.CancelledError from None


def _trailing_metadata(error: HeadraceError) -> _Metadata:
    """When to try again, in the form that gRPC's own retries follow (gRFC A6)."""
    if isinstance(error, LimitExceeded):
        return (("grpc-retry-pushback-ms", str(ceil(error.retry_after_s * 1000))),)
    return ()


def _address(peer: str) -> str:
    """The peer as gRPC has it, `ipv4:10.0.0.7:4711` or `ipv6:%5B::1%5D:4711`, without its kind."""
    kind, _, address = peer.partition(":")
    return unquote(address) if kind in ("ipv4", "ipv6") else kind


def _is_news(record: logging.LogRecord) -> bool:
    """False for what grpc.aio logs of an answer whose caller has just gone: that is normal."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, grpc.aio.InternalError)


def _certificate(context: "grpc.aio.ServicerContext[Any, Any]") -> ClientCertificate:
    """That of a caller who had to show one. To ask grpc.aio takes some 10 µs: not done without need."""
    return read_client_certificate(next(iter(context.auth_context().get("x509_pem_cert", ())), b""))


def _credentials(pairs: Callable[[], Pair]) -> grpc.ServerCredentials:
    """Credentials that take a new pair, if there is one, in each handshake."""
    in_use = pairs()

    def newest() -> grpc.ServerCertificateConfiguration | None:
        nonlocal in_use
        pair = pairs()
        if pair is in_use:
            return None
        in_use = pair
        return _configuration(pair)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(in_use),
        newest,  # type: ignore[arg-type]  # None is what the documentation asks for where nothing is new
        require_client_authentication=in_use.client_ca is not None,
    )


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pair.key, pair.chain)], root_certificates=pair.client_ca
    )


def _options(settings: GrpcSettings) -> list[tuple[str, int]]:
    """Names are those of grpc's channel arguments; the two metadata limits differ by default, and between
    them requests are refused at random.
    """
    options = {
        "grpc.max_receive_message_length": settings.max_receive_message_bytes,
        "grpc.max_send_message_length": settings.max_send_message_bytes,
        "grpc.max_concurrent_streams": settings.max_concurrent_streams,
        "grpc.max_metadata_size": settings.max_metadata_bytes,
        "grpc.absolute_max_metadata_size": settings.max_metadata_bytes,
        "grpc.keepalive_time_ms": settings.keepalive_time_ms,
        "grpc.keepalive_timeout_ms": settings.keepalive_timeout_ms,
        "grpc.keepalive_permit_without_calls": int(settings.keepalive_permit_without_calls),
        "grpc.http2.min_ping_interval_without_data_ms": settings.http2_min_recv_ping_interval_without_data_ms,
        "grpc.http2.max_ping_strikes": settings.http2_max_ping_strikes,
        "grpc.so_reuseport": int(settings.so_reuseport),
    }
    if settings.max_connection_age_ms:
        options["grpc.max_connection_age_ms"] = settings.max_connection_age_ms
        options["grpc.max_connection_age_grace_ms"] = settings.max_connection_age_grace_ms
    if settings.max_connection_idle_ms:
        options["grpc.max_connection_idle_ms"] = settings.max_connection_idle_ms
    return list(options.items())


def _is_unix(address: str) -> bool:
    return address.startswith(("unix:", "unix-abstract:"))


def _target(address: str, port: int) -> str:
    if _is_unix(address):
        return address
    if ":" in address and not address.startswith("["):
        return f"[{address}]:{port}"
    return f"{address}:{port}"


def _listen_error(address: str, port: int) -> OSError:
    """grpc.aio says only that it failed; a socket of our own says why."""
    target = _target(address, port)
    if _is_unix(address):
        return OSError(f"cannot listen on {target}: is its folder there, and may it be written to?")
    try:
        family, kind, protocol, _, name = socket.getaddrinfo(
            address.strip("[]"), port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(name)
    except OSError as error:
        reason = error.strerror or str(error)
        return OSError(error.errno, f"cannot listen on {target}: {reason.lower()}")
    return OSError(f"cannot listen on {target}")
