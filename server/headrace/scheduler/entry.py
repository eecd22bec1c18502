"""What waits in a queue: a request, held against its model."""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from headrace.core.caller import STRANGER
from headrace.core.request import InferenceRequest, Reply
from headrace.core.tensor import Buffer
from headrace.scheduler.standing import Standing, Standings

# A tensor's bytes, or for BYTES its elements where they were read when the request was admitted.
EntryData: TypeAlias = Buffer | list[str]

_NOT_QUEUED = Standings().of(STRANGER)


@dataclass(slots=True, eq=False)
class Entry:
    """A waiting request. `data` and `shapes` (as the graph sees them, without the batch dimension) follow the
    model's inputs, None where an optional one is missing; `outputs` names what to compute, in answer order.

    Entries of one `line` can share a batch. `expires_ns` is the end of its time in the queue, or None.
    `standing` is its caller's in the queue's level.
    """

    request: InferenceRequest
    reply: Reply
    data: tuple[EntryData | None, ...]
    shapes: tuple[tuple[int, ...] | None, ...]
    outputs: tuple[str, ...]
    rows: int
    line: Hashable
    level: int = 0
    queued_ns: int = 0
    expires_ns: int | None = None
    is_waiting: bool = True
    is_delayed: bool = False
    standing: Standing = _NOT_QUEUED
