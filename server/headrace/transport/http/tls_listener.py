"""A port that speaks TLS: whoever connects counts from then on, and has little time to shake hands.

The loop's own listener tells of a connection when its handshake is done, and of one that never is, nothing.
"""

import asyncio
import errno
import logging
import os
import socket
import ssl
from collections.abc import Callable

from headrace.transport.http.connection import LINGER_S, Connection

_log = logging.getLogger(__name__)

BACKLOG = 1024
# Connections that are taken before the loop gets its turn: each handshake begins with some 0.1 ms of work.
TAKEN_AT_ONCE = 32
# How long nobody is taken after the process has run out of files or memory.
RETRY_S = 1.0
_USED_UP = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class TlsListener:
    """Takes callers for as long as `begin` makes connections for them, and closes on others at once.

    A connection that `begin` has made is connected when its handshake is done; `end` is told of it when
    that is over, however it went.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        handshake_timeout_s: float,
        begin: Callable[[], Connection | None],
        end: Callable[[Connection], None],
    ) -> None:
        self._context = context
        self._handshake_timeout_s = handshake_timeout_s
        self._begin = begin
        self._end = end
        self._sockets: list[socket.socket] = []
        self._retries: set[asyncio.TimerHandle] = set()
        self._handshakes: set[asyncio.Task[None]] = set()

    async def start(self, address: str, port: int) -> int:
        """Listens; returns the port. OSError where that cannot be done."""
        loop = asyncio.get_running_loop()
        # The loop knows how to bind; what it has bound never serves.
        bound = await loop.create_server(asyncio.Protocol, address, port, start_serving=False)
        try:
            for each in bound.sockets:
                own = socket.socket(fileno=os.dup(each.fileno()))
                self._sockets.append(own)
                own.setblocking(False)
                own.listen(BACKLOG)
        except OSError:
            self._close()
            raise
        finally:
            bound.close()
        for each in self._sockets:
            loop.add_reader(each, self._take, each)
        return int(self._sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Takes no more callers, and ends the handshakes under way."""
        self._close()
        # A task that is cancelled before it has begun would leave its socket open.
        await asyncio.sleep(0)
        for handshake in self._handshakes:
            handshake.cancel()
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def _close(self) -> None:
        loop = asyncio.get_running_loop()
        for retry in self._retries:
            retry.cancel()
        for each in self._sockets:
            loop.remove_reader(each)
            each.close()
        self._sockets.clear()

    def _take(self, listening: socket.socket) -> None:
        for _ in range(TAKEN_AT_ONCE):
            try:
                taken, _ = listening.accept()
            except OSError as error:
                if error.errno in _USED_UP:
                    self._pause(listening, error)
                # Nobody is there, or whoever was has left (accept(2)).
                return
            connection = self._begin()
            if connection is None:
                taken.close()
                continue
            taken.setblocking(False)
            handshake = asyncio.get_running_loop().create_task(self._shake_hands(taken, connection))
            self._handshakes.add(handshake)
            handshake.add_done_callback(self._handshakes.discard)

    async def _shake_hands(self, taken: socket.socket, connection: Connection) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: connection,
                taken,
                ssl=self._context,
                ssl_handshake_timeout=self._handshake_timeout_s,
                ssl_shutdown_timeout=LINGER_S,
            )
        except OSError as error:
            # The caller speaks no TLS, shows no certificate, left or took too long.
            _log.debug("a TLS handshake failed: %s", error)
        except Exception:
            _log.exception("a TLS handshake failed: this is a bug")
        finally:
            self._end(connection)

    def _pause(self, listening: socket.socket, error: OSError) -> None:
        """A socket that somebody waits at stays ready to be read: without a pause the loop would spin."""
        _log.warning("callers have to wait for %g s: %s", RETRY_S, error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(listening)

        def go_on() -> None:
            self._retries.discard(retry)
            loop.add_reader(listening, self._take, listening)

        retry = loop.call_later(RETRY_S, go_on)
        self._retries.add(retry)
