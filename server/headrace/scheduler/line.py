"""Entries that can share a batch: one caller's in the order in which they came, several callers' in turns."""

from collections import deque
from collections.abc import Iterator
from heapq import heappop, heappush, heapreplace
from itertools import chain

from headrace.scheduler.entry import Entry
from headrace.scheduler.standing import Standing, Standings


class Line:
    """`rows` counts its entries' together, and is 0 where there are none; `standings` are its level's.

    While one caller waits, which is the common case, `entries` are all there are, and no turns are kept.
    """

    __slots__ = ("_standing", "_turns", "entries", "key", "rows", "standings")

    def __init__(self, first: Entry, standings: Standings) -> None:
        self.key = first.line
        self.rows = first.rows
        self.entries: deque[Entry] = deque()
        self.entries.append(first)
        self.standings = standings
        self._standing: Standing | None = first.standing
        self._turns: _Turns | None = None

    def __iter__(self) -> Iterator[Entry]:
        """All entries, each caller's oldest first."""
        return iter(self.entries) if self._turns is None else chain(*self._turns.queues.values())

    @property
    def size(self) -> int:
        """How many entries there are."""
        turns = self._turns
        return len(self.entries) if turns is None else sum(map(len, turns.queues.values()))

    @property
    def first(self) -> Entry:
        """The entry that is next."""
        return self.entries[0] if self._turns is None else self._turns.next_entries()[0]

    @property
    def oldest_ns(self) -> int:
        """Since when the entry waits that has waited longest, which need not be the next."""
        if self._turns is None:
            return self.entries[0].queued_ns
        return min([entries[0].queued_ns for entries in self._turns.queues.values()])

    def next_entries(self) -> deque[Entry]:
        """Those of the caller whose turn it is, for reading, oldest first; empty where nobody waits."""
        return self.entries if self._turns is None else self._turns.next_entries()

    def newest_of(self, standing: Standing) -> Entry | None:
        """The caller's entry that was put last, if there is one."""
        if self._turns is not None:
            entries = self._turns.queues.get(standing)
        else:
            entries = self.entries if standing is self._standing else None
        return entries[-1] if entries else None

    def put(self, entry: Entry) -> None:
        self.rows += entry.rows
        if entry.standing is self._standing:
            self.entries.append(entry)
        else:
            self._put_beside(entry)

    def pop(self) -> Entry:
        """Takes the entry that is next."""
        if self._turns is None:
            entry = self.entries.popleft()
            self.rows -= entry.rows
            return entry
        entry = self._turns.next_entries()[0]
        self.remove(entry)
        return entry

    def remove(self, entry: Entry) -> None:
        """Takes `entry`, which may be anywhere."""
        entries = self.entries if self._turns is None else self._turns.queues[entry.standing]
        if entries[-1] is entry:
            entries.pop()
        else:
            entries.remove(entry)  # from the left, so that the oldest is found at once
        self.rows -= entry.rows
        if self._turns is not None:
            self._see_taken(entry.standing)

    def _put_beside(self, entry: Entry) -> None:
        """Puts an entry of another caller than the one who waits alone."""
        if self._turns is None:
            if not self.entries:
                self._standing = entry.standing
                self.entries.append(entry)
                return
            assert self._standing is not None, "a queue of nobody's: this is a bug"
            self._turns = _Turns()
            self._turns.add(self._standing, self.entries)
            self._standing = None
        self._turns.put(entry)

    def _see_taken(self, standing: Standing) -> None:
        """One of this caller's entries has gone."""
        turns = self._turns
        if turns is None or turns.queues[standing]:
            return
        turns.remove(standing)
        if len(turns.queues) == 1:
            ((self._standing, self.entries),) = turns.queues.items()
            self._turns = None


class _Turns:
    """The entries of several callers, those of each in a queue; next is the one whose turn is lowest.

    `_heap` has a turn of each caller, an outdated one where the caller was served since: turns only grow, so
    the first that is up to date is the lowest. Callers with the same turn go as they came, new ones first.
    """

    __slots__ = ("_added", "_heap", "queues")

    def __init__(self) -> None:
        self.queues: dict[Standing, deque[Entry]] = {}
        self._heap: list[tuple[float, bool, int, Standing]] = []
        self._added = 0

    def add(self, standing: Standing, entries: deque[Entry]) -> None:
        """Takes on a caller, with the entries it has."""
        self._added += 1
        self.queues[standing] = entries
        heappush(self._heap, (standing.turn, not standing.is_new, self._added, standing))

    def put(self, entry: Entry) -> None:
        entries = self.queues.get(entry.standing)
        if entries is None:
            self.add(entry.standing, deque([entry]))
        else:
            entries.append(entry)

    def next_entries(self) -> deque[Entry]:
        heap = self._heap
        turn, _, added, standing = heap[0]
        while turn != standing.turn:
            heapreplace(heap, (standing.turn, not standing.is_new, added, standing))
            turn, _, added, standing = heap[0]
        return self.queues[standing]

    def remove(self, standing: Standing) -> None:
        """Lets go of a caller who has no entries here."""
        del self.queues[standing]
        heap = self._heap
        if heap[0][3] is standing:
            heappop(heap)
        else:
            heap[:] = sorted(each for each in heap if each[3] is not standing)
