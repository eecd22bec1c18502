"""Posts over HTTP from threads: bounded in time and size, without redirects and proxies."""

import asyncio
import errno
import http.client
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from headrace.errors import Unavailable
from headrace.rollout.outside.threads import Threads
from headrace.version import VERSION

# Called in the thread, as it may read a file.
MakeHeaders: TypeAlias = Callable[[], Mapping[str, str]]

USER_AGENT = f"headrace/{VERSION}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered; `is_whole` is False where its body was longer than wanted, and cut."""

    status: int
    body: bytes
    is_whole: bool


class Poster:
    """Posts to one URL, `limit` posts at the same time at most; the others wait, as part of their time.

    Certificates are checked against the system's authorities, where no `tls` says otherwise.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        max_answer_bytes: int,
        *,
        limit: int = 1,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = urlsplit(url)
        self._timeout_s = timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._tls = tls if tls or self._url.scheme == "http" else ssl.create_default_context()
        self._threads = Threads("headrace post", limit)

    async def post(self, body: bytes, make_headers: MakeHeaders) -> Answer:
        """The answer, whatever its status; Unavailable says why there is none.

        What `make_headers` raises comes through.
        """
        exchange = _Exchange(self._url, self._timeout_s, self._max_answer_bytes, self._tls)
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._threads.run(lambda: exchange.run(body, make_headers()))
        except TimeoutError:
            raise Unavailable(f"no answer within {self._timeout_s:g} s") from None
        finally:
            exchange.abort()


class _Exchange:
    """One request and its answer, over a connection of its own, in a thread that `abort` sets free."""

    def __init__(
        self, url: SplitResult, timeout_s: float, max_answer_bytes: int, tls: ssl.SSLContext | None
    ) -> None:
        assert url.hostname is not None
        self._url = url
        self._host = url.hostname
        self._port = url.port or (443 if url.scheme == "https" else 80)
        self._ends_at = time.monotonic() + timeout_s
        self._max_answer_bytes = max_answer_bytes
        self._tls = tls
        # A second handle to the connection, which stays open while another thread may shut it down.
        self._handle: socket.socket | None = None
        self._is_aborted = False
        self._lock = threading.Lock()

    def run(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            with closing(self._connection()) as connection:
                return self._exchange(connection, body, headers)
        except TimeoutError:
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unavailable(_reason(error)) from None
        finally:
            self._let_go()

    def abort(self) -> None:
        """Ends what the thread waits for, except for a name's address."""
        with self._lock:
            self._is_aborted = True
            if self._handle is not None:
                with suppress(OSError):
                    self._handle.shutdown(socket.SHUT_RDWR)

    def _exchange(
        self, connection: http.client.HTTPConnection, body: bytes, headers: Mapping[str, str]
    ) -> Answer:
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        own = {"User-Agent": USER_AGENT, "Connection": "close"}
        connection.request("POST", target, body, {**own, **headers})
        with closing(connection.getresponse()) as response:
            content = response.read(self._max_answer_bytes + 1)
            is_whole = len(content) <= self._max_answer_bytes
            if is_whole and response.length:
                raise http.client.IncompleteRead(content, response.length)
        return Answer(response.status, content[: self._max_answer_bytes], is_whole)

    def _connection(self) -> http.client.HTTPConnection:
        opened = self._connect()
        try:
            if self._tls is None:
                connection = http.client.HTTPConnection(self._host, self._port)
                connection.sock = opened
            else:
                connection = http.client.HTTPSConnection(self._host, self._port, context=self._tls)
                connection.sock = self._tls.wrap_socket(opened, server_hostname=self._host)
        except BaseException:
            opened.close()
            raise
        return connection

    def _connect(self) -> socket.socket:
        """To the first of the host's addresses that takes it; each gets its share of the time."""
        addresses = socket.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        problem: OSError | None = None
        for at, (family, kind, protocol, _, address) in enumerate(addresses):
            opened = socket.socket(family, kind, protocol)
            try:
                self._hold(opened)
                opened.settimeout(self._time_left_s() / (len(addresses) - at))
                opened.connect(address)
                opened.settimeout(self._time_left_s())
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return opened
            except OSError as error:
                problem = error
                self._let_go()
                opened.close()
        raise problem or OSError(errno.EADDRNOTAVAIL, "the host has no address")

    def _hold(self, opened: socket.socket) -> None:
        with self._lock:
            if self._is_aborted:
                raise TimeoutError
            self._handle = opened.dup()

    def _let_go(self) -> None:
        with self._lock:
            if self._handle is not None:
                self._handle.close()
            self._handle = None

    def _time_left_s(self) -> float:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        return left_s


def _reason(error: Exception) -> str:
    """In words, without what was sent or where to."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'the connection ended'}"
    if isinstance(error, http.client.RemoteDisconnected):
        return "the connection was closed without an answer"
    if isinstance(error, http.client.HTTPException):
        return f"the answer is not HTTP ({type(error).__name__})"
    if isinstance(error, ValueError):
        return "a header or the host's name is not valid"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"the connection failed ({type(error).__name__})"
