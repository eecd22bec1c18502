"""One request's place among the responses of its connection, and the bytes of its response."""

from functools import lru_cache
from http import HTTPStatus
from typing import Protocol

from headrace.core.tensor import Buffer
from headrace.errors import HeadraceError
from headrace.transport.http.messages import HttpResponse, error_response

_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus
}


class Connection(Protocol):
    """Where the response leaves."""

    @property
    def is_lost(self) -> bool: ...

    def answer(self, exchange: "Exchange", response: HttpResponse) -> None: ...


class Exchange:
    """It is its own `messages.Answer`; `response` is what waits for those before it."""

    __slots__ = ("_connection", "head_only", "is_http_10", "keeps_alive", "response")

    def __init__(
        self,
        connection: Connection,
        keeps_alive: bool = False,
        head_only: bool = False,
        is_http_10: bool = False,
    ) -> None:
        self._connection = connection
        self.keeps_alive = keeps_alive
        self.head_only = head_only
        self.is_http_10 = is_http_10
        self.response: HttpResponse | None = None

    @property
    def is_wanted(self) -> bool:
        """False once the caller has left."""
        return self.response is None and not self._connection.is_lost

    def complete(self, response: HttpResponse) -> None:
        if self.is_wanted:
            self._connection.answer(self, response)

    def fail(self, error: HeadraceError) -> None:
        self.complete(error_response(error))

    def encode(self, response: HttpResponse, date: bytes) -> list[Buffer]:
        """`response` as it is sent; `date` is its line of the head."""
        byte_size = sum([part.nbytes if type(part) is memoryview else len(part) for part in response.body])
        connection = ""
        if not self.keeps_alive:
            connection = "Connection: close\r\n"
        elif self.is_http_10:
            connection = "Connection: keep-alive\r\n"
        kind = response.content_type if byte_size else ""
        parts: list[Buffer] = [
            _STATUS_LINES[response.status],
            date,
            _head(kind, byte_size, response.headers, connection),
        ]
        if not self.head_only:
            parts.extend(response.body)
        return parts


@lru_cache(maxsize=1024)
def _head(content_type: str, byte_size: int, headers: tuple[tuple[str, str], ...], connection: str) -> bytes:
    """Remembered, as the answers of a model are much alike (benchmarks/gateway)."""
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    others = "".join([f"{name}: {value}\r\n" for name, value in headers])
    return f"{kind}Content-Length: {byte_size}\r\n{others}{connection}\r\n".encode("latin-1")
