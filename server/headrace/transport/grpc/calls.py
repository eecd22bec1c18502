"""What a gRPC transport and a method know of each other: bytes, deadlines and metadata, never tensors."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from headrace.core.caller import Caller
from headrace.errors import HeadraceError

METHOD_NOT_FOUND = "Method not found!"
NO_MESSAGE = "the call ended before its request message"

# A header block carries it percent-encoded, up to three times as long, and clients take 8 KiB of headers.
MAX_STATUS_MESSAGE_BYTES = 2048


class Call(Protocol):
    """One call as its transport knows it. Times are points on `time.monotonic_ns`."""

    @property
    def arrived_ns(self) -> int: ...

    @property
    def deadline_ns(self) -> int | None: ...

    @property
    def peer(self) -> str: ...

    @property
    def caller(self) -> Caller:
        """Unauthenticated where a stream's caller has lost what it has shown since."""
        ...

    def metadata(self, key: str) -> str | None:
        """The first value that the caller sent for the lower-case `key`."""
        ...


class Answer(Protocol):
    """Where a unary call waits. Exactly one of `complete` and `fail` is called, once, on the event loop."""

    @property
    def is_wanted(self) -> bool:
        """False once the caller has left."""
        ...

    def complete(self, data: bytes) -> None: ...

    def fail(self, error: HeadraceError) -> None: ...


class Stream(Protocol):
    """The transport's side of a streaming call.

    Nothing sent after `finish` or `fail`, or after the caller left, goes anywhere: it is no error to try.
    """

    def send(self, data: bytes) -> None:
        """Sends one message, or keeps it where the caller reads too slowly: see `pause_writing`."""
        ...

    def finish(self) -> None:
        """Ends the call well, once all that was sent has left."""
        ...

    def fail(self, error: HeadraceError) -> None:
        """Ends the call with a status, once all that was sent has left."""
        ...

    def pause_reading(self) -> None:
        """No `receive` from now on until `resume_reading`; the caller is held up by flow control."""
        ...

    def resume_reading(self) -> None: ...


class StreamHandler(Protocol):
    """The method's side of a streaming call; every call comes on the event loop and returns at once.

    What it raises ends the call: a HeadraceError with its status, anything else as an internal error.
    """

    def receive(self, data: bytes) -> None: ...

    def receive_end(self) -> None:
        """The caller will send no more; it still waits for answers."""
        ...

    def pause_writing(self) -> None:
        """The caller reads too slowly: send no more than what is under way."""
        ...

    def resume_writing(self) -> None: ...

    def drain(self) -> None:
        """The server stops: answer what was received, then end the call."""
        ...

    def close(self) -> None:
        """The call is over, whoever ended it; always the last call, and made once."""
        ...


@dataclass(frozen=True, slots=True)
class ControlMethod:
    """A unary method that answers with bytes, or with an awaitable of them where it has to wait."""

    path: str
    handle: Callable[[bytes, Call], bytes | Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class InferenceMethod:
    """A unary method that answers later, by callback: it needs no task; `submit` never raises."""

    path: str
    submit: Callable[[bytes, Call, Answer], None]


@dataclass(frozen=True, slots=True)
class StreamMethod:
    """A method with a stream of messages in, out, or both."""

    path: str
    open: Callable[[Call, Stream], StreamHandler]


Method: TypeAlias = ControlMethod | InferenceMethod | StreamMethod


def status_message(error: HeadraceError) -> str:
    """The message of a status: valid UTF-8, and short enough for the header block that carries it."""
    data = str(error).encode("utf-8", "replace")
    if len(data) <= MAX_STATUS_MESSAGE_BYTES:
        return data.decode()
    return data[: MAX_STATUS_MESSAGE_BYTES - 3].decode("utf-8", "ignore") + "…"
