"""One HTTP/1.1 connection: requests in, responses out in the same order; the parser is httptools' (llhttp).

An ASGI server spends a task and some forty Python calls on a request, more than all that a small inference
takes; here it is one object and a callback (docs/decisions/0009).
"""

import asyncio
import logging
import time
from collections import deque
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from headrace.core.tensor import Buffer
from headrace.errors import HeadraceError
from headrace.transport.http.incoming import Incoming, head_too_large
from headrace.transport.http.messages import HttpError, HttpRequest, HttpResponse, error_response

_log = logging.getLogger(__name__)

# Requests that one connection may have sent ahead of their responses before no more are read.
MAX_UNANSWERED = 64
# How long what the caller still sends is read and thrown away after a refusal, so that it gets to read why.
LINGER_S = 1.0
# A body that comes more slowly than this, on average, is no longer waited for.
LEAST_BYTES_PER_S = 4096
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Sizes in bytes, times in seconds. `receive_s` is for one request's head, and again for its body."""

    header_bytes: int
    body_bytes: int
    idle_s: float
    receive_s: float


class Owner(Protocol):
    """Who has the connections."""

    @property
    def date(self) -> bytes:
        """The time of day as a header line."""
        ...

    def add(self, connection: "Connection") -> None: ...

    def discard(self, connection: "Connection") -> None: ...

    def dispatch(self, request: HttpRequest, exchange: "Exchange") -> None:
        """Answers through `exchange`, now or later; never raises."""
        ...


class Exchange:
    """One request's place among the responses of its connection; it is its own `messages.Answer`."""

    __slots__ = ("_connection", "encoding", "head_only", "is_http_10", "keeps_alive", "output")

    def __init__(
        self,
        connection: "Connection",
        *,
        keeps_alive: bool = False,
        head_only: bool = False,
        is_http_10: bool = False,
    ) -> None:
        self._connection = connection
        self.keeps_alive = keeps_alive
        self.head_only = head_only
        self.is_http_10 = is_http_10
        self.output: list[Buffer] | None = None

    @property
    def is_wanted(self) -> bool:
        """False once the caller has left."""
        return self.output is None and not self._connection.is_lost

    def complete(self, response: HttpResponse) -> None:
        if self.is_wanted:
            self._connection.answer(self, response)

    def fail(self, error: HeadraceError) -> None:
        self.complete(error_response(error))


class Connection(asyncio.Protocol):
    """The bytes of one caller."""

    def __init__(self, owner: Owner, limits: ConnectionLimits) -> None:
        self._owner = owner
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchanges: deque[Exchange] = deque()
        self._incoming: Incoming | None = None
        self._is_deaf = False
        self._is_draining = False
        self._is_reading_paused = False
        self._waits_since_s = time.monotonic()
        self._write_stalled_since_s: float | None = None

    @property
    def is_lost(self) -> bool:
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._owner.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._exchanges.clear()
        self._owner.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # What follows is in a protocol that is not spoken here: the request is answered as it is.
            self._is_deaf = True
        except httptools.HttpParserCallbackError:
            _log.exception("reading a request failed: this is a bug")
            self._refuse(HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the server's log"))
        except httptools.HttpParserError as error:
            message = f"the request is not valid HTTP/1.1: {error or type(error).__name__}"
            self._refuse(HttpError(HTTPStatus.BAD_REQUEST, message))
        incoming = self._incoming
        if incoming is not None and not incoming.has_head:
            incoming.unread_bytes += len(data)
            if incoming.unread_bytes > self._limits.header_bytes + len(data):
                self._refuse(head_too_large(self._limits.header_bytes))

    def eof_received(self) -> bool:
        """Half-closed: what is under way is still answered."""
        self._is_deaf = True
        if self._exchanges:
            self._exchanges[-1].keeps_alive = False
            return True
        return False

    def pause_writing(self) -> None:
        self._write_stalled_since_s = time.monotonic()
        self._pause_reading()

    def resume_writing(self) -> None:
        self._write_stalled_since_s = None
        self._resume_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._incoming = Incoming()
        self._waits_since_s = time.monotonic()

    def on_url(self, url: bytes) -> None:
        if self._incoming is not None:
            self._incoming.add_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        incoming = self._incoming
        if self._is_deaf or incoming is None or incoming.has_head:  # nothing here needs a trailer
            return
        try:
            incoming.add_header(name, value, self._limits.header_bytes)
        except HttpError as error:
            self._refuse(error)

    def on_headers_complete(self) -> None:
        incoming = self._incoming
        if self._is_deaf or incoming is None:
            return
        self._waits_since_s = time.monotonic()
        try:
            incoming.end_head(self._parser.get_http_version(), self._limits.body_bytes)
        except HttpError as error:
            self._refuse(error)
            return
        if "expect" in incoming.headers and not self._exchanges:
            self._write([_CONTINUE])

    def on_body(self, data: bytes) -> None:
        if self._is_deaf or self._incoming is None:
            return
        try:
            self._incoming.add_body(data, self._limits.body_bytes)
        except HttpError as error:
            self._refuse(error)

    def on_message_complete(self) -> None:
        incoming, self._incoming = self._incoming, None
        if self._is_deaf or incoming is None:
            return
        parser = self._parser
        method = parser.get_method().decode("latin-1")
        # What would follow an upgrade is in a protocol that is not spoken here.
        keeps_alive = parser.should_keep_alive() and not parser.should_upgrade() and not self._is_draining
        exchange = Exchange(
            self,
            keeps_alive=keeps_alive,
            head_only=method == "HEAD",
            is_http_10=parser.get_http_version() == "1.0",
        )
        self._exchanges.append(exchange)
        if len(self._exchanges) >= MAX_UNANSWERED:
            self._pause_reading()
        if not keeps_alive:
            self._is_deaf = True
        self._owner.dispatch(incoming.request(method, time.monotonic_ns()), exchange)

    # What the owner and the exchanges call.

    def answer(self, exchange: Exchange, response: HttpResponse) -> None:
        """Writes `response` as soon as those before it are written."""
        if self._is_draining and exchange is self._exchanges[-1]:
            exchange.keeps_alive = False
        exchange.output = self._encode(exchange, response)
        exchanges = self._exchanges
        while exchanges and exchanges[0].output is not None:
            done = exchanges.popleft()
            self._write(done.output)
            if not done.keeps_alive:
                self._close_gently()
                return
        if len(exchanges) < MAX_UNANSWERED:
            self._resume_reading()
        self._waits_since_s = time.monotonic()

    def turn_away(self, max_connections: int) -> None:
        """Answers that there are too many already, whatever is asked."""
        message = f"{max_connections} connections are open already (http.max_connections)"
        self._refuse(HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message))

    def drain(self) -> None:
        """Takes no more requests; closes once those that came are answered."""
        self._is_draining = True
        if self._exchanges:
            self._exchanges[-1].keeps_alive = False
            self._is_deaf = True
        elif self._incoming is None:
            self._close()

    def abort(self) -> None:
        """Closes now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def check(self, now_s: float) -> None:
        """Called now and then: ends a connection that has kept the server waiting for too long."""
        limits, waited_s = self._limits, now_s - self._waits_since_s
        stalled_since_s = self._write_stalled_since_s
        if stalled_since_s is not None:
            if now_s - stalled_since_s > limits.receive_s:
                self.abort()
        elif self._exchanges or self._is_deaf:
            return
        elif self._incoming is None:
            if waited_s > limits.idle_s:
                self._close()
        elif waited_s > limits.receive_s + len(self._incoming.body) / LEAST_BYTES_PER_S:
            message = f"the request did not arrive within {limits.receive_s:g} s"
            self._refuse(HttpError(HTTPStatus.REQUEST_TIMEOUT, message))

    def _refuse(self, error: HttpError) -> None:
        """Answers what cannot be read, after all that came before it; nothing is read after it."""
        if self._is_deaf:
            return
        self._is_deaf = True
        exchange = Exchange(self)
        self._exchanges.append(exchange)
        exchange.fail(error)

    def _encode(self, exchange: Exchange, response: HttpResponse) -> list[Buffer]:
        byte_size = sum([part.nbytes if type(part) is memoryview else len(part) for part in response.body])
        connection = ""
        if not exchange.keeps_alive:
            connection = "Connection: close\r\n"
        elif exchange.is_http_10:
            connection = "Connection: keep-alive\r\n"
        headers = "".join([f"{name}: {value}\r\n" for name, value in response.headers])
        kind = f"Content-Type: {response.content_type}\r\n" if byte_size else ""
        head = f"{kind}Content-Length: {byte_size}\r\n{headers}{connection}\r\n"
        parts: list[Buffer] = [_STATUS_LINES[response.status], self._owner.date, head.encode("latin-1")]
        if not exchange.head_only:
            parts.extend(response.body)
        return parts

    def _write(self, parts: list[Buffer] | None) -> None:
        if self._transport is not None and parts is not None:
            self._transport.write(b"".join(parts))

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if (
            self._is_reading_paused
            and self._transport is not None
            and self._write_stalled_since_s is None
            and len(self._exchanges) < MAX_UNANSWERED
        ):
            self._is_reading_paused = False
            self._transport.resume_reading()

    def _close_gently(self) -> None:
        """Closes once the caller has had time to read: closed at once, unread bytes would reset it."""
        self._is_deaf = True
        transport = self._transport
        if transport is None:
            return
        self._resume_reading()
        if transport.can_write_eof():
            transport.write_eof()
            asyncio.get_running_loop().call_later(LINGER_S, self._close)
        else:
            transport.close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
