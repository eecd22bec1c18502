"""Reads the audit log, also while servers write to it, and others archive what is old."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from headrace.errors import Unavailable
from headrace.security.audit.chain import Head, Record
from headrace.security.audit.table import anchor, last, select
from headrace.state.database import FILE_NAME, identity, open_read_only, unreadable

T = TypeVar("T")

# Records that are read at once: a longer look at the database would keep its write-ahead log growing.
PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records are wanted; "" is all.

    `since` and `until` (exclusive) are as `timestamp` makes them, `caller` and `model` patterns with * and ?.
    """

    since: str = ""
    until: str = ""
    caller: str = ""
    model: str = ""
    action: str = ""
    only_denied: bool = False

    def conditions(self) -> dict[str, str]:
        """SQL conditions, each with its parameter's value."""
        wanted = {
            "time >= ?": self.since,
            "time < ?": self.until,
            "caller GLOB ?": self.caller,
            "model GLOB ?": self.model,
            "action = ?": self.action,
            "is_allowed = ?": "0" if self.only_denied else "",
        }
        return {condition: value for condition, value in wanted.items() if value}


EVERYTHING = Filter()


class ArchivedMeanwhile(Unavailable):
    """Records were taken out of the log before they were read."""


class AuditReader:
    """The audit log in a state folder, closed by `with`; NotFound where there is none, or Unavailable."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self._connection = open_read_only(folder)
        self._identity = identity(self._path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def head(self) -> Head:
        return self._ask(last)

    def anchor(self) -> Head:
        """The last record that was archived: what the first one here follows."""
        return self._ask(anchor)

    def last(self, count: int, wanted: Filter = EVERYTHING) -> list[Record]:
        """The newest `count` records, oldest first."""
        return self._select(wanted.conditions(), self.anchor(), f"DESC LIMIT {count:d}")[::-1]

    def last_before(self, time: str) -> int:
        """The number of the last record such that it and all before it are older than `time`."""
        begin = self.anchor()
        younger = self._select({"time >= ?": time}, begin, "LIMIT 1")
        return sequence_of(younger[0]) - 1 if younger else self.head().sequence

    def pages(self, wanted: Filter = EVERYTHING, after: int | None = None) -> Iterator[list[Record]]:
        """The records behind `after`, oldest first; those that are written meanwhile too.

        ArchivedMeanwhile where some were archived before their turn came.
        """
        begin = self.anchor()
        conditions: dict[str, object] = {**wanted.conditions()}
        while True:
            if after is not None:
                conditions["sequence > ?"] = after
            page = self._select(conditions, begin, f"LIMIT {PAGE_SIZE}")
            archived = self.anchor()
            if archived != begin and archived.sequence > (after or 0):
                raise ArchivedMeanwhile(
                    f"records up to {archived.sequence} were archived meanwhile: try again"
                )
            if not page:
                return
            yield page
            after = sequence_of(page[-1])

    def check_is_there(self) -> None:
        """Unavailable where the file that is read is not the one that servers write to any more."""
        if identity(self._path) != self._identity:
            raise Unavailable(f"{self._path} was removed or replaced")

    def _select(self, conditions: Mapping[str, object], begin: Head, order: str) -> list[Record]:
        """Those behind `begin`: what an archive has not removed yet is not of the log any more."""
        archived = {"sequence > ?": begin.sequence} if begin.sequence else {}
        wanted = [*archived.items(), *conditions.items()]
        where = f"WHERE {' AND '.join(condition for condition, _ in wanted)}" if wanted else ""
        values = tuple(value for _, value in wanted)
        return self._ask(lambda connection: select(connection, f"{where} ORDER BY sequence {order}", values))

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return question(self._connection)
        except sqlite3.Error as error:
            raise unreadable(self._path, error) from None


def sequence_of(record: Record) -> int:
    sequence = record["sequence"]
    assert isinstance(sequence, int)
    return sequence
