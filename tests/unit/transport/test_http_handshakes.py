"""TLS handshakes: they take up room among the connections, and not for long."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop

from headrace.security.certificates import Certificates
from headrace.settings import HttpSettings, TlsSettings
from headrace.transport.http.http_server import HttpTransport
from headrace.transport.http.messages import HttpRequest, HttpResponse
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import ControlRoute, Routes
from headrace.transport.http.tls_listener import TAKEN_AT_ONCE
from support.certificates import Authority
from support.entrances import open_entrance
from support.loops import run

SOON_S = 10.0
# Long enough for a handshake on a busy machine.
PATIENT_S = 60.0
QUICK_S = 0.3
LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Tls:
    """A certificate, and callers who trust it."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        files = authority.sign("server")
        self.server = Certificates(TlsSettings(files.certificate, files.key)).listener_context()
        self.caller = ssl.create_default_context(cafile=authority.file)


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    return Tls(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=LOOPS)
def on_loop(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    """Runs a test on a loop of either kind; what leaks out of it fails the test."""
    return lambda main: run(main, LOOPS[request.param])


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse([bytes(request.body)])


@asynccontextmanager
async def serving(tls: Tls, *, max_connections: int, timeout_s: float = PATIENT_S) -> AsyncIterator[int]:
    """The port of a gateway."""
    settings = HttpSettings(port=0, max_connections=max_connections, handshake_timeout_s=timeout_s)
    routes = Routes([ControlRoute("POST", "/echo", echo)])
    transport = HttpTransport(settings, routes, OffLoop(), open_entrance(), tls.server)
    port = await transport.start()
    try:
        yield port
    finally:
        await transport.stop(5.0)
        assert not transport._handshakes


async def silent(port: int) -> Streams:
    return await asyncio.open_connection("127.0.0.1", port)


async def is_closed(streams: Streams, within_s: float) -> bool:
    try:
        return await asyncio.wait_for(streams[0].read(1), within_s) == b""
    except ConnectionError:
        return True
    except TimeoutError:
        return False


async def leave(*callers: Streams) -> None:
    for _, writer in callers:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask(port: int, tls: Tls, body: bytes = b"hello") -> bytes:
    """The body of the answer to one request on a connection of its own; OSError where there is none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls.caller)
    try:
        head = f"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await asyncio.wait_for(reader.read(), SOON_S)
    finally:
        await leave((reader, writer))
    return answer.partition(b"\r\n\r\n")[2]


async def succeeds(asking: Callable[[], Awaitable[bytes]]) -> bytes:
    """The first answer, once there is one."""
    ends_at = time.monotonic() + SOON_S
    while True:
        try:
            return await asking()
        except OSError:
            assert time.monotonic() < ends_at
            await asyncio.sleep(0.02)


def test_requests_are_answered_after_a_handshake(on_loop, tls):
    async def main():
        body = bytes(range(256)) * 4096
        async with serving(tls, max_connections=10) as port:
            assert await ask(port, tls, body) == body
            assert await asyncio.gather(*(ask(port, tls, b"%d" % n) for n in range(10))) == [
                b"%d" % n for n in range(10)
            ]

    on_loop(main())


def test_silent_callers_take_up_room_and_those_beyond_are_closed_on_at_once(on_loop, tls):
    async def main():
        async with serving(tls, max_connections=5) as port:
            held = [await silent(port) for _ in range(5)]
            await asyncio.sleep(0.05)
            beyond = [await silent(port) for _ in range(50)]

            assert all([await is_closed(each, SOON_S) for each in beyond])
            assert not await is_closed(held[0], 0.1)
            with pytest.raises(OSError):
                await ask(port, tls)
            await leave(held.pop())
            assert await succeeds(lambda: ask(port, tls)) == b"hello"
            await leave(*held, *beyond)

    on_loop(main())


def test_silent_callers_are_closed_on_after_the_timeout(on_loop, tls):
    async def main():
        async with serving(tls, max_connections=5, timeout_s=QUICK_S) as port:
            began = time.monotonic()
            held = [await silent(port) for _ in range(5)]

            assert all([await is_closed(each, SOON_S) for each in held])
            assert QUICK_S <= time.monotonic() - began < SOON_S
            # A good caller has as little time, and may need more on a busy machine.
            assert await succeeds(lambda: ask(port, tls)) == b"hello"
            await leave(*held)

    on_loop(main())


def test_callers_who_send_drop_by_drop_have_no_more_time(on_loop, tls):
    async def main():
        async with serving(tls, max_connections=5, timeout_s=QUICK_S) as port:
            slow = await silent(port)
            # The beginning of a record, which announces more than will come.
            for byte in b"\x16\x03\x01\x02\x00" + bytes(1000):
                with suppress(ConnectionError):
                    slow[1].write(bytes([byte]))
                if await is_closed(slow, QUICK_S / 5):
                    break
            else:
                pytest.fail("the connection is still open")
            await leave(slow)

    on_loop(main())


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01"])
def test_callers_who_leave_or_speak_no_tls_give_their_room_back(on_loop, tls, first):
    async def main():
        async with serving(tls, max_connections=1) as port:
            for _ in range(5):
                caller = await silent(port)
                caller[1].write(first)
                await leave(caller)
                assert await succeeds(lambda: ask(port, tls)) == b"hello"

    on_loop(main())


def test_a_connection_is_counted_once(on_loop, tls):
    async def main():
        async with serving(tls, max_connections=2) as port:
            first = await asyncio.open_connection("127.0.0.1", port, ssl=tls.caller)
            assert await ask(port, tls) == b"hello"
            second = await succeeds(lambda: asyncio.open_connection("127.0.0.1", port, ssl=tls.caller))
            with pytest.raises(OSError):
                await ask(port, tls)
            await leave(first)
            assert await succeeds(lambda: ask(port, tls)) == b"hello"
            await leave(second)

    on_loop(main())


def test_more_callers_than_are_taken_at_once_are_all_taken(on_loop, tls):
    async def main():
        async with serving(tls, max_connections=1000) as port:
            answers = await asyncio.gather(*(ask(port, tls) for _ in range(3 * TAKEN_AT_ONCE)))
            assert answers == [b"hello"] * (3 * TAKEN_AT_ONCE)

    on_loop(main())


@pytest.mark.parametrize("wait_s", [0.0, 0.1], ids=["at once", "later"])
def test_a_stop_ends_handshakes_under_way(on_loop, tls, wait_s):
    async def main():
        async with serving(tls, max_connections=100) as port:
            held = [await silent(port) for _ in range(20)]
            await asyncio.sleep(wait_s)
            began = time.monotonic()
        assert time.monotonic() - began < PATIENT_S / 10
        assert all([await is_closed(each, SOON_S) for each in held])
        await leave(*held)
        with pytest.raises(ConnectionRefusedError):
            await silent(port)

    on_loop(main())


def test_a_port_that_is_taken_is_named(on_loop, tls):
    async def main():
        async with serving(tls, max_connections=2) as port:
            settings = HttpSettings(port=port)
            other = HttpTransport(settings, Routes([]), OffLoop(), open_entrance(), tls.server)
            with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{port} \(http.port\): address"):
                await other.start()
            await other.stop(0)
            assert await ask(port, tls) == b"hello"

    on_loop(main())


def test_every_address_of_a_name_is_listened_on(on_loop, tls):
    async def main():
        settings = HttpSettings(address="localhost", port=0)
        routes = Routes([ControlRoute("POST", "/echo", echo)])
        transport = HttpTransport(settings, routes, OffLoop(), open_entrance(), tls.server)
        port = await transport.start()
        plain = await asyncio.get_running_loop().create_server(asyncio.Protocol, "localhost", 0)
        assert transport._secure is not None
        assert len(transport._secure._sockets) == len(plain.sockets)
        assert port == transport._secure._sockets[0].getsockname()[1]
        plain.close()
        await transport.stop(0)

    on_loop(main())
