"""The HTTP gateway: listens, has the connections, and hands what they read to the table of endpoints."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from email.utils import formatdate

from headrace.errors import HeadraceError, PermissionDenied, listen_reason
from headrace.security.authenticator import Credentials
from headrace.security.entrance import Entrance
from headrace.security.hosts import Hosts
from headrace.settings import HttpSettings
from headrace.transport.http.coding import Coding
from headrace.transport.http.connection import Connection, ConnectionLimits
from headrace.transport.http.exchange import Exchange
from headrace.transport.http.heads import Heads
from headrace.transport.http.messages import HttpRequest
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import Routes
from headrace.transport.http.tls_listener import BACKLOG, TlsListener

CHECK_INTERVAL_S = 1.0
# Headers by which more is done for a request than its endpoint does.
_NOT_PLAIN = frozenset({"accept-encoding", "content-encoding", "origin", "sec-fetch-site"})

_READING = frozenset({"GET", "HEAD"})


class HttpTransport:
    """Serves `routes` on one address."""

    def __init__(
        self,
        settings: HttpSettings,
        routes: Routes,
        off_loop: OffLoop,
        entrance: Entrance,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._settings = settings
        self._entrance = entrance
        self.heads = Heads()
        self._routes = routes
        self._hosts = Hosts(settings.allowed_hosts, settings.address)
        self._off_loop = off_loop
        self._coding = Coding(settings.max_body_bytes, off_loop, routes.answer)
        self._limits = ConnectionLimits(
            header_bytes=settings.max_header_bytes,
            body_bytes=settings.max_body_bytes,
            idle_s=settings.keepalive_timeout_s,
            receive_s=settings.receive_timeout_s,
        )
        self._secure = (
            TlsListener(tls, settings.handshake_timeout_s, self._begin_handshake, self._end_handshake)
            if tls
            else None
        )
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        # Those that will be connections when their handshake is done.
        self._handshakes: set[Connection] = set()
        self._is_started = False
        self._is_draining = False
        self._drained: asyncio.Event | None = None
        self._check: asyncio.TimerHandle | None = None
        self.date = _date()

    async def start(self) -> int:
        """Listens; returns the port. OSError names the address where that fails."""
        settings = self._settings
        try:
            port = await self._listen(settings.address.strip("[]"), settings.port)
        except OSError as error:
            where = f"{settings.address}:{settings.port} (http.port)"
            raise OSError(error.errno, f"cannot listen on {where}: {listen_reason(error)}") from None
        self._is_started = True
        self._check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check_connections)
        return port

    async def stop(self, grace_s: float) -> None:
        """Takes no more requests, lets those under way finish for `grace_s` seconds, then ends them."""
        if not self._is_started or self._is_draining:
            return
        self._is_draining = True
        self._drained = asyncio.Event()
        if self._server is not None:
            self._server.close()
        if self._secure is not None:
            await self._secure.stop()
        for connection in tuple(self._connections):
            connection.drain()
        if self._connections:
            try:
                async with asyncio.timeout(grace_s):
                    await self._drained.wait()
            except TimeoutError:
                for connection in tuple(self._connections):
                    connection.abort()
        if self._check is not None:
            self._check.cancel()
        await self._routes.wait(0)
        self._off_loop.stop()

    def add(self, connection: Connection) -> None:
        self._handshakes.discard(connection)
        self._connections.add(connection)
        if self._is_draining:
            connection.drain()
        elif len(self._connections) > self._settings.max_connections:
            connection.turn_away(self._settings.max_connections)

    def discard(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if self._drained is not None and not self._connections:
            self._drained.set()

    def dispatch(self, request: HttpRequest, exchange: Exchange) -> None:
        """Answers through `exchange`, now or later; never raises."""
        head = request.head
        if head is not None and head.is_plain:
            self._routes.dispatch(request, exchange)
            return
        try:
            self._let_in(request)
        except HeadraceError as error:
            exchange.fail(error)
            return
        if head is not None:
            head.is_plain = not self._entrance.wants_all and _NOT_PLAIN.isdisjoint(head.headers)
        route = self._routes.permitted(request, exchange)
        if route is not None:
            self._coding.decode(route, request, exchange)

    async def _listen(self, address: str, port: int) -> int:
        if self._secure is not None:
            return await self._secure.start(address, port)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self, self._limits), address, port, backlog=BACKLOG
        )
        return int(self._server.sockets[0].getsockname()[1])

    def _begin_handshake(self) -> Connection | None:
        """A connection that is to be; None where there is no room for one."""
        if len(self._connections) + len(self._handshakes) >= self._settings.max_connections:
            return None
        connection = Connection(self, self._limits)
        self._handshakes.add(connection)
        return connection

    def _end_handshake(self, connection: Connection) -> None:
        self._handshakes.discard(connection)

    def _let_in(self, request: HttpRequest) -> None:
        """Learns who calls; raises where the request is another site's, or its caller is not known."""
        headers = request.headers
        try:
            self._check_page(request.method, headers)
        except PermissionDenied as error:
            self._entrance.turned_away(request.caller, error)
            raise
        if self._entrance.wants_all:
            credentials = Credentials.of(headers, request.certificate, request.caller.address)
            request.caller = self._entrance.caller(credentials)

    def _check_page(self, method: str, headers: Mapping[str, str]) -> None:
        """PermissionDenied where a browser calls for another site's page; what it reads, it does not get."""
        host = headers.get("host")
        self._hosts.check(host)
        if method in _READING:
            return
        if headers.get("sec-fetch-site") == "cross-site":
            raise PermissionDenied("pages of other sites may not call this server")
        origin = headers.get("origin")
        if origin is not None:
            self._hosts.check_origin(origin, host)

    def _check_connections(self) -> None:
        self.date = _date()
        now_s = time.monotonic()
        for connection in tuple(self._connections):
            connection.check(now_s)
        self._check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check_connections)


def _date() -> bytes:
    """The time of day as a header line; to the second, which is how often it is made anew."""
    return f"Date: {formatdate(usegmt=True)}\r\n".encode()
