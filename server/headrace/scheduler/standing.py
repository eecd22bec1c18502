"""Who waits in a level, with how many requests, and whose turn it is by the rows that each has had."""

from dataclasses import dataclass
from typing import TypeAlias

from headrace.core.caller import Caller, Proof

# Who a caller is, however often and from wherever it connects. All strangers are one.
_Key: TypeAlias = tuple[str, Proof]


@dataclass(slots=True, eq=False)
class Standing:
    """One caller's: `waiting_count` of its requests wait, and the lowest `turn`, counted in rows, is next.

    Of equal turns that of a caller is next who `is_new`: it was not served since it began to wait.
    """

    caller: Caller
    key: _Key
    turn: float = 0.0
    is_new: bool = True
    waiting_count: int = 0


class Standings:
    """Those of a level's callers: of each one that waits, or that had more rows than the others so far.

    Fair queuing (Demers, Keshav and Shenker, SIGCOMM 1989) with rows for bits: whoever is served moves behind
    by its rows, and `_turn`, where those begin who come, goes on by each one's part of these. So ever new
    callers cannot keep out those who wait, and one who waits no more is remembered until `_turn` is past its.

    While there is an `only` one nothing is counted, and it is remembered until another comes; where there is
    none, each request is told of: `join`, `serve` and `leave`.
    """

    def __init__(self) -> None:
        self.only: Standing | None = None
        self.by_key: dict[_Key, Standing] = {}
        self._caller_count = 0
        self._turn = 0.0
        self._most_rows = 0

    def of(self, caller: Caller) -> Standing:
        """That of `caller`, a new one where it has none; it may be another object for each request."""
        only = self.only
        if only is not None and caller.name == only.caller.name and caller.proof is only.caller.proof:
            only.caller = caller
            return only
        key = (caller.name, caller.proof)
        return self.by_key.get(key) or Standing(caller, key)

    def displaced_by(self, standing: Standing, size: int) -> Standing | None:
        """Whose request makes room for one of `standing`'s, in a level that `size` requests fill.

        A caller with less than its part of the places gets one from the caller with the most, unless that
        would only exchange their parts.
        """
        if standing is self.only:
            return None
        self._count_only(size)
        own_count = standing.waiting_count
        if own_count * (self._caller_count + (own_count == 0)) >= size:
            return None
        longest = max(self.by_key.values(), key=_waiting_count)
        return longest if longest.waiting_count > own_count + 1 else None

    def join(self, standing: Standing, size: int) -> None:
        """A request of the caller's comes to a level of `size` others."""
        if standing.key not in self.by_key:
            self._count_only(size)
            if not size:
                self.by_key.clear()
            standing.turn = self._turn
            self.by_key[standing.key] = standing
            self._see_only()
        if not standing.waiting_count:
            standing.is_new = True
            self._caller_count += 1
        standing.waiting_count += 1

    def serve(self, standing: Standing, rows: int, row_limit: int) -> None:
        """The caller is given `rows` of a batch of at most `row_limit`.

        Nobody is served as one further behind than the largest batch: one who waits in several lines, with a
        little in each, would else save up what others fill its batches with, and could keep them out later.
        """
        if row_limit > self._most_rows:
            self._most_rows = row_limit
        turn = max(standing.turn, self._turn - self._most_rows) + rows
        self._turn += (turn - standing.turn) / len(self.by_key)
        standing.turn = turn
        standing.is_new = False

    def leave(self, standing: Standing, size: int) -> None:
        """A request of the caller's has left, and `size` are there still."""
        standing.waiting_count -= 1
        if standing.waiting_count:
            return
        self._caller_count -= 1
        if not size:
            self.by_key.clear()
        elif standing.turn <= self._turn:
            del self.by_key[standing.key]
            self._see_only()

    def forget(self) -> None:
        """Forgets those who wait for nothing and had no more rows than the others."""
        gone = [each for each in self.by_key.values() if not each.waiting_count and each.turn <= self._turn]
        for each in gone:
            del self.by_key[each.key]
        self._see_only()

    def _count_only(self, size: int) -> None:
        """Counts for the only one, if there is one, what was not counted: all `size` requests are its."""
        if self.only is not None:
            self.only.waiting_count = size
            self._caller_count = min(size, 1)

    def _see_only(self) -> None:
        self.only = next(iter(self.by_key.values())) if len(self.by_key) == 1 else None


def _waiting_count(standing: Standing) -> int:
    return standing.waiting_count
