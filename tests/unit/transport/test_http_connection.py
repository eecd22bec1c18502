"""One HTTP/1.1 connection: what comes in, in whatever pieces, what goes out, and when it ends."""

import asyncio
import functools
import itertools
import json
import logging
import socket
import struct
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import NotFound
from headrace.settings import HttpSettings
from headrace.transport.http import connection as connection_module
from headrace.transport.http.connection import (
    MAX_UNANSWERED,
    Connection,
    ConnectionLimits,
    Exchange,
)
from headrace.transport.http.heads import MAX_HEAD_BYTES, MAX_REMEMBERED, Heads
from headrace.transport.http.http_server import HttpTransport
from headrace.transport.http.incoming import MAX_HEADERS
from headrace.transport.http.messages import HttpRequest, HttpResponse
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.progress import LEAST_BYTES_PER_S
from headrace.transport.http.routes import ControlRoute, InferenceRoute, Route, Routes
from support.entrances import open_entrance
from support.loops import run, until

KIB = 1024
IDLE_S, RECEIVE_S = 60.0, 10.0
DATE = b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass(frozen=True)
class Answer:
    """One response as it was written."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        return str(json.loads(self.body)["error"])


def answers_in(data: bytes, heads_only: bool = False) -> list[Answer]:
    """The responses in `data`, which holds nothing else and breaks off nowhere."""
    found = []
    while data:
        head, separator, data = data.partition(b"\r\n\r\n")
        assert separator, f"a response breaks off: {head!r}"
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        size = 0 if heads_only else int(headers.get("content-length", 0))
        assert len(data) >= size
        found.append(Answer(int(first.split()[1]), headers, data[:size]))
        data = data[size:]
    return found


class Wire(asyncio.Transport):
    """Keeps what is written; the other side reads all of it at once, or nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent_bytes = 0
        self.is_reading_paused = False
        self.is_ended = False
        self.is_closed = False
        self.is_aborted = False

    def write(self, data: Any) -> None:
        assert not self.is_ended, "written behind the end"
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.unsent_bytes

    def pause_reading(self) -> None:
        self.is_reading_paused = True

    def resume_reading(self) -> None:
        self.is_reading_paused = False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.is_ended = True

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True


class Peer:
    """A caller on a connection, and the owner of it: requests are answered at once, or as a test does it."""

    def __init__(
        self,
        *,
        answers_at_once: bool = True,
        header_bytes: int = 8 * KIB,
        body_bytes: int = 64 * KIB,
        idle_s: float = IDLE_S,
        heads: Heads | None = None,
    ) -> None:
        self.requests: list[HttpRequest] = []
        self.exchanges: list[Exchange] = []
        self.open: set[Connection] = set()
        self.wire = Wire()
        self.heads = heads or Heads()
        self._answers_at_once = answers_at_once
        self.connection = Connection(self, ConnectionLimits(header_bytes, body_bytes, idle_s, RECEIVE_S))
        self.connection.connection_made(self.wire)

    # What a connection wants of its owner.

    date = DATE

    def add(self, connection: Connection) -> None:
        self.open.add(connection)

    def discard(self, connection: Connection) -> None:
        self.open.discard(connection)

    def dispatch(self, request: HttpRequest, exchange: Exchange) -> None:
        self.requests.append(request)
        self.exchanges.append(exchange)
        if self._answers_at_once:
            self.answer(len(self.requests) - 1)

    # What a caller does and sees.

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.connection.data_received(piece)

    def answer(self, number: int) -> None:
        """Answers the request of that number with its path."""
        self.exchanges[number].complete(HttpResponse([self.requests[number].path.encode()]))

    @property
    def answers(self) -> list[Answer]:
        return answers_in(self.wire.written)

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]


class Clock:
    """A time that moves only when told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def monotonic_ns(self) -> int:
        return int(self.now_s * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(connection_module, "time", clock)
    return clock


def on_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """A test that runs on an event loop, to whose exception handler nothing may be told."""

    @functools.wraps(test)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        run(test(*args, **kwargs))

    return wrapper


def get(path: str = "/a", *headers: str, version: str = "1.1", method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", *(("Host: x",) if version == "1.1" else ()), *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes = b"abc", *headers: str, path: str = "/a") -> bytes:
    return get(path, f"Content-Length: {len(body)}", *headers, method="POST") + body


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    head = get("/a", "Transfer-Encoding: chunked", method="POST")
    return head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end


def refuses_all_that_follows(peer: Peer) -> bool:
    """Whether the sending side is closed, and what still comes is neither answered nor handed on."""
    written, count = peer.wire.written, len(peer.requests)
    peer.send(NEXT)
    return peer.wire.is_ended and (peer.wire.written, len(peer.requests)) == (written, count)


# Requests and answers.


@on_loop
async def test_a_request_is_handed_on_whole():
    peer = Peer()

    peer.send(post(b"body", "X-Mixed-CASE: Value", "Two: 1", "Two: 2", path="/v2/a%20b?c=d&e?f"))

    (request,) = peer.requests
    assert (request.method, request.path, request.query) == ("POST", "/v2/a%20b", "c=d&e?f")
    assert bytes(request.body) == b"body"
    assert request.headers["x-mixed-case"] == "Value"
    assert request.headers["two"] == "1, 2"


@on_loop
async def test_an_answer_has_date_length_kind_and_its_own_headers():
    peer = Peer(answers_at_once=False)
    peer.send(get())

    body = [b"one", memoryview(b"two"), bytearray(b"three")]
    peer.exchanges[0].complete(HttpResponse(body, 201, "text/x", (("X-Own", "1"),)))

    (answer,) = peer.answers
    assert peer.wire.written.startswith(b"HTTP/1.1 201 Created\r\n" + DATE)
    assert answer.body == b"onetwothree"
    assert answer.headers["content-type"] == "text/x"
    assert answer.headers["content-length"] == "11"
    assert answer.headers["x-own"] == "1"
    assert "connection" not in answer.headers


@on_loop
async def test_an_answer_without_a_body_has_no_kind():
    peer = Peer(answers_at_once=False)
    peer.send(get())

    peer.exchanges[0].complete(HttpResponse())

    assert peer.answers[0].headers["content-length"] == "0"
    assert "content-type" not in peer.answers[0].headers


@on_loop
async def test_the_bytes_of_a_tensor_count_and_not_its_elements():
    numbers = memoryview(bytes(16)).cast("f")
    peer = Peer(answers_at_once=False)
    peer.send(get())

    peer.exchanges[0].complete(HttpResponse([numbers]))

    assert peer.answers[0].body == bytes(16)


@on_loop
async def test_an_error_is_answered_as_the_protocol_has_it():
    peer = Peer(answers_at_once=False)
    peer.send(get())

    peer.exchanges[0].fail(NotFound("no 'x'\nhere \udce4"))

    (answer,) = peer.answers
    assert answer.status == 404
    assert answer.error == "no 'x'\nhere ?"


@on_loop
async def test_only_the_first_answer_counts():
    peer = Peer(answers_at_once=False)
    peer.send(get("/a"), get("/b"))

    peer.answer(1)
    assert not peer.exchanges[1].is_wanted
    peer.exchanges[1].fail(NotFound("late"))
    peer.answer(0)
    peer.exchanges[0].fail(NotFound("late"))

    assert [answer.body for answer in peer.answers] == [b"/a", b"/b"]


@on_loop
async def test_a_connection_is_kept_for_the_next_request():
    peer = Peer()

    for number in range(3):
        peer.send(get(f"/{number}"))

    assert [answer.body for answer in peer.answers] == [b"/0", b"/1", b"/2"]
    assert not peer.wire.is_ended


@on_loop
async def test_answers_leave_in_the_order_of_their_requests():
    peer = Peer(answers_at_once=False)
    peer.send(get("/0") + get("/1") + get("/2") + get("/3"))

    peer.answer(2)
    peer.answer(1)
    assert peer.wire.written == b""
    peer.answer(0)
    assert [answer.body for answer in peer.answers] == [b"/0", b"/1", b"/2"]
    peer.answer(3)

    assert [answer.body for answer in peer.answers] == [b"/0", b"/1", b"/2", b"/3"]


@on_loop
async def test_bytes_may_arrive_one_at_a_time():
    peer = Peer()
    data = post(b"abc", path="/1") + chunked(b"d", b"ef") + get("http://h/3?q") + NEXT

    peer.send(*(bytes([byte]) for byte in data))

    assert peer.paths == ["/1", "/a", "/3", "/next"]
    assert [bytes(request.body) for request in peer.requests] == [b"abc", b"def", b"", b""]
    assert peer.statuses == [200] * 4


@on_loop
async def test_empty_lines_before_a_request_are_passed_over():
    peer = Peer()

    peer.send(b"\r\n\r\n" + get("/a") + b"\r\n" + NEXT)

    assert peer.paths == ["/a", "/next"]


@on_loop
async def test_head_is_answered_without_the_body():
    peer = Peer()

    peer.send(get("/some", method="HEAD"))

    (answer,) = answers_in(peer.wire.written, heads_only=True)
    assert answer.headers["content-length"] == "5"
    assert peer.wire.written.endswith(b"\r\n\r\n")
    peer.send(NEXT)
    assert peer.paths == ["/some", "/next"]


@on_loop
async def test_connection_close_is_the_last_request():
    peer = Peer()

    peer.send(get("/a", "Connection: close") + NEXT)

    (answer,) = peer.answers
    assert answer.headers["connection"] == "close"
    assert refuses_all_that_follows(peer)


@on_loop
async def test_connection_close_does_not_overtake_what_came_before_it():
    peer = Peer(answers_at_once=False)
    peer.send(get("/0") + get("/1", "Connection: close"))

    peer.answer(1)
    assert not peer.wire.is_ended
    peer.answer(0)

    assert [answer.body for answer in peer.answers] == [b"/0", b"/1"]
    assert peer.wire.is_ended


@pytest.mark.parametrize(
    ("headers", "said", "is_kept"),
    [((), "close", False), (("Connection: keep-alive",), "keep-alive", True)],
    ids=["plain", "keep-alive"],
)
@on_loop
async def test_http_10_is_kept_only_where_it_is_asked_for(headers, said, is_kept):
    peer = Peer()

    peer.send(get("/a", *headers, version="1.0"))

    (answer,) = peer.answers
    assert answer.status == 200
    assert answer.headers["connection"] == said
    assert peer.wire.is_ended is not is_kept


@pytest.mark.parametrize(
    ("url", "path", "query"),
    [
        ("http://host:1/v2/x?a=b?c", "/v2/x", "a=b?c"),
        ("http://host", "/", ""),
        ("http://host?a=/b", "/", "a=/b"),
        ("//host/x", "//host/x", ""),
        ("/%2e%2e/%41", "/%2e%2e/%41", ""),
    ],
)
@on_loop
async def test_urls_are_taken_apart(url, path, query):
    peer = Peer()

    peer.send(get(url))

    assert [(request.path, request.query) for request in peer.requests] == [(path, query)]


@pytest.mark.parametrize("line", ["CONNECT host:80", "OPTIONS *"])
@on_loop
async def test_a_target_that_is_no_url_is_no_path_of_an_endpoint(line):
    peer = Peer()
    method, _, target = line.partition(" ")

    peer.send(get(target, method=method))

    assert not peer.requests[0].path.startswith("/")


# Bodies.


@on_loop
async def test_chunks_are_one_body():
    peer = Peer()

    peer.send(chunked(b"ab", b"c" * 5000, b"d") + NEXT)

    assert [bytes(request.body) for request in peer.requests] == [b"ab" + b"c" * 5000 + b"d", b""]


@on_loop
async def test_chunk_extensions_and_trailers_are_ignored():
    peer = Peer()

    body = b'3;a=b;c="d"\r\nabc\r\n0;e\r\nHost: other\r\nX-Trailer: 1\r\nExpect: x\r\n\r\n'
    peer.send(get("/a", "Transfer-Encoding: chunked", method="POST") + body + NEXT)

    assert peer.statuses == [200, 200]
    assert bytes(peer.requests[0].body) == b"abc"
    assert peer.requests[0].headers["host"] == "x"
    assert "x-trailer" not in peer.requests[0].headers


@on_loop
async def test_a_body_of_the_largest_size_is_taken():
    peer = Peer(body_bytes=1000)

    peer.send(post(b"x" * 1000) + chunked(b"x" * 400, b"x" * 600))

    assert peer.statuses == [200, 200]


@on_loop
async def test_a_body_too_large_by_its_length_is_refused_before_it_comes():
    peer = Peer(body_bytes=1000)

    peer.send(get("/a", "Content-Length: 1001", "Expect: 100-continue", method="POST"))

    (answer,) = peer.answers
    assert answer.status == 400
    assert "1001 bytes" in answer.error and "http.max_body_bytes" in answer.error
    assert refuses_all_that_follows(peer)


@on_loop
async def test_a_body_too_large_by_its_chunks_is_refused_as_soon_as_it_is():
    peer = Peer(body_bytes=1000)

    peer.send(chunked(b"x" * 600, end=b""))
    assert peer.statuses == []
    peer.send(b"191\r\n" + b"x" * 401)

    assert peer.statuses == [400]
    assert "http.max_body_bytes" in peer.answers[0].error
    assert peer.requests == []
    assert refuses_all_that_follows(peer)


@on_loop
async def test_trailers_without_an_end_are_refused():
    peer = Peer(header_bytes=1000)

    peer.send(chunked(b"abc", end=b"0\r\nX: "), *[b"y" * 10_000] * 10)

    assert peer.statuses in ([400], [431])


# Expectations.


@on_loop
async def test_a_caller_who_waits_for_it_is_told_to_go_on():
    peer = Peer()

    peer.send(get("/a", "Content-Length: 3", "Expect: 100-Continue", method="POST"))
    assert peer.wire.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    peer.send(b"abc")

    assert peer.statuses == [100, 200]
    assert bytes(peer.requests[0].body) == b"abc"


@on_loop
async def test_other_expectations_cannot_be_met():
    peer = Peer()

    peer.send(get("/a", "Content-Length: 3", "Expect: 200-ok", method="POST") + b"abc" + NEXT)

    assert peer.statuses == [417]
    assert "'200-ok'" in peer.answers[0].error
    assert peer.requests == []


@on_loop
async def test_nothing_is_written_between_the_answers_of_others():
    peer = Peer(answers_at_once=False)

    peer.send(get("/0") + get("/1", "Content-Length: 3", "Expect: 100-continue", method="POST"))

    assert peer.wire.written == b""


@on_loop
async def test_a_caller_who_waits_behind_another_request_is_told_to_go_on_after_it():
    peer = Peer(answers_at_once=False)
    peer.send(get("/0") + get("/1", "Content-Length: 3", "Expect: 100-continue", method="POST"))

    peer.answer(0)

    assert peer.statuses == [200, 100]


@on_loop
async def test_a_caller_of_http_10_is_not_told_to_go_on():
    peer = Peer()

    peer.send(get("/a", "Content-Length: 3", "Expect: 100-continue", version="1.0", method="POST"))

    assert peer.wire.written == b""


# What is refused.


@on_loop
async def test_a_request_without_a_host_is_refused():
    peer = Peer()

    peer.send(b"GET /a HTTP/1.1\r\n\r\n" + NEXT)

    assert peer.statuses == [400]
    assert "Host" in peer.answers[0].error
    assert peer.requests == []


@on_loop
async def test_a_request_with_two_hosts_is_refused():
    peer = Peer()

    peer.send(get("/a", "Host: y"))

    assert peer.statuses == [400]


@on_loop
async def test_too_many_headers_are_refused():
    peer = Peer()
    most = [f"H{number}: 1" for number in range(MAX_HEADERS - 1)]  # and Host

    peer.send(get("/a", *most))
    peer.send(get("/b", *most, "One: more") + NEXT)

    assert peer.statuses == [200, 431]
    assert peer.paths == ["/a"]
    assert refuses_all_that_follows(peer)


@pytest.mark.parametrize("piece_bytes", [1, 100, 10**6])
@on_loop
async def test_headers_too_large_are_refused(piece_bytes):
    peer = Peer(header_bytes=1000)
    data = get("/a", *(f"H{number}: {'v' * 100}" for number in range(10))) + NEXT

    peer.send(*map(bytes, batched(data, piece_bytes)))

    assert peer.statuses == [431]
    assert "http.max_header_bytes" in peer.answers[0].error
    assert peer.requests == []


@pytest.mark.parametrize("start", [b"GET /", b"GET /a HTTP/1.1\r\nX: ", b"GET /a HTTP/1.1\r\nX"])
@on_loop
async def test_a_head_without_an_end_is_refused(start):
    peer = Peer(header_bytes=1000)

    peer.send(start, *[b"x" * 100] * 20)

    assert peer.statuses == [431]


@on_loop
async def test_a_url_too_large_is_refused_however_it_comes():
    peer = Peer(header_bytes=1000)

    peer.send(get("/" + "x" * 50_000))

    assert peer.statuses in ([414], [431])


@on_loop
async def test_a_small_head_behind_a_large_body_is_not_too_large():
    peer = Peer(header_bytes=1000)

    peer.send(post(b"x" * 2000) + NEXT[:5], NEXT[5:6], NEXT[6:])

    assert peer.paths == ["/a", "/next"]


BROKEN = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "unknown version": b"GET /a HTTP/1.2\r\nHost: x\r\n\r\n",
    "unknown method": b"FETCH /a HTTP/1.1\r\nHost: x\r\n\r\n",
    "lower case method": b"get /a HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the URL": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes in the URL": "GET /é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "NUL": get("/a", "X: a\0b"),
    "no name": get("/a", ": b"),
    "no colon": get("/a", "ab"),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
@on_loop
async def test_what_is_no_request_is_refused(data):
    peer = Peer()

    peer.send(data + NEXT)

    (answer,) = peer.answers
    assert answer.status == 400
    assert answer.error.startswith("the request is not valid HTTP/1.1: ")
    assert answer.headers["connection"] == "close"
    assert peer.requests == []
    assert refuses_all_that_follows(peer)


def framed(*headers: str) -> bytes:
    return get("/a", *headers, method="POST")


CHUNKED = framed("Transfer-Encoding: chunked")
SMUGGLING = {
    "length and chunks": framed("Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunks and length": framed("Transfer-Encoding: chunked", "Content-Length: 5") + b"0\r\n\r\n",
    "two lengths": framed("Content-Length: 0", "Content-Length: 31"),
    "one length twice": framed("Content-Length: 0", "Content-Length: 0"),
    "list of lengths": framed("Content-Length: 0, 31"),
    "signed length": framed("Content-Length: +0"),
    "negative length": framed("Content-Length: -1"),
    "hexadecimal length": framed("Content-Length: 0x0"),
    "underscore in the length": framed("Content-Length: 0_0"),
    "empty length": framed("Content-Length:"),
    "overflowing length": framed("Content-Length: 18446744073709551616"),
    "length behind a tab": framed("Content-Length: \x0b0"),
    "space before the colon": framed("Content-Length : 31"),
    "space before the colon of chunks": framed("Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "folded header": framed("X: a", " Content-Length: 31"),
    "folded length": framed("Content-Length:", " 31"),
    "folded first": b"POST /a HTTP/1.1\r\n Host: x\r\n\r\n",
    "bare LF": b"POST /a HTTP/1.1\nHost: x\n\n",
    "bare LF behind a header": b"POST /a HTTP/1.1\r\nHost: x\nContent-Length: 31\r\n\r\n",
    "bare LF at the end": b"POST /a HTTP/1.1\r\nHost: x\r\n\n",
    "bare CR": b"POST /a HTTP/1.1\r\nHost: x\rContent-Length: 31\r\n\r\n",
    "not chunked": framed("Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "chunked twice": framed("Transfer-Encoding: chunked, chunked") + b"0\r\n\r\n",
    "chunked, then more": framed("Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "chunked, then more, on two lines": framed("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
    "quoted coding": framed('Transfer-Encoding: "chunked"') + b"0\r\n\r\n",
    "coding with a parameter": framed("Transfer-Encoding: chunked;q=1") + b"0\r\n\r\n",
    "coding behind a tab": framed("Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "only another coding": framed("Transfer-Encoding: gzip") + b"0\r\n\r\n",
    "empty coding": framed("Transfer-Encoding:") + b"0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"0x3\r\nabc\r\n0\r\n\r\n",
    "chunk size with a sign": CHUNKED + b"+3\r\nabc\r\n0\r\n\r\n",
    "negative chunk size": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "space before the chunk size": CHUNKED + b" 3\r\nabc\r\n0\r\n\r\n",
    "space behind the chunk size": CHUNKED + b"3 \r\nabc\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "overflowing chunk size": CHUNKED + b"10000000000000003\r\nabc\r\n0\r\n\r\n",
    "bare LF behind the chunk size": CHUNKED + b"3\nabc\r\n0\r\n\r\n",
    "bare LF behind a chunk": CHUNKED + b"3\r\nabc\n0\r\n\r\n",
    "bare LF in an extension": CHUNKED + b"3;a\nabc\r\n0\r\n\r\n",
    "line end in a quoted extension": CHUNKED + b'3;a="\r\n"\r\nabc\r\n0\r\n\r\n',
    "two CR behind the chunk size": CHUNKED + b"3\r\r\nabc\r\n0\r\n\r\n",
    "bare LF at the end of the chunks": CHUNKED + b"0\r\n\n",
    "chunk longer than it says": CHUNKED + b"3\r\nabcd\r\n0\r\n\r\n",
    "chunk shorter than it says": CHUNKED + b"4\r\nabc\r\n0\r\n\r\n",
    "length in a trailer": CHUNKED + b"0\r\nContent-Length: 31\r\n\r\n",
    "coding in a trailer": CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("in_pieces", [False, True], ids=["at once", "in pieces"])
@pytest.mark.parametrize("data", SMUGGLING.values(), ids=SMUGGLING)
@on_loop
async def test_a_request_whose_end_can_be_told_in_two_ways_is_refused(data, in_pieces):
    peer = Peer()
    data += NEXT * 3

    peer.send(*(map(bytes, batched(data, 1)) if in_pieces else [data]))

    assert peer.statuses == [400]
    assert peer.answers[0].headers["connection"] == "close"
    assert peer.requests == []
    assert refuses_all_that_follows(peer)


@on_loop
async def test_chunks_in_http_10_are_the_end_of_the_connection():
    peer = Peer()
    head = get("/a", "Connection: keep-alive", "Transfer-Encoding: chunked", version="1.0", method="POST")

    peer.send(head + b"0\r\n\r\n" + NEXT)

    assert "/next" not in peer.paths
    assert peer.wire.is_ended


@on_loop
async def test_transfer_codings_that_are_not_known_are_refused():
    peer = Peer()

    peer.send(framed("Transfer-Encoding: gzip, chunked") + b"3\r\nabc\r\n0\r\n\r\n")

    assert peer.statuses in ([400], [501])


@on_loop
async def test_a_refusal_waits_for_the_answers_before_it():
    peer = Peer(answers_at_once=False)

    peer.send(get("/0") + get("/1") + b"nonsense\r\n\r\n" + NEXT)
    assert peer.wire.written == b""
    peer.answer(1)
    peer.answer(0)

    assert peer.statuses == [200, 200, 400]
    assert peer.paths == ["/0", "/1"]
    assert peer.wire.is_ended


@on_loop
async def test_what_follows_a_refusal_is_read_for_a_while_and_thrown_away(monkeypatch):
    monkeypatch.setattr(connection_module, "LINGER_S", 0.01)
    peer = Peer()

    peer.send(b"nonsense\r\n\r\n")
    assert peer.wire.is_ended and not peer.wire.is_closed
    peer.send(b"\0" * 100_000)

    await until(lambda: peer.wire.is_closed)
    assert peer.statuses == [400]


# Upgrades.


@on_loop
async def test_an_upgrade_is_answered_as_a_plain_request_and_http_goes_on():
    peer = Peer()

    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    peer.send(get("/a", *headers) + NEXT + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NEXT)

    assert peer.paths == ["/a", "/next"]
    assert peer.statuses == [200, 200, 400]
    assert refuses_all_that_follows(peer)


@on_loop
async def test_wishes_for_another_protocol_are_heard_only_so_often():
    peer = Peer()

    peer.send(get("/a", "Connection: Upgrade", "Upgrade: h2c") * 3000)

    assert 0 < len(peer.paths) < 100
    assert peer.statuses[-1] == 400
    assert refuses_all_that_follows(peer)


@on_loop
async def test_an_upgrade_that_is_not_asked_for_changes_nothing():
    peer = Peer()

    peer.send(get("/a", "Upgrade: h2c") + NEXT)

    assert peer.paths == ["/a", "/next"]


@pytest.mark.parametrize("framing", ["length", "chunks"])
@on_loop
async def test_a_request_that_asks_for_an_upgrade_keeps_its_body(framing):
    """Java's HttpClient asks for h2c with its first request, whatever that is."""
    peer = Peer()
    headers = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")

    if framing == "length":
        peer.send(post(b"abc", *headers))
    else:
        peer.send(get("/a", "Transfer-Encoding: chunked", *headers, method="POST") + b"3\r\nabc\r\n0\r\n\r\n")

    assert [bytes(request.body) for request in peer.requests] == [b"abc"]


# Callers who leave.


@on_loop
async def test_a_caller_who_left_wants_no_answer():
    peer = Peer(answers_at_once=False)
    peer.send(get("/0") + get("/1"))
    assert all(exchange.is_wanted for exchange in peer.exchanges)

    peer.connection.connection_lost(ConnectionResetError())

    assert not any(exchange.is_wanted for exchange in peer.exchanges)
    peer.answer(1)
    peer.exchanges[0].fail(NotFound("x"))
    assert peer.wire.written == b""
    assert peer.open == set()


@on_loop
async def test_a_caller_who_left_during_a_request_is_forgotten():
    peer = Peer()
    peer.send(post(b"abc")[:-1])

    peer.connection.connection_lost(None)
    peer.connection.check(10**9)
    peer.connection.drain()
    peer.connection.abort()

    assert peer.open == set()
    assert peer.requests == []


@pytest.mark.parametrize("sent", [b"", get(), post()[:-1], NEXT[:10]], ids=["no", "done", "body", "head"])
@pytest.mark.parametrize("answers_at_once", [True, False])
@on_loop
async def test_a_caller_who_stops_sending_has_left(sent, answers_at_once):
    """So does a client whose time ran out: nobody would read the answer."""
    peer = Peer(answers_at_once=answers_at_once)
    peer.send(sent)

    assert not peer.connection.eof_received()


# Callers who send, or read, too fast or too slowly.


@on_loop
async def test_no_more_is_read_while_too_much_is_unanswered():
    peer = Peer(answers_at_once=False)

    peer.send(*[get("/a")] * (MAX_UNANSWERED - 1))
    assert not peer.wire.is_reading_paused
    peer.send(get("/a"))
    assert peer.wire.is_reading_paused
    peer.answer(1)
    assert peer.wire.is_reading_paused
    peer.answer(0)
    assert not peer.wire.is_reading_paused


@on_loop
async def test_no_more_is_read_while_answers_are_not():
    peer = Peer()
    peer.send(get())

    peer.connection.pause_writing()
    assert peer.wire.is_reading_paused
    peer.connection.resume_writing()
    assert not peer.wire.is_reading_paused


@on_loop
async def test_reading_waits_for_both_answers_and_their_reader():
    peer = Peer(answers_at_once=False)
    peer.send(*[get("/a")] * MAX_UNANSWERED)

    peer.connection.pause_writing()
    peer.answer(0)
    assert peer.wire.is_reading_paused
    peer.send(get("/a"))
    peer.connection.resume_writing()
    assert peer.wire.is_reading_paused
    peer.answer(1)
    assert not peer.wire.is_reading_paused


@on_loop
async def test_a_caller_who_does_not_read_is_cut_off(clock):
    peer = Peer(answers_at_once=False)
    peer.send(get())
    peer.connection.pause_writing()

    peer.connection.check(clock.now_s + RECEIVE_S)
    assert not peer.wire.is_aborted
    peer.connection.check(clock.now_s + RECEIVE_S + 1)
    assert peer.wire.is_aborted


@on_loop
async def test_a_caller_who_reads_again_is_not_cut_off(clock):
    peer = Peer()
    peer.send(get())
    peer.connection.pause_writing()
    clock.now_s += RECEIVE_S

    peer.connection.resume_writing()
    peer.connection.check(clock.now_s + 1)

    assert not peer.wire.is_closed


@on_loop
async def test_the_time_in_which_nothing_was_read_is_not_the_callers(clock):
    peer = Peer()
    peer.send(get() + post()[:-1])
    peer.connection.pause_writing()
    clock.now_s += RECEIVE_S - 0.1
    peer.connection.check(clock.now_s)
    peer.connection.resume_writing()

    clock.now_s += 1
    peer.connection.check(clock.now_s)
    peer.send(b"c")

    assert peer.statuses == [200, 200]


@pytest.mark.parametrize("how", ["idle", "last request", "refused"])
@on_loop
async def test_a_caller_who_does_not_read_the_end_is_cut_off(clock, monkeypatch, how):
    """The transport waits until what is left is read, for ever."""
    monkeypatch.setattr(connection_module, "LINGER_S", 0.0)
    peer = Peer()
    peer.wire.unsent_bytes = 1000
    peer.send({"idle": get(), "last request": get("/a", "Connection: close"), "refused": b"x\r\n\r\n"}[how])
    if how != "idle":
        await until(lambda: peer.wire.is_closed)

    for _ in range(100):
        clock.now_s += RECEIVE_S
        peer.connection.check(clock.now_s)

    assert peer.wire.is_aborted


@pytest.mark.parametrize("before", [b"", get()], ids=["new", "used"])
@on_loop
async def test_an_idle_connection_is_closed(clock, before):
    peer = Peer()
    peer.send(before)
    count = len(peer.answers)

    peer.connection.check(clock.now_s + IDLE_S)
    assert not peer.wire.is_closed
    peer.connection.check(clock.now_s + IDLE_S + 1)

    assert peer.wire.is_closed
    assert len(peer.answers) == count


@on_loop
async def test_empty_lines_do_not_keep_a_connection(clock):
    peer = Peer()
    for _ in range(10):
        clock.now_s += IDLE_S / 5
        peer.send(b"\r\n")
        peer.connection.check(clock.now_s)

    assert peer.wire.is_closed


@on_loop
async def test_a_request_under_way_keeps_its_connection(clock):
    peer = Peer(answers_at_once=False)
    peer.send(get() + post()[:-1])

    clock.now_s += 10 * IDLE_S
    peer.connection.check(clock.now_s)
    assert not peer.wire.is_closed
    peer.answer(0)
    peer.connection.check(clock.now_s + RECEIVE_S)
    assert peer.statuses == [200]
    peer.send(b"c")
    assert len(peer.requests) == 2


@on_loop
async def test_a_head_that_comes_too_slowly_is_refused(clock):
    peer = Peer()
    peer.send(b"GET /a HTTP/1.1\r\n")
    for number in range(int(RECEIVE_S) + 1):
        assert peer.statuses == []
        clock.now_s += 1
        peer.send(b"H%d: slow\r\n" % number)
        peer.connection.check(clock.now_s)

    assert peer.statuses == [408]
    assert "within 10 s" in peer.answers[0].error
    assert refuses_all_that_follows(peer)


@on_loop
async def test_a_body_that_comes_too_slowly_is_refused(clock):
    peer = Peer()
    peer.send(get("/a", "Content-Length: 1000", method="POST"))

    for _ in range(int(RECEIVE_S) + 2):
        clock.now_s += 1
        peer.send(b"x")
        peer.connection.check(clock.now_s)

    assert peer.statuses == [408]
    assert peer.requests == []


@on_loop
async def test_a_body_that_comes_steadily_may_take_longer(clock):
    peer = Peer(body_bytes=1 << 20)
    seconds = 5 * int(RECEIVE_S)
    peer.send(get("/a", f"Content-Length: {seconds * LEAST_BYTES_PER_S}", method="POST"))

    for _ in range(seconds):
        clock.now_s += 1
        peer.send(b"x" * LEAST_BYTES_PER_S)
        peer.connection.check(clock.now_s)

    assert peer.statuses == [200]


# The end of the server.


@on_loop
async def test_an_idle_connection_is_closed_with_the_server():
    peer = Peer()
    peer.send(get())

    peer.connection.drain()

    assert peer.wire.is_closed
    assert peer.statuses == [200]


@on_loop
async def test_what_is_under_way_is_answered_before_the_end():
    peer = Peer(answers_at_once=False)
    peer.send(get("/0") + get("/1"))

    peer.connection.drain()
    peer.send(NEXT)
    peer.answer(1)
    peer.answer(0)

    assert [answer.headers.get("connection") for answer in peer.answers] == [None, "close"]
    assert peer.paths == ["/0", "/1"]
    assert peer.wire.is_ended


@on_loop
async def test_an_answer_that_waits_for_others_says_that_it_is_the_last():
    peer = Peer(answers_at_once=False)
    peer.send(get("/0") + get("/1"))
    peer.answer(1)

    peer.connection.drain()
    peer.answer(0)

    assert peer.wire.is_ended
    assert peer.answers[1].headers.get("connection") == "close"


@pytest.mark.parametrize("cut", [5, -4, -1])
@on_loop
async def test_a_request_half_arrived_is_answered_before_the_end(cut):
    peer = Peer()
    data = post()
    peer.send(data[:cut])

    peer.connection.drain()
    assert not peer.wire.is_closed
    peer.send(data[cut:] + NEXT)

    assert peer.statuses == [200]
    assert peer.answers[0].headers["connection"] == "close"
    assert refuses_all_that_follows(peer)


@on_loop
async def test_who_is_turned_away_is_told_why():
    peer = Peer()

    peer.connection.turn_away(7)
    peer.send(get())

    assert peer.statuses == [503]
    assert "7 connections" in peer.answers[0].error
    assert peer.requests == []


@on_loop
async def test_an_owner_that_breaks_its_promise_is_a_bug_and_not_the_end(caplog):
    peer = Peer()
    peer.dispatch = lambda request, exchange: {}["secret"]  # type: ignore[method-assign]

    with caplog.at_level(logging.ERROR):
        peer.send(get("/a"))

    assert "this is a bug" in caplog.text
    assert b"secret" not in peer.wire.written


# Any bytes.


def batched(data: bytes, size: int) -> Iterable[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """`data` in pieces, none of them empty."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


PLACES = st.lists(st.integers(0, 10_000), max_size=30)
WORDS = [
    *(
        b"GET ",
        b"POST ",
        b"HEAD ",
        b"CONNECT ",
        b"/a",
        b"http://h/",
        b"*",
        b" HTTP/1.1\r\n",
        b" HTTP/1.0\r\n",
    ),
    *(b"Host: x\r\n", b"Content-Length: 3\r\n", b"Content-Length: 70000\r\n", b"Connection: close\r\n"),
    *(b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"Expect: x\r\n", b"X: y\r\n"),
    *(b"Connection: Upgrade\r\nUpgrade: h2c\r\n", b"\r\n", b"\n", b"\r", b" ", b":", b"abc", b"3\r\nabc\r\n"),
    *(b"0\r\n\r\n", b"0\r\n", b"\0", b"\xff", NEXT, post(), chunked(b"abc"), b"x" * 9000),
]


WHOLE = [
    *(get(), get("/b", method="HEAD"), get("/c", version="1.0"), get("/d", "Connection: close")),
    *(post(b"abc", "Expect: 100-continue"), post(b""), post(b"abc")[:-1], post() + NEXT),
    *(b"\r\n" + get(), get("http://h/e?f"), get("/g", "Connection: Upgrade", "Upgrade: h2c")),
    *(get("/h", "Connection: keep-alive"), chunked(b"abc"), b"\r\n\r\n" + post()),
]


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=24), places=PLACES)
def test_any_bytes_are_requests_that_were_sent_or_are_refused(words, places):
    async def main() -> None:
        peer = Peer()
        sent = b""
        for piece in cut(b"".join(words), places):
            count = len(peer.requests)
            sent += piece
            peer.send(piece)
            for request in peer.requests[count:]:
                assert_was_sent(request, sent)
        assert sent.count(b"\n") >= len(peer.requests)
        assert all(answer.status in (100, 200, 400, 417, 431) for answer in answers_without_bodies(peer))

    run(main())


def assert_was_sent(request: HttpRequest, sent: bytes) -> None:
    assert request.method.encode() in sent
    assert request.path.encode("latin-1") in sent or request.path == "/"
    if "content-length" in request.headers and "upgrade" not in request.headers:
        assert len(request.body) == int(request.headers["content-length"])
    if "transfer-encoding" not in request.headers:
        assert bytes(request.body) in sent
    for value in request.headers.values():
        assert all(part.encode("latin-1") in sent for part in value.split(", "))


def answers_without_bodies(peer: Peer) -> list[Answer]:
    """The responses to requests of which some may be HEAD."""
    return [
        Answer(int(line.split()[1]), {}, b"")
        for line in peer.wire.written.split(b"\r\n")
        if line.startswith(b"HTTP/1.1 ")
    ]


REQUESTS = st.lists(
    st.tuples(
        st.sampled_from(["length", "chunks", "none"]),
        st.text("ab%2F~", max_size=9),
        st.lists(st.binary(min_size=1, max_size=300), max_size=4),
        st.lists(
            st.sampled_from(["X: y", "Accept-Encoding: gzip", "Expect: 100-continue"]),
            max_size=2,
            unique=True,
        ),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(described=REQUESTS, places=PLACES)
def test_requests_are_the_same_wherever_their_bytes_are_cut(described, places):
    data, expected = b"", []
    for framing, name, chunks, headers in described:
        body = b"".join(chunks)
        if framing == "length":
            data += post(body, *headers, path=f"/{name}")
        elif framing == "chunks":
            head = get(f"/{name}", "Transfer-Encoding: chunked", *headers, method="POST")
            data += head + b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
        else:
            body = b""
            data += get(f"/{name}", *headers)
        expected.append((f"/{name}", body))

    async def main() -> None:
        peer = Peer()
        peer.send(*cut(data, places))
        assert [(request.path, bytes(request.body)) for request in peer.requests] == expected
        answers = [answer for answer in peer.answers if answer.status != HTTPStatus.CONTINUE]
        assert [(answer.status, answer.body) for answer in answers] == [
            (200, path.encode()) for path, _ in expected
        ]

    run(main())


@settings(max_examples=300, deadline=None)
@given(pieces=st.lists(st.sampled_from(WORDS + WHOLE) | st.binary(min_size=1, max_size=8), max_size=12))
def test_heads_that_came_before_change_nothing(pieces):
    """Each piece is read by itself, so that a whole request is often all that is read."""

    async def main() -> None:
        heads = Heads()
        learning, knowing, fresh = Peer(heads=heads), Peer(heads=heads), Peer()
        for peer in (learning, knowing, fresh):
            peer.send(*pieces)
            assert peer.wire.written == learning.wire.written
            assert peer.wire.is_ended == learning.wire.is_ended
            assert [seen(request) for request in peer.requests] == [seen(each) for each in learning.requests]

    run(main())


def seen(request: HttpRequest) -> tuple[Any, ...]:
    body = bytes(request.body)
    return request.method, request.path, request.query, dict(request.headers), body


@on_loop
async def test_a_head_that_came_before_is_not_parsed_again():
    heads = Heads()
    first, second = Peer(heads=heads), Peer(heads=heads)
    first.send(post(b"one", "X-Own: 1", path="/a?b"))

    second.connection._parser = None  # whoever asks it fails
    second.send(post(b"two", "X-Own: 1", path="/a?b"))

    assert [seen(request) for request in second.requests] == [
        ("POST", "/a", "b", {"host": "x", "content-length": "3", "x-own": "1"}, b"two")
    ]
    assert second.answers == first.answers


@on_loop
async def test_a_known_head_without_all_of_its_body_waits_for_it():
    peer = Peer()
    whole = post(b"0123456789")
    peer.send(whole, whole[:-4])
    assert len(peer.requests) == 1
    peer.send(whole[-4:])
    assert [bytes(request.body) for request in peer.requests] == [b"0123456789"] * 2


@on_loop
async def test_known_heads_still_close_pause_and_drain():
    peer = Peer(answers_at_once=False)
    peer.send(*[get()] * (MAX_UNANSWERED + 1))
    assert peer.wire.is_reading_paused
    peer.connection.drain()
    for number in range(len(peer.requests)):
        peer.answer(number)
    assert peer.answers[-1].headers["connection"] == "close"
    assert refuses_all_that_follows(peer)


@on_loop
async def test_only_so_many_heads_are_remembered_and_none_that_are_long():
    peer = Peer()
    for number in range(MAX_REMEMBERED + 5):
        peer.send(get(f"/{number}"))
    assert 0 < len(peer.heads._remembered) <= MAX_REMEMBERED
    peer.send(get("/a", "X-Long: " + "x" * MAX_HEAD_BYTES))
    assert all(len(head) <= MAX_HEAD_BYTES for head in peer.heads._remembered)
    assert peer.paths[-1] == "/a"


@settings(max_examples=100, deadline=None)
@given(order=st.permutations(range(8)), close=st.none() | st.integers(0, 7))
def test_any_order_of_answers_is_put_right(order, close):
    """A request that closes the connection makes those behind it void."""

    async def main() -> None:
        peer = Peer(answers_at_once=False)
        peer.send(*[get(f"/{n}", *(["Connection: close"] if n == close else [])) for n in range(8)])
        count = 8 if close is None else close + 1
        assert len(peer.exchanges) == count
        for number in order:
            if number < count:
                peer.answer(number)
        assert [answer.body.decode() for answer in peer.answers] == [f"/{n}" for n in range(count)]
        assert peer.wire.is_ended is (close is not None)

    run(main())


# Over real sockets.


@asynccontextmanager
async def serving(
    *routes: Route, grace_s: float = 5.0, **changes: Any
) -> AsyncIterator[tuple[HttpTransport, int]]:
    """The gateway with `routes`, and its port."""
    transport = HttpTransport(HttpSettings(port=0, **changes), Routes(routes), OffLoop(), open_entrance())
    port = await transport.start()
    try:
        yield transport, port
    finally:
        await transport.stop(grace_s)


async def ask(port: int, data: bytes) -> list[Answer]:
    """All that is answered to `data` until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    answered = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    return answers_in(answered)


class Held:
    """An endpoint that answers when it is told to."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.route = InferenceRoute("GET", "/held", lambda request, answer: self.answers.append(answer))


def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse([bytes(request.body)])


ECHO = ControlRoute("POST", "/echo", echo)


@on_loop
async def test_requests_are_answered_over_a_socket():
    body = bytes(range(256)) * 4096
    async with serving(ECHO) as (_, port):
        first, second = await ask(
            port, post(body, path="/echo") + post(b"", "Connection: close", path="/echo")
        )

    assert (first.status, first.body) == (200, body)
    assert (second.status, second.body) == (200, b"")
    assert first.headers["date"].endswith(" GMT")


@on_loop
async def test_a_refusal_reaches_a_caller_who_is_still_sending():
    async with serving(ECHO, max_body_bytes=1024) as (_, port):
        (answer,) = await ask(port, post(b"x" * 4_000_000, path="/echo"))

    assert answer.status == 400


@on_loop
async def test_connections_beyond_the_limit_are_turned_away():
    async with serving(ECHO, max_connections=2) as (_, port):
        open_connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        await asyncio.sleep(0.05)

        (refused,) = await ask(port, b"")

        assert refused.status == 503
        assert "http.max_connections" in refused.error
        for reader, writer in open_connections:
            writer.write(post(b"x", "Connection: close", path="/echo"))
            assert answers_in(await reader.read())[0].status == 200
            writer.close()
        (answer,) = await until_answered(port, post(b"y", "Connection: close", path="/echo"))
        assert answer.body == b"y"


def reset(writer: asyncio.StreamWriter) -> None:
    """Leaves at once; a plain close could not be told from a caller who only stops sending."""
    connected = writer.get_extra_info("socket")
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def until_answered(port: int, data: bytes) -> list[Answer]:
    """As `ask`, again and again while the server is full."""
    while True:
        answers = await ask(port, data)
        if answers[0].status != 503:
            return answers
        await asyncio.sleep(0.05)


@on_loop
async def test_a_stop_waits_for_what_is_under_way_and_takes_nothing_new():
    held = Held()
    async with serving(held.route) as (transport, port):
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", port)
        asking = asyncio.create_task(ask(port, get("/held")))
        await until(lambda: held.answers)

        stopping = asyncio.create_task(transport.stop(10))
        assert await idle_reader.read() == b""
        idle_writer.close()
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        assert not stopping.done()
        held.answers[0].complete(HttpResponse([b"done"]))

        (answer,) = await asking
        assert (answer.body, answer.headers["connection"]) == (b"done", "close")
        await asyncio.wait_for(stopping, 5)


@on_loop
async def test_a_stop_ends_what_takes_too_long():
    held = Held()
    async with serving(held.route) as (transport, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/held"))
        await until(lambda: held.answers)

        await asyncio.wait_for(transport.stop(0.05), 5)

        await until(lambda: not held.answers[0].is_wanted)
        held.answers[0].complete(HttpResponse())
        writer.close()


@on_loop
async def test_a_caller_who_resets_its_connection_wants_no_answer():
    held = Held()
    async with serving(held.route) as (_, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get("/held"))
        await until(lambda: held.answers)
        assert held.answers[0].is_wanted

        reset(writer)

        await until(lambda: not held.answers[0].is_wanted)
        held.answers[0].complete(HttpResponse([b"late"]))


@on_loop
async def test_an_address_that_is_taken_is_named():
    async with serving(ECHO) as (_, port):
        second = HttpTransport(HttpSettings(port=port), Routes([ECHO]), OffLoop(), open_entrance())

        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} .*address already in use"):
            await second.start()


@on_loop
async def test_a_large_answer_arrives_whole_at_a_slow_reader():
    size = 8_000_000
    route = ControlRoute("GET", "/large", lambda request: HttpResponse([b"x" * size]))
    async with serving(route) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=16 * KIB)
        writer.write(get("/large", "Connection: close"))
        await asyncio.sleep(0.1)

        (answer,) = answers_in(await reader.read())

        writer.close()
    assert len(answer.body) == size
