"""The error tree: what can go wrong with a request or a model, each class with its gRPC status."""

import os
import socket
from enum import IntEnum


class Status(IntEnum):
    """The gRPC status codes; the numbers are those of the gRPC specification (statuscodes.md)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class HeadraceError(Exception):
    """Any error that a caller is told about; `str(error)` is the message on the wire."""

    status = Status.UNKNOWN


class InvalidArgument(HeadraceError):
    """The request contradicts what the model or the protocol declares."""

    status = Status.INVALID_ARGUMENT


class NotFound(HeadraceError):
    """No such model, version or service."""

    status = Status.NOT_FOUND


class Unavailable(HeadraceError):
    """Not now: a full queue, a model that is not ready, a server that is stopping."""

    status = Status.UNAVAILABLE


class Unimplemented(HeadraceError):
    """The protocol knows it, this server does not do it."""

    status = Status.UNIMPLEMENTED


class Internal(HeadraceError):
    """The server or the model failed; the request may have been fine."""

    status = Status.INTERNAL


class DeadlineExceeded(HeadraceError):
    """The caller's deadline passed before there was an answer."""

    status = Status.DEADLINE_EXCEEDED


class Cancelled(HeadraceError):
    """The caller left."""

    status = Status.CANCELLED


class AlreadyExists(HeadraceError):
    """It is there already."""

    status = Status.ALREADY_EXISTS


class FailedPrecondition(HeadraceError):
    """Not in the state that it is in."""

    status = Status.FAILED_PRECONDITION


class ResourceExhausted(HeadraceError):
    """Over a limit that the server sets."""

    status = Status.RESOURCE_EXHAUSTED


class LimitExceeded(ResourceExhausted):
    """A caller or a model has had its share; `reason` is the metric's, `retry_after_s` when to come again."""

    def __init__(self, message: str, reason: str = "rate_limit", retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Unauthenticated(HeadraceError):
    """Nobody knows who calls."""

    status = Status.UNAUTHENTICATED


class PermissionDenied(HeadraceError):
    """The caller is known, and may not do this."""

    status = Status.PERMISSION_DENIED


class QueueFull(Unavailable):
    """The model's queue holds as many requests as it may."""


class QueueTimeout(Unavailable):
    """The request waited in the queue for longer than its queue policy allows."""


class ExecutionFailed(Internal):
    """The model raised while it executed a batch."""


class OutputMismatch(ExecutionFailed):
    """The model answered with something that is not the output it declares."""


class WorkerLost(Unavailable):
    """The worker that held the batch died or hung; the request may be tried again."""


class ConfigError(HeadraceError):
    """A setting or a model's configuration is wrong; names file, field, value and expectation."""

    status = Status.INVALID_ARGUMENT


class LoadError(HeadraceError):
    """A model's version could not be loaded."""

    status = Status.INVALID_ARGUMENT


def listen_reason(error: OSError) -> str:
    """Why a port cannot be listened on, in the system's words: asyncio adds what our own message says."""
    if error.errno is None or isinstance(error, socket.gaierror):
        return str(error.strerror or error).lower()
    return os.strerror(error.errno).lower()
