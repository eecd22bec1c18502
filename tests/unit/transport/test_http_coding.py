"""Compressed requests are read within the limits, and answers compressed for those who take that."""

import asyncio
import gzip
import random
import threading
import time
import tracemalloc
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import InvalidArgument, NotFound
from headrace.transport.http import coding as coding_module
from headrace.transport.http.coding import (
    LARGE_BYTES,
    LEAST_COMPRESSED_BYTES,
    MAX_MEMBERS,
    Coding,
    best_coding,
    inflate,
)
from headrace.transport.http.messages import Answer, HttpRequest, HttpResponse, error_response
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import ControlRoute, InferenceRoute, Route
from support.answers import RecordedAnswer
from support.loops import run, until

LIMIT = 1 << 20
TEXT = b"what is compressed, and read again" * 20
# Does not get smaller.
NOISE = random.Random(0).randbytes(2 * LARGE_BYTES)


def deflated(data: bytes) -> bytes:
    return zlib.compress(data)


def raw(data: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-15)
    return deflating.compress(data) + deflating.flush()


class Endpoint:
    """Notes the requests that get through, and answers them with `body`."""

    def __init__(self, *body: Any) -> None:
        self.bodies: list[bytes] = []
        self.answers: list[Answer] = []
        self._response = HttpResponse(body, headers=(("X-Own", "1"),), may_be_coded=True)

    def respond(self, route: Route, request: HttpRequest, answer: Answer) -> None:
        self.bodies.append(bytes(request.body))
        self.answers.append(answer)
        answer.complete(self._response)


READS_ALL = InferenceRoute("POST", "/", lambda request, answer: None)
READS_LITTLE = ControlRoute("POST", "/", lambda request: HttpResponse(), max_body_bytes=len(TEXT) - 1)
READS_NOTHING = ControlRoute("POST", "/", lambda request: HttpResponse())


def send(
    body: bytes = b"",
    endpoint: Endpoint | None = None,
    limit: int = LIMIT,
    route: Route = READS_ALL,
    **headers: str,
) -> tuple[Endpoint, RecordedAnswer]:
    """Sends `body` with `headers`, whose names have _ for -."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    endpoint, answer = endpoint or Endpoint(b"answer"), RecordedAnswer()
    request = HttpRequest("POST", "/", "", named, body, 0)
    Coding(limit, OffLoop(), endpoint.respond).decode(route, request, answer)
    return endpoint, answer


def sent_body(answer: RecordedAnswer) -> bytes:
    (response,) = answer.responses
    return b"".join(bytes(part) for part in response.body)


# Requests.


@pytest.mark.parametrize(
    ("coding", "compressed"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("x-gzip", gzip.compress(TEXT)),
        (" GZip ", gzip.compress(TEXT)),
        ("deflate", deflated(TEXT)),
        ("deflate", raw(TEXT)),
        ("gzip", gzip.compress(TEXT[:9]) + gzip.compress(b"") + gzip.compress(TEXT[9:])),
        ("gzip", gzip.compress(TEXT, compresslevel=0)),
    ],
    ids=["none", "identity", "gzip", "x-gzip", "case", "zlib", "raw", "members", "stored"],
)
def test_a_request_is_handed_on_as_it_was_before_it_was_compressed(coding, compressed):
    endpoint, answer = send(compressed, content_encoding=coding)

    assert endpoint.bodies == [TEXT]
    assert sent_body(answer) == b"answer"


def test_a_body_that_its_endpoint_does_not_read_is_not_decompressed():
    for coding in ("gzip", "br"):
        endpoint, _ = send(b"whatever", route=READS_NOTHING, content_encoding=coding)

        assert endpoint.bodies == [b"whatever"]


def test_no_more_is_decompressed_than_the_endpoint_reads():
    endpoint, answer = send(gzip.compress(TEXT), route=READS_LITTLE, content_encoding="gzip")

    assert endpoint.bodies == []
    assert f"larger than the {len(TEXT) - 1} bytes that are allowed here" in str(answer.errors[0])


def test_a_request_without_a_coding_is_handed_on_as_it_is():
    endpoint, _ = send(gzip.compress(TEXT))

    assert endpoint.bodies == [gzip.compress(TEXT)]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_empty_body_is_empty(coding):
    assert send(b"", content_encoding=coding)[0].bodies == [b""]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_body_may_be_any_buffer(kind):
    assert inflate(kind(gzip.compress(TEXT)), "gzip", LIMIT) == TEXT


@pytest.mark.parametrize(
    "coding", ["br", "zstd", "compress", "gzip, gzip", "gzip,deflate", "gzip;q=1", "\xe9"]
)
def test_a_coding_that_is_not_known_is_refused_with_those_that_are(coding):
    endpoint, answer = send(TEXT, content_encoding=coding)

    assert endpoint.bodies == []
    response = error_response(answer.errors[0])
    assert response.status == 501
    assert response.headers == (("Accept-Encoding", "gzip, deflate"),)
    assert coding.lower() in str(answer.errors[0])


WHOLE = {"gzip": gzip.compress(TEXT), "zlib": deflated(TEXT), "raw": raw(TEXT)}
BROKEN = {
    **{f"{name}, broken off": data[:-1] for name, data in WHOLE.items()},
    **{f"{name}, half": data[: len(data) // 2] for name, data in WHOLE.items()},
    **{f"{name}, with garbage behind": data + b"garbage" for name, data in WHOLE.items()},
    **{f"{name}, with zeros behind": data + bytes(8) for name, data in WHOLE.items()},
    "gzip, no more than a header": WHOLE["gzip"][:10],
    "gzip, second member broken off": WHOLE["gzip"] + WHOLE["gzip"][:12],
    "gzip, wrong checksum": WHOLE["gzip"][:-8] + bytes(4) + WHOLE["gzip"][-4:],
    "gzip, wrong length": WHOLE["gzip"][:-4] + bytes(4),
    "gzip, wrong method": b"\x1f\x8b\x07" + WHOLE["gzip"][3:],
    "zlib twice": deflated(TEXT) * 2,
    "zlib, wrong checksum": deflated(TEXT)[:-4] + bytes(4),
    "zlib with a dictionary": b"\x78\xbb\x00\x00\x00\x01" + raw(TEXT),
    "gzip, but it is text": TEXT,
    "zlib, but it is text": TEXT,
    "zlib, but it is gzip": gzip.compress(TEXT),
    "gzip, but it is zlib": deflated(TEXT),
    "zlib, one byte": b"x",
}


@pytest.mark.parametrize(("name", "data"), BROKEN.items(), ids=BROKEN)
def test_a_broken_body_is_refused(name, data):
    coding = "gzip" if name.startswith("gzip") else "deflate"

    endpoint, answer = send(data, content_encoding=coding)

    assert endpoint.bodies == []
    (error,) = answer.errors
    assert isinstance(error, InvalidArgument)
    assert f"the request's body is not valid {coding}" in str(error)


@pytest.mark.parametrize(
    ("coding", "compressed"),
    [
        ("gzip", gzip.compress(bytes(LIMIT + 1))),
        ("gzip", gzip.compress(bytes(LIMIT)) + gzip.compress(b"x")),
        ("gzip", gzip.compress(bytes(LIMIT // 8)) * 9),
        ("deflate", deflated(bytes(LIMIT + 1))),
        ("deflate", raw(bytes(LIMIT + 1))),
        ("deflate", deflated(bytes(3 * LIMIT))),
    ],
    ids=["gzip", "second member", "members", "zlib", "raw", "far more"],
)
def test_the_limit_is_on_what_comes_out(coding, compressed):
    assert len(compressed) < LARGE_BYTES

    endpoint, answer = send(compressed, content_encoding=coding)

    assert endpoint.bodies == []
    assert isinstance(answer.errors[0], InvalidArgument)
    assert f"larger than the {LIMIT} bytes that are allowed here (http.max_body_bytes" in str(
        answer.errors[0]
    )


@pytest.mark.parametrize(
    ("coding", "compressed"),
    [
        ("gzip", gzip.compress(bytes(LIMIT))),
        ("gzip", gzip.compress(bytes(LIMIT)) + gzip.compress(b"")),
        ("deflate", deflated(bytes(LIMIT))),
        ("deflate", raw(bytes(LIMIT))),
    ],
    ids=["gzip", "members", "zlib", "raw"],
)
def test_a_body_of_exactly_the_limit_is_taken(coding, compressed):
    assert inflate(compressed, coding, LIMIT) == bytes(LIMIT)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_bomb_takes_no_more_memory_than_the_limit(coding):
    bomb = gzip.compress(bytes(50 * LIMIT), 9) if coding == "gzip" else zlib.compress(bytes(50 * LIMIT), 9)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArgument, match="larger than the"):
            inflate(bomb, coding, LIMIT)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < 4 * LIMIT


@pytest.mark.parametrize("count", [MAX_MEMBERS + 1, 100_000])
def test_a_body_of_too_many_members_is_refused_at_once(count):
    """What follows a member is copied for each: millions of empty ones would take hours."""
    body = gzip.compress(b"") * count
    started = time.process_time()

    with pytest.raises(InvalidArgument, match=f"more than {MAX_MEMBERS} members"):
        inflate(body, "gzip", LIMIT)

    assert time.process_time() - started < 1


def test_a_body_of_as_many_members_as_allowed_is_read():
    assert inflate(gzip.compress(b"ab") * MAX_MEMBERS, "gzip", LIMIT) == b"ab" * MAX_MEMBERS


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=200), coding=st.sampled_from(["gzip", "deflate"]), place=st.integers(0, 300))
def test_any_bytes_are_read_or_refused(data, coding, place):
    spoilt = bytearray(gzip.compress(data) if coding == "gzip" else deflated(data))
    spoilt[place % len(spoilt)] ^= 1 + place % 255
    for body in (data, bytes(spoilt)):
        try:
            assert isinstance(inflate(body, coding, 1000), bytes)
        except InvalidArgument as error:
            assert "the request's body is" in str(error)


def test_a_large_body_is_not_inflated_on_the_loop(monkeypatch):
    threads = []

    def watched(*arguments: Any) -> bytes:
        threads.append(threading.current_thread())
        return inflate(*arguments)

    monkeypatch.setattr(coding_module, "inflate", watched)

    async def main() -> None:
        small, _ = send(gzip.compress(TEXT), content_encoding="gzip")
        assert small.bodies == [TEXT]
        large, answer = send(gzip.compress(NOISE), content_encoding="gzip")
        assert large.bodies == []
        await until(lambda: answer.responses)
        assert large.bodies == [NOISE]

    run(main())

    assert threads[0] is threading.main_thread()
    assert threads[1] is not threading.main_thread()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_large_body_is_refused_as_a_small_one_is(coding):
    async def main() -> None:
        whole = gzip.compress(NOISE) if coding == "gzip" else deflated(NOISE)
        for body, limit, text in ((whole[:-1], LIMIT, f"not valid {coding}"), (whole, 1000, "larger than")):
            endpoint, answer = send(body, limit=limit, content_encoding=coding)
            await until(lambda answer=answer: answer.errors)
            assert endpoint.bodies == []
            assert text in str(answer.errors[0])

    run(main())


# Answers.


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0.5,deflate ; q=0.5", "gzip"),
        ("br;q=1, gzip;q=0.1", "gzip"),
        ("gzip;q=0", ""),
        ("gzip;q=0.000, deflate;q=0", ""),
        ("gzip;q=0, deflate;q=0.001", "deflate"),
        ("gzip;q=", ""),
        ("gzip;q=high", ""),
        ("gzip;q=nan", ""),
        ("gzip;q=-1", ""),
        ("identity", ""),
        ("identity;q=1, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip;q=1", "gzip"),
        ("br, zstd", ""),
        ("gzipped", ""),
        (",,;,;q=1,", ""),
        ("gzip;level=9", "gzip"),
    ],
)
def test_the_coding_that_a_caller_likes_best(accepted, coding):
    assert best_coding(accepted) == coding


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=30) | st.text("gzip,;q=. 01", max_size=30))
def test_any_text_is_a_list_of_codings(accepted):
    assert best_coding(accepted) in ("", "gzip", "deflate")


LONG = b"a long answer " * 200
READERS = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_is_compressed_for_who_takes_it(coding):
    parts = [LONG[:100], memoryview(bytearray(LONG[100:200])), LONG[200:]]

    _, answer = send(endpoint=Endpoint(*parts), accept_encoding=coding)

    assert len(sent_body(answer)) < len(LONG)
    assert READERS[coding](sent_body(answer)) == LONG
    assert dict(answer.responses[0].headers) == {
        "X-Own": "1",
        "Content-Encoding": coding,
        "Vary": "Accept-Encoding",
    }


def test_tensors_of_any_type_are_compressed():
    numbers = memoryview(bytes(range(256)) * 16).cast("d")

    _, answer = send(endpoint=Endpoint(numbers), accept_encoding="gzip")

    assert gzip.decompress(sent_body(answer)) == bytes(range(256)) * 16


@pytest.mark.parametrize("accepted", [None, "", "gzip;q=0", "br", "identity"])
def test_an_answer_is_sent_as_it_is_to_everybody_else(accepted):
    headers = {} if accepted is None else {"accept_encoding": accepted}

    _, answer = send(endpoint=Endpoint(LONG), **headers)

    assert sent_body(answer) == LONG
    assert answer.responses[0].headers == (("X-Own", "1"),)


@pytest.mark.parametrize("change", [-1, 0])
def test_only_an_answer_of_some_size_is_compressed(change):
    body = b"x" * (LEAST_COMPRESSED_BYTES + change)

    _, answer = send(endpoint=Endpoint(body), accept_encoding="gzip")

    is_compressed = ("Content-Encoding", "gzip") in answer.responses[0].headers
    assert is_compressed is (change == 0)
    assert (gzip.decompress(sent_body(answer)) if is_compressed else sent_body(answer)) == body


@pytest.mark.parametrize("body", [(), (b"",), (b"", b"x", memoryview(b""))])
def test_parts_may_be_empty(body):
    _, answer = send(endpoint=Endpoint(*body), accept_encoding="gzip")

    assert sent_body(answer) == b"".join(body)


def test_an_answer_without_content_may_be_shared():
    """Some answers are one object for all requests."""
    endpoint = Endpoint()

    for _ in range(3):
        _, answer = send(endpoint=endpoint, accept_encoding="gzip")

    assert answer.responses[0].headers == (("X-Own", "1"),)


def test_an_answer_that_may_not_be_compressed_is_sent_as_it_is():
    endpoint = Endpoint()
    endpoint.respond = lambda route, request, answer: answer.complete(HttpResponse([LONG]))  # type: ignore[method-assign]

    _, answer = send(endpoint=endpoint, accept_encoding="gzip")

    assert sent_body(answer) == LONG
    assert answer.responses[0].headers == ()


def test_an_error_is_sent_as_it_is():
    endpoint = Endpoint()
    endpoint.respond = lambda route, request, answer: answer.fail(NotFound("x" * 5000))  # type: ignore[method-assign]

    _, answer = send(endpoint=endpoint, accept_encoding="gzip")

    assert str(answer.errors[0]) == "x" * 5000


def test_whether_the_caller_still_waits_can_be_told_through_a_coding():
    endpoint, answer = send(accept_encoding="gzip")
    (given,) = endpoint.answers

    assert given.is_wanted
    answer.is_wanted = False
    assert not given.is_wanted


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_large_answer_is_not_compressed_on_the_loop(coding):
    async def main() -> None:
        _, answer = send(endpoint=Endpoint(NOISE, b"x" * 100_000), accept_encoding=coding)
        assert answer.responses == []
        await until(lambda: answer.responses)
        assert READERS[coding](sent_body(answer)) == NOISE + b"x" * 100_000
        assert ("Content-Encoding", coding) in answer.responses[0].headers

    run(main())


def test_request_and_answer_may_both_be_compressed():
    async def main() -> None:
        endpoint = Endpoint(NOISE)
        _, answer = send(
            deflated(NOISE), endpoint, content_encoding="deflate", accept_encoding="gzip, deflate;q=0.5"
        )
        await until(lambda: answer.responses)
        assert endpoint.bodies == [NOISE]
        assert gzip.decompress(sent_body(answer)) == NOISE

    run(main())


def test_large_bodies_of_many_callers_are_each_callers_own():
    async def main() -> None:
        bodies = [bytes([number]) * (LARGE_BYTES + 1) for number in range(8)]
        sent = [send(endpoint=Endpoint(body), accept_encoding="gzip")[1] for body in bodies]
        await until(lambda: all(answer.responses for answer in sent))
        assert [gzip.decompress(sent_body(answer)) for answer in sent] == bodies
        await asyncio.sleep(0)

    run(main())
