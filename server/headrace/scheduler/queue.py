"""Where requests wait: one line per input shape and priority, bounded, first in first out."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import TypeAlias

from headrace.core.request import InferenceRequest, Reply
from headrace.core.tensor import Buffer
from headrace.errors import QueueFull
from headrace.repository.config import QueuePolicy, TimeoutAction

# A tensor's bytes, or for BYTES its elements where they were read when the request was admitted.
EntryData: TypeAlias = Buffer | list[str]

SWEEP_INTERVAL_NS = 10_000_000


@dataclass(slots=True, eq=False)
class Entry:
    """A waiting request. `data` and `shapes` (as the graph sees them, without the batch dimension) follow the
    model's inputs, None where an optional one is missing; `outputs` names what to compute, in answer order.

    Entries of one `line` can share a batch. `expires_ns` is the end of its time in the queue, or None.
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


@dataclass(slots=True, eq=False)
class Line:
    """Entries that can share a batch, oldest first; `rows` counts theirs together."""

    entries: deque[Entry] = field(default_factory=deque)
    rows: int = 0

    def put(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.rows += entry.rows

    def pop(self) -> Entry:
        entry = self.entries.popleft()
        self.rows -= entry.rows
        return entry

    def remove(self, entry: Entry) -> None:
        self.entries.remove(entry)
        self.rows -= entry.rows


@dataclass(slots=True, eq=False)
class Level:
    """One priority's requests: their lines, and the lines of those whose time is over, which come last."""

    policy: QueuePolicy
    lines: dict[Hashable, Line] = field(default_factory=dict)
    delayed: dict[Hashable, Line] = field(default_factory=dict)
    size: int = 0


class RequestQueue:
    """A bounded queue; `levels[0]` is served first.

    `dropped(entry)` is called for entries that leave without being taken: their caller has left, or their
    deadline or their time in the queue is over. Whoever takes from the queue sets it.
    """

    def __init__(self, policies: list[QueuePolicy], model_name: str) -> None:
        self.size = 0
        self.max_size = sum(policy.max_queue_size for policy in policies)
        self.dropped: Callable[[Entry], None] = nobody
        self._levels = [Level(policy) for policy in policies]
        self._model_name = model_name
        self._ends: list[tuple[int, int, Entry]] = []
        self._order = count()
        self._next_sweep_ns = 0

    def put(self, entry: Entry, now_ns: int) -> None:
        """Adds `entry`, or raises QueueFull at once."""
        level = self._levels[entry.level]
        limit = level.policy.max_queue_size
        if level.size >= limit:
            self._sweep(now_ns)
            if level.size >= limit:
                raise QueueFull(
                    f"Exceeds maximum queue size: the queue of '{self._model_name}' "
                    f"holds {level.size} requests already"
                )
        entry.queued_ns = now_ns
        _line(level.lines, entry.line).put(entry)
        level.size += 1
        self.size += 1
        if entry.expires_ns is not None or entry.request.deadline_ns is not None:
            self._note_end(entry)

    def lines(self) -> Iterator[Line]:
        """The lines that have entries, the most urgent first: by level, delayed ones last, then by age."""
        for level in self._levels:
            if level.size:
                yield from _by_age(level.lines)
                yield from _by_age(level.delayed)

    def head(self) -> Line | None:
        """The most urgent line, without sorting the others."""
        for level in self._levels:
            if level.size:
                return _oldest(level.lines) or _oldest(level.delayed)
        return None

    def take(self, head: Line, row_limit: int, entry_limit: int) -> list[Entry]:
        """Takes from `head`, then from equal lines of lower urgency, as much as fits; never splits an entry.

        Entries that nobody waits for any more are dropped on the way. May be empty.
        """
        taken: list[Entry] = []
        rows = 0
        for line in self._equal_lines(head):
            entries = line.entries
            while entries:
                entry = entries[0]
                if not entry.reply.is_wanted:
                    self._drop(line.pop())
                    continue
                if rows + entry.rows > row_limit or len(taken) == entry_limit:
                    return taken
                line.pop()
                self._leave(entry)
                taken.append(entry)
                rows += entry.rows
        return taken

    def next_end_ns(self) -> int | None:
        """When the next entry's deadline or time in the queue is over."""
        ends = self._ends
        while ends and not ends[0][2].is_waiting:
            heappop(ends)
        return ends[0][0] if ends else None

    def end_overdue(self, now_ns: int) -> None:
        """Drops, or delays as their policy says, the entries whose time is over."""
        ends = self._ends
        while ends and ends[0][0] <= now_ns:
            entry = heappop(ends)[2]
            if entry.is_waiting:
                self._end(entry, now_ns)

    def drain(self) -> list[Entry]:
        """Takes everything that waits."""
        entries = [entry for line in list(self.lines()) for entry in line.entries]
        for entry in entries:
            self._leave(entry)
        for level in self._levels:
            level.lines.clear()
            level.delayed.clear()
        return entries

    def _equal_lines(self, head: Line) -> Iterator[Line]:
        """`head` and the lines behind it whose entries may join the same batch; emptied ones are removed."""
        key = head.entries[0].line
        started = False
        for level in self._levels:
            for lines in (level.lines, level.delayed):
                line = lines.get(key)
                started = started or line is head
                if started and line is not None:
                    yield line
                    if not line.entries:
                        del lines[key]

    def _end(self, entry: Entry, now_ns: int) -> None:
        level = self._levels[entry.level]
        deadline_ns = entry.request.deadline_ns
        is_late = deadline_ns is not None and deadline_ns <= now_ns
        _remove(level.delayed if entry.is_delayed else level.lines, entry)
        if is_late or level.policy.timeout_action is TimeoutAction.REJECT:
            self._drop(entry)
            return
        entry.is_delayed = True
        entry.expires_ns = None
        _line(level.delayed, entry.line).put(entry)
        self._note_end(entry)

    def _note_end(self, entry: Entry) -> None:
        ends = [end for end in (entry.expires_ns, entry.request.deadline_ns) if end is not None]
        if ends:
            heappush(self._ends, (min(ends), next(self._order), entry))

    def _sweep(self, now_ns: int) -> None:
        """Drops every entry whose caller has left; seldom enough to cost nothing under overload."""
        if now_ns < self._next_sweep_ns:
            return
        self._next_sweep_ns = now_ns + SWEEP_INTERVAL_NS
        for line in list(self.lines()):
            for entry in [entry for entry in line.entries if not entry.reply.is_wanted]:
                line.remove(entry)
                self._drop(entry)
        for level in self._levels:
            for lines in (level.lines, level.delayed):
                for key in [key for key, line in lines.items() if not line.entries]:
                    del lines[key]

    def _drop(self, entry: Entry) -> None:
        self._leave(entry)
        self.dropped(entry)

    def _leave(self, entry: Entry) -> None:
        entry.is_waiting = False
        self._levels[entry.level].size -= 1
        self.size -= 1


def nobody(entry: Entry) -> None:
    """Stands for whoever is told of dropped entries where nobody is."""


def _line(lines: dict[Hashable, Line], key: Hashable) -> Line:
    line = lines.get(key)
    if line is None:
        line = lines[key] = Line()
    return line


def _remove(lines: dict[Hashable, Line], entry: Entry) -> None:
    line = lines[entry.line]
    line.remove(entry)
    if not line.entries:
        del lines[entry.line]


def _oldest(lines: dict[Hashable, Line]) -> Line | None:
    if len(lines) == 1:
        return next(iter(lines.values()))
    return min(lines.values(), key=_age, default=None)


def _age(line: Line) -> int:
    return line.entries[0].queued_ns


def _by_age(lines: dict[Hashable, Line]) -> list[Line]:
    return sorted(lines.values(), key=_age)
