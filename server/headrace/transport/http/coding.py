"""Content codings: compressed requests are read, and answers compressed where the caller takes that."""

import zlib
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import TypeAlias

from headrace.core.caller import Caller
from headrace.core.tensor import Buffer
from headrace.errors import HeadraceError, InvalidArgument
from headrace.transport.http.messages import Answer, HttpError, HttpRequest, HttpResponse
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import Route

# A window of 15 bits, with gzip's header, zlib's header ("deflate" of RFC 9110), or none (as some send it).
_GZIP, _ZLIB, _RAW = 31, 15, -15
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}
_ACCEPTED = "gzip, deflate"
_CHOICES = ("gzip", "deflate", "identity")

# Answers of fewer bytes are sent as they are; what is larger than the other is not worked on by the loop.
LEAST_COMPRESSED_BYTES = 1024
LARGE_BYTES = 64 * 1024
# Of what is compressed, which may be a thousand times as much.
SMALL_CODED_BYTES = 4096
LEVEL = 1
# Of a gzip body: for each of them, what follows it is copied.
MAX_MEMBERS = 16

Respond: TypeAlias = Callable[[Route, HttpRequest, Answer], None]


class Coding:
    """Stands between the connections and the endpoints; `respond` has one of these answer a request."""

    def __init__(self, max_body_bytes: int, off_loop: OffLoop, respond: Respond) -> None:
        self._max_body_bytes = max_body_bytes
        self._off_loop = off_loop
        self._respond = respond

    def decode(self, route: Route, request: HttpRequest, answer: Answer) -> None:
        """Has `route` answer the request with its body as it was before it was coded; never raises.

        A body that the route passes over is left as it is.
        """
        accepted = request.headers.get("accept-encoding")
        if accepted is not None and (coding := best_coding(accepted)):
            answer = _CodedAnswer(answer, coding, self._off_loop, request.caller)
        coding = request.headers.get("content-encoding", "").strip().lower()
        if coding in ("", "identity") or not route.max_body_bytes:
            self._respond(route, request, answer)
        elif coding not in _WINDOWS:
            answer.fail(_unknown(coding))
        elif len(request.body) <= SMALL_CODED_BYTES:
            self._inflate_now(route, request, coding, answer)
        else:
            self._inflate_off_loop(route, request, coding, answer)

    def _inflate_now(self, route: Route, request: HttpRequest, coding: str, answer: Answer) -> None:
        try:
            request.body = inflate(request.body, coding, self._limit(route))
        except HeadraceError as error:
            answer.fail(error)
            return
        self._respond(route, request, answer)

    def _inflate_off_loop(self, route: Route, request: HttpRequest, coding: str, answer: Answer) -> None:
        def go_on(body: bytes) -> None:
            request.body = body
            self._respond(route, request, answer)

        body, limit = request.body, self._limit(route)
        self._off_loop.run(request.caller, answer, lambda: inflate(body, coding, limit), go_on)

    def _limit(self, route: Route) -> int:
        return min(route.max_body_bytes, self._max_body_bytes)


def inflate(data: Buffer, coding: str, limit: int) -> bytes:
    """What `data` was before it was compressed; InvalidArgument where it is broken or of more than `limit`
    bytes.
    """
    try:
        return _inflate(data, _WINDOWS[coding], limit)
    except zlib.error as error:
        if coding == "deflate":
            try:
                return _inflate(data, _RAW, limit)
            except zlib.error:
                pass
        raise InvalidArgument(f"the request's body is not valid {coding}: {error}") from None


def best_coding(accepted: str) -> str:
    """The coding that the Accept-Encoding header `accepted` likes best, "" for none (RFC 9110 §12.5.3)."""
    best, best_weight = "", 0.0
    for item in accepted.lower().split(","):
        name, _, parameter = item.partition(";")
        name = name.strip()
        weight = _weight(parameter)
        if name in _CHOICES and weight > best_weight:
            best, best_weight = name, weight
    return "" if best == "identity" else best


class _CodedAnswer:
    """Compresses a response on its way."""

    __slots__ = ("_answer", "_caller", "_coding", "_off_loop")

    def __init__(self, answer: Answer, coding: str, off_loop: OffLoop, caller: Caller) -> None:
        self._answer = answer
        self._coding = coding
        self._off_loop = off_loop
        self._caller = caller

    @property
    def is_wanted(self) -> bool:
        return self._answer.is_wanted

    def complete(self, response: HttpResponse) -> None:
        byte_size = sum(memoryview(part).nbytes for part in response.body)
        if byte_size < LEAST_COMPRESSED_BYTES or not response.may_be_coded:
            self._answer.complete(response)
        elif byte_size <= LARGE_BYTES:
            self._send(response, _deflate(response.body, self._coding))
        else:
            body, coding = response.body, self._coding
            self._off_loop.run(
                self._caller,
                self._answer,
                lambda: _deflate(body, coding),
                lambda coded: self._send(response, coded),
            )

    def fail(self, error: HeadraceError) -> None:
        self._answer.fail(error)

    def _send(self, response: HttpResponse, body: bytes) -> None:
        response.body = (body,)
        response.headers += (("Content-Encoding", self._coding), ("Vary", "Accept-Encoding"))
        self._answer.complete(response)


def _inflate(data: Buffer, window_bits: int, limit: int) -> bytes:
    """gzip's members may follow each other; the limit is on what they hold together."""
    parts: list[bytes] = []
    left, rest = limit, bytes(data)
    while rest:
        if len(parts) == MAX_MEMBERS:
            raise zlib.error(f"it has more than {MAX_MEMBERS} members")
        inflating = zlib.decompressobj(window_bits)
        part = inflating.decompress(rest, left + 1)
        left -= len(part)
        if left < 0:
            raise InvalidArgument(
                f"the request's body is larger than the {limit} bytes that are allowed here "
                "(http.max_body_bytes at most) once it is decompressed"
            )
        if not inflating.eof:
            raise zlib.error("it breaks off")
        parts.append(part)
        rest = inflating.unused_data
        if rest and window_bits != _GZIP:
            raise zlib.error("something follows its end")
    return b"".join(parts)


def _deflate(body: Sequence[Buffer], coding: str) -> bytes:
    deflating = zlib.compressobj(LEVEL, wbits=_WINDOWS[coding])
    return b"".join([*[deflating.compress(part) for part in body], deflating.flush()])


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    if name != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _unknown(coding: str) -> HttpError:
    """501 and what would do, as Triton answers."""
    return HttpError(
        HTTPStatus.NOT_IMPLEMENTED,
        f"the content coding '{coding}' is not known: expected one of {_ACCEPTED}",
        headers=(("Accept-Encoding", _ACCEPTED),),
    )
