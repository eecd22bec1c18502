"""Heads of requests that came before: most callers send the same again and again, and reading one takes more
calls from the parser than all the rest of a small request (benchmarks/gateway).
"""

from collections.abc import Mapping
from dataclasses import dataclass

MAX_REMEMBERED = 1024
MAX_HEAD_BYTES = 2048

_END = b"\r\n\r\n"


@dataclass(slots=True)
class Head:
    """What a head says; all of its kind keep their connection open. `body_bytes` follow it.

    It `is_plain` once it was found that only the endpoint has anything to do with it.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    head_bytes: int
    body_bytes: int
    is_plain: bool = False


class Heads:
    """Remembers heads by their bytes, to the letter: what they said once, they say again."""

    def __init__(self) -> None:
        self._remembered: dict[bytes, Head] = {}

    def find(self, data: bytes) -> Head | None:
        """The head with which `data` begins, where that is known and `data` is this request and no more."""
        head_bytes = data.find(_END) + len(_END)
        head = self._remembered.get(data[:head_bytes])
        return head if head is not None and head_bytes + head.body_bytes == len(data) else None

    def remember(
        self, data: bytes, method: str, path: str, query: str, headers: Mapping[str, str], body_bytes: int
    ) -> None:
        """Remembers the head of `data`, where that is one request and no more."""
        head_bytes = data.find(_END) + len(_END)
        if head_bytes + body_bytes != len(data) or head_bytes > MAX_HEAD_BYTES:
            return
        if len(self._remembered) >= MAX_REMEMBERED:
            self._remembered.clear()
        self._remembered[data[:head_bytes]] = Head(method, path, query, headers, head_bytes, body_bytes)
