"""The HTTP gateway: listens, has the connections, and hands what they read to the table of endpoints."""

import asyncio
import ssl
import time
from email.utils import formatdate

from headrace.errors import HeadraceError, PermissionDenied, listen_reason
from headrace.security.authenticator import Authenticator, Credentials, NoAuthenticator
from headrace.settings import HttpSettings
from headrace.transport.http.coding import Coding
from headrace.transport.http.connection import LINGER_S, Connection, ConnectionLimits
from headrace.transport.http.exchange import Exchange
from headrace.transport.http.messages import HttpRequest
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import Routes

CHECK_INTERVAL_S = 1.0
BACKLOG = 1024
HANDSHAKE_TIMEOUT_S = 10.0


class HttpTransport:
    """Serves `routes` on one address."""

    def __init__(
        self,
        settings: HttpSettings,
        routes: Routes,
        off_loop: OffLoop,
        tls: ssl.SSLContext | None = None,
        authenticator: Authenticator | None = None,
    ) -> None:
        self._settings = settings
        self._tls = tls
        self._authenticator = authenticator or NoAuthenticator()
        self._routes = routes
        self._off_loop = off_loop
        self._coding = Coding(settings.max_body_bytes, off_loop)
        self._limits = ConnectionLimits(
            header_bytes=settings.max_header_bytes,
            body_bytes=settings.max_body_bytes,
            idle_s=settings.keepalive_timeout_s,
            receive_s=settings.receive_timeout_s,
        )
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()
        self._is_draining = False
        self._drained: asyncio.Event | None = None
        self._check: asyncio.TimerHandle | None = None
        self._date = (0, b"")

    async def start(self) -> int:
        """Listens; returns the port. OSError names the address where that fails."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                lambda: Connection(self, self._limits),
                settings.address.strip("[]"),
                settings.port,
                backlog=BACKLOG,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if self._tls else None,
                ssl_shutdown_timeout=LINGER_S if self._tls else None,
            )
        except OSError as error:
            where = f"{settings.address}:{settings.port} (http.port)"
            raise OSError(error.errno, f"cannot listen on {where}: {listen_reason(error)}") from None
        self._check = loop.call_later(CHECK_INTERVAL_S, self._check_connections)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self, grace_s: float) -> None:
        """Takes no more requests, lets those under way finish for `grace_s` seconds, then ends them."""
        server, self._server = self._server, None
        if server is None:
            return
        self._is_draining = True
        self._drained = asyncio.Event()
        server.close()
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

    @property
    def date(self) -> bytes:
        """The time of day as a header line, made anew each second."""
        now_s = int(time.time())
        if self._date[0] != now_s:
            self._date = (now_s, f"Date: {formatdate(now_s, usegmt=True)}\r\n".encode())
        return self._date[1]

    def add(self, connection: Connection) -> None:
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
        if request.headers.get("sec-fetch-site") == "cross-site" and request.method != "GET":
            exchange.fail(PermissionDenied("pages of other sites may not call this server"))
            return
        if self._authenticator.asks:
            credentials = Credentials.of(request.headers, request.certificate_names)
            try:
                request.caller = self._authenticator.caller(credentials)
            except HeadraceError as error:
                exchange.fail(error)
                return
        self._coding.decoded(request, exchange, self._routes.dispatch)

    def _check_connections(self) -> None:
        now_s = time.monotonic()
        for connection in tuple(self._connections):
            connection.check(now_s)
        self._check = asyncio.get_running_loop().call_later(CHECK_INTERVAL_S, self._check_connections)
