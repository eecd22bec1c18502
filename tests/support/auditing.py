"""Audit logs to look at: events, what was recorded of them, and a clock that stands still."""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from headrace.core.caller import Caller, Proof
from headrace.security.audit.archive import Archive, Archiver
from headrace.security.audit.chain import Head
from headrace.security.audit.content import content_of, timestamp
from headrace.security.audit.event import AuditEvent
from headrace.security.audit.log import AuditLog
from headrace.security.audit.reader import AuditReader
from headrace.security.audit.table import COMPONENT, SCHEMA, append
from headrace.settings import AuditSettings
from headrace.state.database import FILE_NAME, apply_schema, open_database

BOB = Caller("bob", frozenset({"operator", "auditor"}), Proof.KEY, "10.0.0.7:4711")
REQUIRED = AuditSettings(required=True)

TRIGGERS = (
    "audit_records_stay",
    "audit_records_do_not_change",
    "audit_records_follow",
    "audit_archives_are_recorded",
    "audit_archives_stay",
    "audit_archives_do_not_change",
)


class Clock:
    """Seconds, as the test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def event(action: str = "load", **fields: Any) -> AuditEvent:
    return AuditEvent(action, **{"caller": BOB, "model": "digits", "outcome": "done", **fields})


def denial(model: str = "digits", action: str = "infer", **fields: Any) -> AuditEvent:
    return event(action, **{"model": model, "is_allowed": False, "outcome": "", "reason": "no", **fields})


@contextmanager
def started(folder: Path, settings: AuditSettings | None = None, **parts: Any) -> Iterator[AuditLog]:
    """Its end is that of a server: what waits is written."""
    log = AuditLog(folder, settings or AuditSettings(), **parts)
    log.start()
    try:
        yield log
    finally:
        log.stop()


def write(folder: Path, *events: AuditEvent, settings: AuditSettings | None = None) -> None:
    with started(folder, settings) as log:
        for each in events:
            log.record(each)


def records(folder: Path) -> list[dict[str, Any]]:
    with AuditReader(folder) as reader:
        return [dict(record) for page in reader.pages() for record in page]


def anchor(folder: Path) -> Head:
    with AuditReader(folder) as reader:
        return reader.anchor()


def row_count(folder: Path) -> int:
    """Of the table, also of what has been archived and is still in it."""
    with closing(connect(folder)) as connection:
        return int(connection.execute("SELECT count(*) FROM audit_records").fetchone()[0])


def write_aged(folder: Path, count: int, *, days: float, action: str = "load") -> None:
    """Records that are `days` old, a millisecond apart."""
    begin = datetime.now(UTC) - timedelta(days=days)
    contents = [
        content_of(event(action, model=f"m{n}"))._replace(time=timestamp(begin + timedelta(milliseconds=n)))
        for n in range(count)
    ]
    with closing(open_database(folder)) as connection:
        apply_schema(connection, COMPONENT, SCHEMA)
        append(connection, contents)


def ago(days: float) -> str:
    return timestamp(datetime.now(UTC) - timedelta(days=days))


def archive(folder: Path, file: Path, days: float = 0.0) -> Archive | None:
    """Puts what is older than `days` into `file`."""
    return Archiver(folder, BOB, lambda: None).archive(ago(days), lambda first, last: file)


def wait_until(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Returns once `condition()` holds; AssertionError after `timeout_s`."""
    ends_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends_at, "it did not come to that"
        time.sleep(0.005)


def connect(folder: Path) -> sqlite3.Connection:
    return sqlite3.connect(folder / FILE_NAME, isolation_level=None)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keeps everybody else from writing."""
    connection = connect(folder)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


def tamper(folder: Path, statements: Sequence[str]) -> None:
    """As somebody who may write the file, and knows what he does."""
    connection = connect(folder)
    for trigger in TRIGGERS:
        connection.execute(f"DROP TRIGGER {trigger}")
    for statement in statements:
        connection.execute(statement)
    connection.close()
