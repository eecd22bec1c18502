"""The audit log's tables: records as rows, and where the first of them stood in a longer chain."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from headrace.security.audit.chain import ARCHIVE, Head, Record, link
from headrace.security.audit.content import Content, canonical
from headrace.state.database import transaction

COMPONENT = "audit"

_COLUMNS = (
    "sequence, time, action, caller, proof, address, roles, model, version, is_allowed, outcome, reason, "
    "old_value, new_value, repeats, previous, hash"
)
_FIELDS = ("sequence", *Content._fields, "previous", "hash")
_INSERT = f"INSERT INTO audit_records ({_COLUMNS}) VALUES ({', '.join('?' * len(_FIELDS))})"
_LAST = "SELECT sequence, hash FROM audit_records ORDER BY sequence DESC LIMIT 1"
_ANCHOR = "SELECT sequence, hash FROM audit_archives ORDER BY sequence DESC LIMIT 1"
_HAS_ARCHIVES = "SELECT 1 FROM sqlite_master WHERE name = 'audit_archives'"
_REMOVE = """
    DELETE FROM audit_records WHERE sequence IN (
        SELECT sequence FROM audit_records WHERE sequence <= (SELECT max(sequence) FROM audit_archives)
        ORDER BY sequence LIMIT ?
    )
"""

# The triggers keep out mistakes; the chain is for those who go round them.
SCHEMA = (
    """
    CREATE TABLE audit_records (
        sequence INTEGER PRIMARY KEY,
        time TEXT NOT NULL,
        action TEXT NOT NULL,
        caller TEXT NOT NULL,
        proof TEXT NOT NULL,
        address TEXT NOT NULL,
        roles TEXT NOT NULL,
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        is_allowed INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL,
        old_value TEXT,
        new_value TEXT,
        repeats INTEGER NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL
    )
    """,
    """
    CREATE TRIGGER audit_records_stay BEFORE DELETE ON audit_records
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    """
    CREATE TRIGGER audit_records_do_not_change BEFORE UPDATE ON audit_records
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    # INSERT OR REPLACE deletes without a word to the trigger on DELETE (sqlite.org/lang_conflict.html).
    """
    CREATE TRIGGER audit_records_follow BEFORE INSERT ON audit_records
    WHEN NEW.sequence <> (SELECT coalesce(max(sequence), 0) + 1 FROM audit_records)
    BEGIN SELECT RAISE(ABORT, 'a record of the audit log has to follow the last one'); END
    """,
    # The last record of each archive: an anchor, from which the chain in `audit_records` goes on.
    """
    CREATE TABLE audit_archives (
        sequence INTEGER PRIMARY KEY,
        hash TEXT NOT NULL
    )
    """,
    f"""
    CREATE TRIGGER audit_archives_are_recorded BEFORE INSERT ON audit_archives
    WHEN NEW.sequence <= (SELECT coalesce(max(sequence), 0) FROM audit_archives)
    OR NOT EXISTS (SELECT 1 FROM audit_records WHERE sequence = NEW.sequence AND hash = NEW.hash)
    OR NOT EXISTS (
        SELECT 1 FROM audit_records
        WHERE sequence = (SELECT max(sequence) FROM audit_records)
        AND action = '{ARCHIVE}'
        AND json_extract(new_value, '$.last') = NEW.sequence
        AND json_extract(new_value, '$.hash') = NEW.hash
    )
    BEGIN SELECT RAISE(ABORT, 'an archive of the audit log has to be recorded in it first'); END
    """,
    """
    CREATE TRIGGER audit_archives_stay BEFORE DELETE ON audit_archives
    BEGIN SELECT RAISE(ABORT, 'the archives of the audit log are append-only'); END
    """,
    """
    CREATE TRIGGER audit_archives_do_not_change BEFORE UPDATE ON audit_archives
    BEGIN SELECT RAISE(ABORT, 'the archives of the audit log are append-only'); END
    """,
    "DROP TRIGGER audit_records_stay",
    """
    CREATE TRIGGER audit_records_stay BEFORE DELETE ON audit_records
    WHEN NOT EXISTS (SELECT 1 FROM audit_archives WHERE sequence >= OLD.sequence)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END
    """,
    "DROP TRIGGER audit_records_follow",
    """
    CREATE TRIGGER audit_records_follow BEFORE INSERT ON audit_records
    WHEN NEW.sequence <> 1 + max(
        (SELECT coalesce(max(sequence), 0) FROM audit_records),
        (SELECT coalesce(max(sequence), 0) FROM audit_archives)
    )
    BEGIN SELECT RAISE(ABORT, 'a record of the audit log has to follow the last one'); END
    """,
)


def append(connection: sqlite3.Connection, contents: Iterable[Content]) -> Head:
    """Continues the chain, whoever wrote its last record; all `contents` are on disk, or none."""
    with transaction(connection):
        return _append(connection, contents)


def cut(connection: sqlite3.Connection, begin: Head, end: Head, archive: Content) -> bool:
    """Records `archive`, of what follows `begin` up to `end`, which may be removed from then on.

    False where it does not begin there any more, or has no such `end`: nothing is changed then.
    """
    with transaction(connection):
        if anchor(connection) != begin or not holds(connection, end):
            return False
        _append(connection, [archive])
        connection.execute("INSERT INTO audit_archives VALUES (?, ?)", (end.sequence, end.hash))
        return True


def remove(connection: sqlite3.Connection, count: int) -> int:
    """Takes at most `count` archived records out of the table; how many there were."""
    with transaction(connection):
        return connection.execute(_REMOVE, (count,)).rowcount


def last(connection: sqlite3.Connection) -> Head:
    row = connection.execute(_LAST).fetchone()
    return Head(*row) if row else anchor(connection)


def anchor(connection: sqlite3.Connection) -> Head:
    """The last record that was archived: those behind it are in the table."""
    has_archives = connection.execute(_HAS_ARCHIVES).fetchone()
    row = connection.execute(_ANCHOR).fetchone() if has_archives else None
    return Head(*row) if row else Head()


def holds(connection: sqlite3.Connection, head: Head) -> bool:
    found = connection.execute(
        "SELECT 1 FROM audit_records WHERE sequence = ? AND hash = ?", (head.sequence, head.hash)
    )
    return found.fetchone() is not None


def select(connection: sqlite3.Connection, rest: str, parameters: Sequence[object]) -> list[Record]:
    """The records that `rest`, from WHERE on, asks for."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM audit_records {rest}", parameters)
    return [_record(row) for row in rows]


def _append(connection: sqlite3.Connection, contents: Iterable[Content]) -> Head:
    head = last(connection)
    rows = []
    for content in contents:
        record = link(content, head)
        head = Head(head.sequence + 1, str(record["hash"]))
        rows.append(_row(record))
    connection.executemany(_INSERT, rows)
    return head


def _row(record: Record) -> tuple[object, ...]:
    return tuple(
        None if value is None else canonical(value) if name in ("roles", "old", "new") else value
        for name, value in record.items()
    )


def _record(row: tuple[object, ...]) -> Record:
    """What somebody has put into a column that does not belong there is kept, so that the hash tells."""
    record = dict(zip(_FIELDS, row, strict=True))
    record["is_allowed"] = {0: False, 1: True}.get(record["is_allowed"], record["is_allowed"])  # type: ignore
    for name in ("roles", "old", "new"):
        record[name] = _value(record[name])
    return record


def _value(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        return text
