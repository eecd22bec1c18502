"""Serves the metrics over HTTP, from the event loop.

On the loop and not in a thread of its own: the figures are read where they are raised, so that none is torn,
and a thread that writes thousands of lines would hold the interpreter's lock for 5 ms at a time against the
requests. Instead the loop gets its turn after each family of metrics.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from headrace.errors import ConfigError, HeadraceError, Unauthenticated, listen_reason
from headrace.metrics.collector import registry_of
from headrace.metrics.exposition import CONTENT_TYPE, render
from headrace.metrics.machine import Machine
from headrace.metrics.source import MetricsSource
from headrace.settings import MetricsSettings

MAX_REQUEST_BYTES = 16384
MAX_CONNECTIONS = 32
SCRAPE_TIMEOUT_S = 10.0
TLS_SHUTDOWN_S = 1.0

# Told a scraper's headers, its certificate in DER, and its address as a socket has it.
MayScrape: TypeAlias = Callable[[Mapping[str, str], bytes | None, tuple[Any, ...] | None], None]

_HINT = (
    b"<!doctype html><title>headrace</title><p>The metrics of this server are at "
    b'<a href="/metrics">/metrics</a>.\n'
)


class _Answer(NamedTuple):
    status: str
    content_type: str
    body: bytes
    headers: str = ""

    def to_bytes(self) -> bytes:
        head = (
            f"HTTP/1.1 {self.status}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n{self.headers}Connection: close\r\n\r\n"
        )
        return head.encode() + self.body


class MetricsServer:
    """Answers `GET /metrics`; one request a connection, a slow or silent scraper only waits for itself."""

    def __init__(
        self,
        settings: MetricsSettings,
        source: MetricsSource,
        tls: ssl.SSLContext | None = None,
        scrape_timeout_s: float = SCRAPE_TIMEOUT_S,
        may_scrape: MayScrape | None = None,
    ) -> None:
        """`may_scrape` raises a HeadraceError for those who may not; without it everybody may."""
        self._may_scrape = may_scrape
        self._settings = settings
        self._tls = tls
        self._scrape_timeout_s = scrape_timeout_s
        self._registry = registry_of(source, Machine())
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listens, and returns the port; ConfigError where that cannot be done."""
        address, port = self._settings.address, self._settings.port
        try:
            self._server = await asyncio.start_server(
                self._serve,
                address,
                port,
                limit=MAX_REQUEST_BYTES,
                ssl=self._tls,
                ssl_handshake_timeout=self._scrape_timeout_s if self._tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_S if self._tls else None,
            )
        except OSError as error:
            raise ConfigError(
                f"metrics.port: cannot listen on {address}:{port}: {listen_reason(error)}"
            ) from error
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stops listening and ends the scrapes under way."""
        if self._server is None:
            return
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # A cancelled connection ends here like any other: only `stop` cancels it.
            with suppress(TimeoutError, asyncio.CancelledError, OSError, EOFError, asyncio.LimitOverrunError):
                if len(self._connections) <= MAX_CONNECTIONS:
                    async with asyncio.timeout(self._scrape_timeout_s):
                        await self._answer(reader, writer)
        finally:
            if writer.transport.get_write_buffer_size():
                writer.transport.abort()
            writer.close()
            self._connections.discard(task)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        refusal = self._refusal(head, writer)
        answer = refusal or await self._answer_to(method, path)
        writer.write(answer.to_bytes())
        writer.transport.set_write_buffer_limits(high=0)
        await writer.drain()

    def _refusal(self, head: bytes, writer: asyncio.StreamWriter) -> _Answer | None:
        """What a scraper is told who may not scrape."""
        if self._may_scrape is None:
            return None
        try:
            self._may_scrape(_headers(head), _certificate(writer), writer.get_extra_info("peername"))
        except Unauthenticated as error:
            return _Answer(
                "401 Unauthorized", "text/plain", f"{error}\n".encode(), "WWW-Authenticate: Bearer\r\n"
            )
        except HeadraceError as error:
            return _Answer("403 Forbidden", "text/plain", f"{error}\n".encode())
        return None

    async def _answer_to(self, method: bytes, path: bytes) -> _Answer:
        if method != b"GET":
            return _Answer(
                "405 Method Not Allowed", "text/plain", b"only GET is answered\n", "Allow: GET\r\n"
            )
        if path == b"/metrics":
            return _Answer("200 OK", CONTENT_TYPE, await self._page())
        if path == b"/":
            return _Answer("200 OK", "text/html; charset=utf-8", _HINT)
        return _Answer("404 Not Found", "text/plain", b"not found: the metrics are at /metrics\n")

    async def _page(self) -> bytes:
        parts = []
        for metric in self._registry.collect():
            parts.append(render(metric))
            await asyncio.sleep(0)
        return "".join(parts).encode()


def _certificate(writer: asyncio.StreamWriter) -> bytes | None:
    """The scraper's, in DER, where it has shown one."""
    secured: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    return secured.getpeercert(binary_form=True) if secured is not None else None


def _headers(head: bytes) -> Mapping[str, str]:
    """By name in lower case; of one that comes again, the values in a row (RFC 9110 §5.3)."""
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, separator, value = line.partition(":")
        if separator:
            key = name.strip().lower()
            headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return headers
