"""Reads the audit log, also while servers write to it, and exports of it."""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from headrace.errors import Unavailable
from headrace.security.audit.chain import Head, Record
from headrace.security.audit.table import last, select
from headrace.state.database import FILE_NAME, identity, open_read_only, unreadable

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
        try:
            return last(self._connection)
        except sqlite3.Error as error:
            raise unreadable(self._path, error) from None

    def last(self, count: int, wanted: Filter = EVERYTHING) -> list[Record]:
        """The newest `count` records, oldest first."""
        return self._select(wanted.conditions(), f"DESC LIMIT {count:d}")[::-1]

    def pages(self, wanted: Filter = EVERYTHING, after: int | None = None) -> Iterator[list[Record]]:
        """The records behind `after`, oldest first; those that are written meanwhile too."""
        conditions: dict[str, object] = {**wanted.conditions()}
        while True:
            if after is not None:
                conditions["sequence > ?"] = after
            page = self._select(conditions, f"LIMIT {PAGE_SIZE}")
            if not page:
                return
            yield page
            after = sequence_of(page[-1])

    def check_is_there(self) -> None:
        """Unavailable where the file that is read is not the one that servers write to any more."""
        if identity(self._path) != self._identity:
            raise Unavailable(f"{self._path} was removed or replaced")

    def _select(self, conditions: Mapping[str, object], order: str) -> list[Record]:
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        try:
            return select(self._connection, f"{where} ORDER BY sequence {order}", tuple(conditions.values()))
        except sqlite3.Error as error:
            raise unreadable(self._path, error) from None


def sequence_of(record: Record) -> int:
    sequence = record["sequence"]
    assert isinstance(sequence, int)
    return sequence


def read_export(file: BinaryIO) -> Iterator[Record]:
    """The records in a file of JSON lines; Unavailable where it is none."""
    for number, line in enumerate(file, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise Unavailable(f"{file.name}:{number}: expected a record as one JSON object")
        yield record
