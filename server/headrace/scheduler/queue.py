"""Where requests wait: one line per input shape and priority, bounded, and fair between callers."""

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count

from headrace.errors import HeadraceError, QueueFull
from headrace.repository.config import QueuePolicy, TimeoutAction
from headrace.scheduler.entry import Entry
from headrace.scheduler.line import Line
from headrace.scheduler.standing import Standing, Standings

SWEEP_INTERVAL_NS = 10_000_000


@dataclass(slots=True, eq=False)
class Level:
    """One priority's requests: their lines, and the lines of those whose time is over, which come last."""

    policy: QueuePolicy
    lines: dict[Hashable, Line] = field(default_factory=dict)
    delayed: dict[Hashable, Line] = field(default_factory=dict)
    size: int = 0
    standings: Standings = field(default_factory=Standings)

    def most_urgent(self, lines: dict[Hashable, Line]) -> Line | None:
        """The first of `in_order(lines)`, without sorting the others."""
        if len(lines) == 1:
            return next(iter(lines.values()))
        return min(lines.values(), key=_turn if self.standings.only is None else _age, default=None)

    def in_order(self, lines: dict[Hashable, Line]) -> list[Line]:
        """By age, or where several callers wait, by whose turn it is."""
        return sorted(lines.values(), key=_turn if self.standings.only is None else _age)


class RequestQueue:
    """A bounded queue; `levels[0]` is served first, and each level's callers in turns.

    `dropped(entry)` is called for entries that leave without being taken: their caller has left, or their
    deadline or their time in the queue is over; `displaced(entry, error)` for those that make room for
    another caller's. Whoever takes from the queue sets both.
    """

    def __init__(self, policies: list[QueuePolicy], model_name: str) -> None:
        self.size = 0
        self.max_size = sum(policy.max_queue_size for policy in policies)
        self.dropped: Callable[[Entry], None] = nobody
        self.displaced: Callable[[Entry, HeadraceError], None] = nobody
        self._levels = [Level(policy) for policy in policies]
        self._model_name = model_name
        self._ends: list[tuple[int, int, Entry]] = []
        self._order = count()
        self._next_sweep_ns = 0

    def put(self, entry: Entry, now_ns: int) -> None:
        """Adds `entry`, for which another caller's may have to leave, or raises QueueFull at once."""
        level = self._levels[entry.level]
        caller = entry.request.caller
        standings = level.standings
        standing = standings.only
        if standing is None or caller is not standing.caller:
            standing = standings.of(caller)
        if level.size >= level.policy.max_queue_size:
            self._make_room(level, standing, now_ns)
        entry.queued_ns = now_ns
        entry.standing = standing
        if standing is not standings.only:
            standings.join(standing, level.size)
        line = level.lines.get(entry.line)
        if line is None:
            level.lines[entry.line] = Line(entry, standings)
        else:
            line.put(entry)
        level.size += 1
        self.size += 1
        if entry.expires_ns is not None or entry.request.deadline_ns is not None:
            self._note_end(entry)

    def lines(self) -> Iterator[Line]:
        """The lines that have entries, the most urgent first: by level, delayed ones last, then in order."""
        for level in self._levels:
            if level.size:
                yield from level.in_order(level.lines)
                yield from level.in_order(level.delayed)

    def head(self) -> Line | None:
        """The most urgent line."""
        for level in self._levels:
            if level.size:
                return level.most_urgent(level.lines) or level.most_urgent(level.delayed)
        return None

    def take(self, head: Line, row_limit: int, entry_limit: int) -> list[Entry]:
        """Takes from `head`, then from equal lines of lower urgency, as much as fits; never splits an entry.

        Entries that nobody waits for any more are dropped on the way. May be empty.
        """
        taken: list[Entry] = []
        rows = 0
        for line in self._equal_lines(head):
            standings = line.standings
            entries = line.entries
            if standings.only is None:
                standings.forget()
                entries = line.next_entries()
            else:
                standings.only.is_new = False
            while entries:
                entry = entries[0]
                if not entry.reply.is_wanted:
                    self._drop(line.pop())
                    entries = line.next_entries()
                    continue
                if rows + entry.rows > row_limit or len(taken) == entry_limit:
                    return taken
                line.pop()
                if standings.only is None:
                    standings.serve(entry.standing, entry.rows, row_limit)
                    entries = line.next_entries()
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
        entries = [entry for line in list(self.lines()) for entry in line]
        for entry in entries:
            self._leave(entry)
        for level in self._levels:
            level.lines.clear()
            level.delayed.clear()
        return entries

    def _equal_lines(self, head: Line) -> Iterator[Line]:
        """`head` and the lines behind it whose entries may join the same batch; emptied ones are removed."""
        key = head.key
        started = False
        for level in self._levels:
            for lines in (level.lines, level.delayed):
                line = lines.get(key)
                started = started or line is head
                if started and line is not None:
                    yield line
                    if not line.rows:
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
        line = level.delayed.get(entry.line)
        if line is None:
            level.delayed[entry.line] = Line(entry, level.standings)
        else:
            line.put(entry)
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
            for entry in [entry for entry in line if not entry.reply.is_wanted]:
                line.remove(entry)
                self._drop(entry)
        for level in self._levels:
            for lines in (level.lines, level.delayed):
                for key in [key for key, line in lines.items() if not line.rows]:
                    del lines[key]

    def _make_room(self, level: Level, standing: Standing, now_ns: int) -> None:
        """Sees to it that one more of the caller's requests fits into a full level, or raises QueueFull."""
        self._sweep(now_ns)
        if level.size < level.policy.max_queue_size:
            return
        displaced = level.standings.displaced_by(standing, level.size)
        if displaced is None:
            raise self._full(level)
        self._displace(level, displaced)

    def _displace(self, level: Level, standing: Standing) -> None:
        """Turns away the caller's newest entry."""
        error = self._full(level)
        lines = (*level.lines.values(), *level.delayed.values())
        newest = [entry for line in lines if (entry := line.newest_of(standing)) is not None]
        entry = max(newest, key=_queued_ns)
        _remove(level.delayed if entry.is_delayed else level.lines, entry)
        self._leave(entry)
        self.displaced(entry, error)

    def _full(self, level: Level) -> QueueFull:
        return QueueFull(
            f"Exceeds maximum queue size: the queue of '{self._model_name}' "
            f"holds {level.size} requests already"
        )

    def _drop(self, entry: Entry) -> None:
        self._leave(entry)
        self.dropped(entry)

    def _leave(self, entry: Entry) -> None:
        entry.is_waiting = False
        level = self._levels[entry.level]
        level.size -= 1
        self.size -= 1
        if level.standings.only is None:
            level.standings.leave(entry.standing, level.size)


def nobody(entry: Entry, error: HeadraceError | None = None) -> None:
    """Stands for whoever is told of entries that leave where nobody is."""


def _remove(lines: dict[Hashable, Line], entry: Entry) -> None:
    line = lines[entry.line]
    line.remove(entry)
    if not line.rows:
        del lines[entry.line]


def _age(line: Line) -> int:
    return line.first.queued_ns


def _turn(line: Line) -> tuple[float, bool, int]:
    entry = line.first
    return entry.standing.turn, not entry.standing.is_new, entry.queued_ns


def _queued_ns(entry: Entry) -> int:
    return entry.queued_ns
