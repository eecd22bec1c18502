"""The audit log's table: records as rows."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from headrace.security.audit.chain import Head, Record, link
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
)


def append(connection: sqlite3.Connection, contents: Iterable[Content]) -> Head:
    """Continues the chain, whoever wrote its last record; all `contents` are on disk, or none."""
    with transaction(connection):
        head = last(connection)
        rows = []
        for content in contents:
            record = link(content, head)
            head = Head(head.sequence + 1, str(record["hash"]))
            rows.append(_row(record))
        connection.executemany(_INSERT, rows)
    return head


def last(connection: sqlite3.Connection) -> Head:
    row = connection.execute(_LAST).fetchone()
    return Head(*row) if row else Head()


def select(connection: sqlite3.Connection, rest: str, parameters: Sequence[object]) -> list[Record]:
    """The records that `rest`, from WHERE on, asks for."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM audit_records {rest}", parameters)
    return [_record(row) for row in rows]


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
