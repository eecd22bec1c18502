"""One HTTP/1.1 connection: requests in, responses out in the same order; the parser is httptools' (llhttp).

An ASGI server spends a task and some forty Python calls on a request, as much as all the rest of a small
inference; here it is one object and a callback (docs/decisions/0009).
"""

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol, cast

import httptools

from headrace.core.caller import STRANGER, Caller, address_of
from headrace.core.tensor import Buffer
from headrace.security.client_certificate import ClientCertificate, read_client_certificate
from headrace.transport.http.exchange import Exchange
from headrace.transport.http.heads import Head, Heads
from headrace.transport.http.incoming import Incoming
from headrace.transport.http.messages import HttpError, HttpRequest, HttpResponse
from headrace.transport.http.progress import Progress

_log = logging.getLogger(__name__)

# Requests that one connection may have sent ahead of their responses before no more are read.
MAX_UNANSWERED = 64
# Wishes for another protocol on one connection: each has all that follows it copied.
MAX_UPGRADES = 16
# How long what the caller still sends is read and thrown away after a refusal, so that it gets to read why.
LINGER_S = 1.0
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


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

    @property
    def heads(self) -> Heads:
        """Those that came before, on any connection."""
        ...

    def add(self, connection: "Connection") -> None: ...

    def discard(self, connection: "Connection") -> None: ...

    def dispatch(self, request: HttpRequest, exchange: Exchange) -> None:
        """Answers through `exchange`, now or later; never raises."""
        ...


class Connection(asyncio.Protocol):
    """The bytes of one caller. Once it `_is_deaf`, nothing more that comes is listened to."""

    def __init__(self, owner: Owner, limits: ConnectionLimits) -> None:
        self._owner = owner
        self._limits = limits
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchanges: deque[Exchange] = deque()
        self._incoming: Incoming | None = None
        self._piece = b""
        self._upgrading = b""
        self._upgrade_count = 0
        self._is_deaf = False
        self._is_draining = False
        self._is_reading_paused = False
        self._is_writing_paused = False
        self._idle_since_s = time.monotonic()
        self._receiving = Progress(limits.receive_s)
        self._sending = Progress(limits.receive_s)
        self._written_bytes = 0
        self._certificate: ClientCertificate | None = None
        self._stranger = STRANGER

    @property
    def is_lost(self) -> bool:
        return self._transport is None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._certificate = _certificate(transport)
        self._stranger = Caller(STRANGER.name, address=address_of(transport.get_extra_info("peername")))
        self._owner.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._exchanges.clear()
        self._owner.discard(self)

    def data_received(self, data: bytes) -> None:
        if self._incoming is None and not self._is_deaf:
            head = self._owner.heads.find(data)
            if head is not None:
                self._take_known(head, data)
                return
            self._piece = data
        while data and not self._is_deaf:
            data = self._feed(data)
        self._piece = b""

    def _take_known(self, head: Head, data: bytes) -> None:
        """A request in one piece whose head came before: the parser has nothing to add."""
        body = data[head.head_bytes :]
        now_ns = time.monotonic_ns()
        request = HttpRequest(head.method, head.path, head.query, head.headers, body, now_ns)
        request.head = head
        self._begin_exchange(request, keeps_alive=True)

    def _feed(self, data: bytes) -> bytes:
        """Has `data` parsed; what is left of it where the parser takes a wish for the end of HTTP."""
        before, rest = self._incoming, b""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = self._without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserCallbackError:
            _log.exception("reading a request failed: this is a bug")
            self._refuse(HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the server's log"))
        except httptools.HttpParserError as error:
            message = f"the request is not valid HTTP/1.1: {error or type(error).__name__}"
            self._refuse(HttpError(HTTPStatus.BAD_REQUEST, message))
        if before is not None and before is self._incoming:
            self._try(before.add_fed, len(data))
        return rest

    def eof_received(self) -> bool:
        """Taken for a caller who has left, its time run out: what it asked for is not worth executing."""
        return False

    def pause_writing(self) -> None:
        self._is_writing_paused = True
        self._sending.begin(time.monotonic(), self._sent_bytes())
        self._pause_reading()

    def resume_writing(self) -> None:
        self._is_writing_paused = False
        self._resume_reading()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._incoming = Incoming(self._limits.header_bytes, self._limits.body_bytes)
        self._begin_receiving()

    def on_url(self, url: bytes) -> None:
        if self._incoming is not None:
            self._try(self._incoming.add_url, url)

    def on_header(self, name: bytes, value: bytes) -> None:
        incoming = self._incoming
        if incoming is None or self._is_deaf:
            return
        try:  # as `_try` does, which costs more than the header (benchmarks/gateway)
            incoming.add_header(name, value)
        except HttpError as error:
            self._refuse(error)

    def on_headers_complete(self) -> None:
        incoming = self._incoming
        if incoming is None:
            return
        self._begin_receiving()
        self._try(incoming.end_head, self._parser.get_http_version())
        self._send_continue()

    def on_body(self, data: bytes) -> None:
        if self._incoming is not None:
            self._try(self._incoming.add_body, data)

    def on_message_complete(self) -> None:
        incoming = self._incoming
        if self._is_deaf or incoming is None:
            return
        parser = self._parser
        method = parser.get_method().decode("latin-1")
        if parser.should_upgrade() and method != "CONNECT":
            self._upgrading = incoming.head_without_upgrade(method)
            return
        self._incoming = None
        request = incoming.request(method, time.monotonic_ns())
        is_http_10 = parser.get_http_version() == "1.0"
        keeps_alive = (
            parser.should_keep_alive()
            and not self._is_draining
            and method != "CONNECT"
            and not (is_http_10 and "transfer-encoding" in incoming.headers)  # RFC 9112 §6.1
        )
        if keeps_alive and not is_http_10 and self._piece and incoming.is_plain:
            self._owner.heads.remember(
                self._piece, method, request.path, request.query, request.headers, len(request.body)
            )
        self._begin_exchange(request, keeps_alive=keeps_alive, is_http_10=is_http_10)

    def _begin_exchange(self, request: HttpRequest, *, keeps_alive: bool, is_http_10: bool = False) -> None:
        exchange = Exchange(self, keeps_alive, request.method == "HEAD", is_http_10)
        self._exchanges.append(exchange)
        if len(self._exchanges) >= MAX_UNANSWERED:
            self._pause_reading()
        if not keeps_alive:
            self._is_deaf = True
        request.certificate = self._certificate
        request.caller = self._stranger
        self._owner.dispatch(request, exchange)

    # What the owner and the exchanges call.

    def answer(self, exchange: Exchange, response: HttpResponse) -> None:
        """Writes `response` as soon as those before it are written."""
        exchange.response = response
        exchanges = self._exchanges
        while exchanges and (next_response := exchanges[0].response) is not None:
            if self._is_draining and len(exchanges) == 1:
                exchanges[0].keeps_alive = False
            done = exchanges.popleft()
            self._write(done.encode(next_response, self._owner.date))
            if not done.keeps_alive:
                self._close_gently()
                return
        if not exchanges:
            self._idle_since_s = time.monotonic()
            if self._incoming is not None:
                self._begin_receiving()
                self._send_continue()
        if self._is_reading_paused:
            self._resume_reading()

    def turn_away(self, max_connections: int) -> None:
        """Answers that there are too many already, whatever is asked."""
        message = f"{max_connections} connections are open already (http.max_connections)"
        self._refuse(HttpError(HTTPStatus.SERVICE_UNAVAILABLE, message))

    def drain(self) -> None:
        """Takes no more requests; closes once those that came are answered."""
        self._is_draining = True
        if self._exchanges:
            self._is_deaf = True
        elif self._incoming is None:
            self._close()

    def abort(self) -> None:
        """Closes now, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def check(self, now_s: float) -> None:
        """Called now and then: ends a connection that has kept the server waiting for too long."""
        if self._transport is None:
            return
        if self._is_writing_paused or self._transport.get_write_buffer_size():
            if self._sending.is_too_slow(now_s, self._sent_bytes()):
                self.abort()
            self._idle_since_s = now_s
            return
        self._sending.end()
        if self._exchanges or self._is_deaf:
            return
        if self._incoming is None:
            if now_s - self._idle_since_s > self._limits.idle_s:
                self._close()
        elif self._receiving.is_too_slow(now_s, len(self._incoming.body)):
            message = f"the request did not arrive within {self._limits.receive_s:g} s"
            self._refuse(HttpError(HTTPStatus.REQUEST_TIMEOUT, message))

    def _sent_bytes(self) -> int:
        unsent_bytes = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return self._written_bytes - unsent_bytes

    def _try(self, step: Callable[..., None], *arguments: object) -> None:
        """Goes a step further with the request that arrives, or refuses it."""
        if self._is_deaf:
            return
        try:
            step(*arguments)
        except HttpError as error:
            self._refuse(error)

    def _refuse(self, error: HttpError) -> None:
        """Answers what cannot be read, after all that came before it; nothing is read after it."""
        if self._is_deaf:
            return
        self._is_deaf = True
        exchange = Exchange(self)
        self._exchanges.append(exchange)
        exchange.fail(error)

    def _without_upgrade(self, rest: bytes) -> bytes:
        """A request that wishes for another protocol as one that does not, with what follows its head."""
        head, self._upgrading = self._upgrading, b""
        self._piece = b""
        self._upgrade_count += 1
        if self._upgrade_count > MAX_UPGRADES:
            self._refuse(HttpError(HTTPStatus.BAD_REQUEST, "no other protocol is spoken here: stop asking"))
        if not head or self._is_deaf:
            return b""
        self._parser = httptools.HttpRequestParser(self)
        return head + rest

    def _send_continue(self) -> None:
        """Tells a caller who waits for it to send the body, once that cannot be taken for another answer."""
        incoming = self._incoming
        if incoming is not None and incoming.expects_continue and not self._exchanges and not self._is_deaf:
            incoming.expects_continue = False
            if not incoming.body:
                self._write([_CONTINUE])

    def _write(self, parts: list[Buffer]) -> None:
        if self._transport is not None:
            data = b"".join(parts)
            self._written_bytes += len(data)
            self._transport.write(data)

    def _pause_reading(self) -> None:
        if self._transport is not None and not self._is_reading_paused:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        may_read = not self._is_writing_paused and len(self._exchanges) < MAX_UNANSWERED
        if self._transport is not None and self._is_reading_paused and may_read:
            self._is_reading_paused = False
            self._begin_receiving()
            self._transport.resume_reading()

    def _begin_receiving(self) -> None:
        """From now on, what is missing of a request is waited for."""
        received_bytes = len(self._incoming.body) if self._incoming is not None else 0
        self._receiving.begin(time.monotonic(), received_bytes)

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


def _certificate(transport: asyncio.BaseTransport) -> ClientCertificate | None:
    """The caller's, where it has shown one."""
    secured: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    shown = secured.getpeercert(binary_form=True) if secured is not None else None
    return read_client_certificate(shown) if shown else None
