"""What webhooks have to deliver, in the state database: written together with what it tells of."""

import logging
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext

from headrace.rollout.outside.delivery import Delivery
from headrace.state.database import apply_schema, transaction

_log = logging.getLogger(__name__)

COMPONENT = "webhooks"
# For how long deliveries can be looked up that have arrived or were given up.
KEEP_S = 7 * 86_400.0
# Of all deliveries: more than that, and the oldest go, first of those that have arrived or were given up.
MAX_ROWS = 10_000

SCHEMA = (
    """
    CREATE TABLE webhook_deliveries (
        sequence INTEGER PRIMARY KEY,
        event_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        url TEXT NOT NULL,
        body TEXT NOT NULL,
        created_at REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        next_at REAL NOT NULL DEFAULT 0,
        state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'given_up')),
        settled_at REAL NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        UNIQUE (event_id, url)
    )
    """,
    "CREATE INDEX webhook_deliveries_pending ON webhook_deliveries (url, sequence) WHERE state = 'pending'",
)
_ADD = """
    INSERT INTO webhook_deliveries (event_id, kind, url, body, created_at) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (event_id, url) DO NOTHING
"""
_PENDING = """
    SELECT event_id, kind, url, body, created_at, attempts, next_at FROM webhook_deliveries
    WHERE url = ? AND state = 'pending' ORDER BY sequence LIMIT 1
"""
_IS_IT = "WHERE event_id = ? AND url = ? AND state = 'pending'"
_SETTLE = f"UPDATE webhook_deliveries SET state = ?, settled_at = ?, reason = ? {_IS_IT}"
_DELIVERED = f"""
    UPDATE webhook_deliveries SET state = 'delivered', attempts = attempts + 1, settled_at = ?, reason = ''
    {_IS_IT}
"""
_FAILED = f"UPDATE webhook_deliveries SET attempts = attempts + 1, next_at = ?, reason = ? {_IS_IT}"
_REMOVE_OLD = "DELETE FROM webhook_deliveries WHERE state <> 'pending' AND settled_at < ?"
_COUNT = "SELECT count(*) FROM webhook_deliveries"
_REMOVE_MANY = """
    DELETE FROM webhook_deliveries WHERE sequence IN (
        SELECT sequence FROM webhook_deliveries ORDER BY state = 'pending', sequence LIMIT ?
    ) RETURNING state
"""


class StoredOutbox:
    """An Outbox on a connection that others may use as well, all in the same thread.

    `dropped_count` deliveries were never tried to the end, as there were too many.
    """

    def __init__(self, connection: sqlite3.Connection, max_rows: int = MAX_ROWS) -> None:
        """Blocks; ConfigError or OSError where the tables cannot be made."""
        apply_schema(connection, COMPONENT, SCHEMA)
        self._connection = connection
        self._max_rows = max_rows
        self.dropped_count = 0

    def add(self, event_id: str, kind: str, body: str, urls: Sequence[str], now_s: float) -> None:
        """`body` is to be posted to each of `urls`.

        Where a transaction is open, it is part of that, and waits for its end; sqlite3.Error comes through.
        """
        with nullcontext() if self._connection.in_transaction else transaction(self._connection):
            rows = [(event_id, kind, url, body, now_s) for url in urls]
            self._connection.executemany(_ADD, rows)
            self._prune(now_s)

    def pending(self, url: str) -> Delivery | None:
        with _told():
            row = self._connection.execute(_PENDING, (url,)).fetchone()
        return Delivery(*row) if row else None

    def delivered(self, event_id: str, url: str, now_s: float) -> None:
        with self._writing():
            self._connection.execute(_DELIVERED, (now_s, event_id, url))

    def failed(self, event_id: str, url: str, next_at_s: float, reason: str) -> None:
        with self._writing():
            self._connection.execute(_FAILED, (next_at_s, reason, event_id, url))

    def given_up(self, event_id: str, url: str, reason: str, now_s: float) -> None:
        with self._writing():
            self._connection.execute(_SETTLE, ("given_up", now_s, reason, event_id, url))

    def keep_only(self, urls: Sequence[str], now_s: float) -> None:
        marks = ", ".join("?" * len(urls))
        statement = (
            "UPDATE webhook_deliveries SET state = 'given_up', settled_at = ?, reason = ? "
            f"WHERE state = 'pending' AND url NOT IN ({marks})"
        )
        with self._writing():
            reason = "its URL is no longer in the settings"
            count = self._connection.execute(statement, (now_s, reason, *urls)).rowcount
            self._prune(now_s)
        if count:
            _log.warning("webhooks: %d deliveries are given up, to URLs that are no longer set", count)

    def _prune(self, now_s: float) -> None:
        self._connection.execute(_REMOVE_OLD, (now_s - KEEP_S,))
        ((count,),) = self._connection.execute(_COUNT).fetchall()
        if count <= self._max_rows:
            return
        removed = self._connection.execute(_REMOVE_MANY, (count - self._max_rows,)).fetchall()
        dropped = sum(state == "pending" for (state,) in removed)
        if dropped:
            self.dropped_count += dropped
            _log.warning(
                "webhooks: %d deliveries are given up, as more than %d wait", dropped, self._max_rows
            )

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with _told(), transaction(self._connection):
            yield


@contextmanager
def _told() -> Iterator[None]:
    """What is wrong with the database, as an OSError."""
    try:
        yield
    except sqlite3.Error as error:
        raise OSError(f"the deliveries in the state database cannot be used: {error}") from None
