"""What a record says of an event: bounded, and free of what a database or a reader would stumble over."""

import hashlib
import json
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from headrace.security.audit.event import AuditEvent

MAX_NAME = 256
MAX_REASON = 1024
MAX_ROLES = 64
MAX_VALUE_BYTES = 16 * 1024

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Content(NamedTuple):
    """A record's fields, less those that tie it to its chain; with `repeats` it is of that many events."""

    time: str
    action: str
    caller: str
    proof: str
    address: str
    roles: tuple[str, ...]
    model: str
    version: str
    is_allowed: bool
    outcome: str
    reason: str
    old: object
    new: object
    repeats: int


def content_of(event: AuditEvent, repeats: int = 0) -> Content:
    """`event` as of now; what is changed in its `old` and `new` later makes no difference."""
    caller = event.caller
    return Content(
        _now(),
        _text(event.action),
        _text(caller.name),
        caller.proof.value,
        _text(caller.address),
        _roles(caller.roles),
        _text(event.model),
        _text(event.version),
        event.is_allowed,
        _text(event.outcome),
        _text(event.reason, MAX_REASON),
        _value(event.old),
        _value(event.new),
        repeats,
    )


def canonical(value: object) -> str:
    """The one form of `value` as JSON: ASCII, keys sorted, no spaces."""
    return _canonical(value)


def timestamp(point: datetime) -> str:
    """A point in UTC as records have it: of one length, so that texts sort as times do."""
    return point.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _now() -> str:
    """As `timestamp` has it, at a tenth of the cost: it is asked for on the event loop."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{_second(seconds)}.{nanoseconds // 1000:06d}Z"


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()


@lru_cache(maxsize=256)
def _roles(roles: frozenset[str]) -> tuple[str, ...]:
    return tuple(_text(role) for role in sorted(roles)[:MAX_ROLES])


def _text(text: str, limit: int = MAX_NAME) -> str:
    """At most `limit` characters; NUL, where SQLite ends some texts, and lone surrogates are spelt out."""
    if len(text) <= limit and text.isascii() and "\0" not in text:
        return text
    text = text[: limit + 1].replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _value(value: object) -> object:
    """Through JSON and back, so that what is read later has the same canonical form; large ones by digest."""
    if value is None:
        return None
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
        value = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return {"unreadable": type(value).__name__}
    encoded = canonical(value).encode()
    if len(encoded) <= MAX_VALUE_BYTES:
        return value
    return {"sha256": hashlib.sha256(encoded).hexdigest(), "bytes": len(encoded)}
