"""Routes and rollouts in the state database; every method blocks, and one thread at a time may call."""

import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from headrace.errors import ConfigError
from headrace.repository.routing.reading import parse_plan, parse_route
from headrace.repository.routing.writing import plan_json, route_json
from headrace.rollout.kept_route import KeptRoute, RouteOrigin
from headrace.rollout.record import Event, Record, RolloutState
from headrace.state.database import (
    FILE_NAME,
    apply_schema,
    open_database,
    open_read_only,
    transaction,
    unreadable,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

COMPONENT = "rollouts"

# Model, live version and shadow version.
ComparisonKey: TypeAlias = tuple[str, int, int]

_SCHEMA = (
    "CREATE TABLE routes (model TEXT PRIMARY KEY, route TEXT, revision INTEGER NOT NULL, "
    "set_by TEXT NOT NULL, previous_until REAL NOT NULL)",
    "CREATE TABLE rollouts (id INTEGER PRIMARY KEY AUTOINCREMENT, model TEXT NOT NULL, "
    "stable INTEGER NOT NULL, canary INTEGER NOT NULL, digest TEXT NOT NULL, plan TEXT NOT NULL, "
    "origin TEXT NOT NULL, started_by TEXT NOT NULL, started_at REAL NOT NULL, state TEXT NOT NULL, "
    "step INTEGER NOT NULL, step_started_at REAL NOT NULL, ended_at REAL NOT NULL, reason TEXT NOT NULL, "
    "progress TEXT NOT NULL, earlier TEXT)",
    "CREATE INDEX rollouts_of_model ON rollouts (model, id)",
    # However many servers try: a model has one rollout under way.
    "CREATE UNIQUE INDEX rollouts_open ON rollouts (model) WHERE state IN ('running', 'paused', 'waiting')",
    "CREATE TABLE rollout_events (id INTEGER PRIMARY KEY AUTOINCREMENT, rollout INTEGER NOT NULL "
    "REFERENCES rollouts (id), at REAL NOT NULL, kind TEXT NOT NULL, step INTEGER NOT NULL, "
    "reason TEXT NOT NULL, by TEXT NOT NULL, evidence TEXT NOT NULL)",
    "CREATE INDEX rollout_events_of_rollout ON rollout_events (rollout, id)",
    "CREATE TABLE declared_routes (model TEXT PRIMARY KEY, route TEXT NOT NULL)",
    "CREATE TABLE comparisons (model TEXT NOT NULL, live INTEGER NOT NULL, shadow INTEGER NOT NULL, "
    "document TEXT NOT NULL, PRIMARY KEY (model, live, shadow))",
    "ALTER TABLE routes ADD COLUMN origin TEXT NOT NULL DEFAULT 'order'",
    "UPDATE routes SET origin = set_by WHERE set_by IN ('config', 'rollout')",
    # Outlives the rollouts, of which the oldest are forgotten.
    "CREATE TABLE tried_versions (model TEXT NOT NULL, version INTEGER NOT NULL, digest TEXT NOT NULL, "
    "PRIMARY KEY (model, version, digest)) WITHOUT ROWID",
    "INSERT INTO tried_versions SELECT DISTINCT model, canary, digest FROM rollouts",
)
_COLUMNS = (
    "id, model, stable, canary, digest, plan, origin, started_by, started_at, state, step, step_started_at, "
    "ended_at, reason, progress, earlier"
)
# What comes late does not take the place of what came after it.
_PUT_ROUTE = (
    "INSERT INTO routes (model, route, revision, origin, set_by, previous_until) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (model) DO UPDATE SET route = excluded.route, revision = excluded.revision, "
    "origin = excluded.origin, set_by = excluded.set_by, previous_until = excluded.previous_until "
    "WHERE excluded.revision > routes.revision"
)
_ROUTES = "SELECT model, route, revision, origin, set_by, previous_until FROM routes ORDER BY model"
# Others keep things in the same database.
_HAS_ROUTES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'routes'"
_IS_OPEN = "state IN ('running', 'paused', 'waiting')"


class Store:
    """Opened once; everything that belongs together is written in one transaction.

    Of each model's rollouts the last `keep_rollouts` are kept, with what happened to them.
    """

    def __init__(self, folder: Path, keep_rollouts: int) -> None:
        """ConfigError and OSError tell why it cannot be opened."""
        self._keep_rollouts = keep_rollouts
        self.connection = open_database(folder)
        apply_schema(self.connection, COMPONENT, _SCHEMA)

    def close(self) -> None:
        self.connection.close()

    @classmethod
    def read_routes(cls, folder: Path) -> list[KeptRoute]:
        """Those in a database that cannot be written. NotFound where there is none, Unavailable where it
        cannot be read either.
        """
        with closing(open_read_only(folder)) as connection:
            try:
                has_any = connection.execute(_HAS_ROUTES).fetchone()
                rows = connection.execute(_ROUTES).fetchall() if has_any else []
            except sqlite3.Error as error:
                raise unreadable(folder / FILE_NAME, error) from error
        return _readable(_kept_route, rows)

    def version(self) -> int:
        """Another number whenever another connection has written (sqlite.org/pragma.html, data_version)."""
        return int(self.connection.execute("PRAGMA data_version").fetchone()[0])

    def routes(self) -> list[KeptRoute]:
        """Those that can be read; what another release has written in its own way is told and left alone."""
        return _readable(_kept_route, self.connection.execute(_ROUTES))

    def declared_routes(self) -> dict[str, str]:
        """The route of each model's configuration (JSON) that was taken up last."""
        return dict(self.connection.execute("SELECT model, route FROM declared_routes"))

    def last(self) -> list[Record]:
        """Each model's last rollout."""
        query = f"SELECT {_COLUMNS} FROM rollouts WHERE id IN (SELECT max(id) FROM rollouts GROUP BY model)"
        return _readable(_record, self.connection.execute(query))

    def history(self, model: str, limit: int) -> list[Record]:
        """Those of `model`, newest first; a `limit` of 0 is none."""
        query = f"SELECT {_COLUMNS} FROM rollouts WHERE model = ? ORDER BY id DESC LIMIT ?"
        return _readable(_record, self.connection.execute(query, (model, limit or -1)))

    def one(self, model: str, rollout_id: int) -> Record | None:
        query = f"SELECT {_COLUMNS} FROM rollouts WHERE model = ? AND id = ?"
        row = self.connection.execute(query, (model, rollout_id)).fetchone()
        return _record(row) if row else None

    def has_tried(self, model: str, version: int, digest: str) -> bool:
        """Whether a rollout of a version with these files was ever begun."""
        query = "SELECT 1 FROM tried_versions WHERE model = ? AND version = ? AND digest = ?"
        return self.connection.execute(query, (model, version, digest)).fetchone() is not None

    def events(self, rollout_id: int) -> list[Event]:
        """In their order."""
        query = (
            "SELECT at, kind, step, reason, by, evidence FROM rollout_events WHERE rollout = ? ORDER BY id"
        )
        rows = self.connection.execute(query, (rollout_id,))
        return [
            Event(at_s, kind, step, reason, by, json.loads(evidence))
            for at_s, kind, step, reason, by, evidence in rows
        ]

    def commit(
        self,
        record: Record,
        event: Event,
        route: KeptRoute | None,
        announce: Callable[[Record, Event], None],
        is_wanted: Callable[[], bool],
    ) -> Record | None:
        """Keeps a rollout, what happened to it, and the route that it has from now on; all or nothing.

        `announce(record, event)` is called inside the transaction. Returns the record with its id, or None
        where nothing was kept, as `is_wanted()` says no once it is this one's turn.
        """
        with transaction(self.connection):
            if not is_wanted():
                return None
            if not record.id:
                record = replace(record, id=self._insert(record))
                self._note_tried(record)
                self._forget_oldest(record.model)
            else:
                self._update(record)
            self._add_event(record, event)
            if route is not None:
                self._put_route(route)
            announce(record, event)
        return record

    def save_progress(self, records: Sequence[Record]) -> None:
        """Keeps how far those are that are still under way, and in the same step."""
        statement = f"UPDATE rollouts SET progress = ? WHERE id = ? AND step = ? AND {_IS_OPEN}"
        with transaction(self.connection):
            for record in records:
                values = (json.dumps(dict(record.progress)), record.id, record.step)
                self.connection.execute(statement, values)

    def save_route(self, route: KeptRoute, declared: str | None = None) -> None:
        """Keeps a route that no rollout has set, and with it what the model's configuration declares: a text,
        or "" for nothing any more. None leaves what is known of that.
        """
        with transaction(self.connection):
            self._put_route(route)
            if declared is not None:
                self._put_declared(route.model, declared)

    def comparisons(self) -> list[dict[str, Any]]:
        """Documents of comparisons."""
        return [json.loads(text) for (text,) in self.connection.execute("SELECT document FROM comparisons")]

    def save_comparisons(
        self,
        documents: Sequence[tuple[ComparisonKey, Mapping[str, Any]]],
        gone: Sequence[ComparisonKey],
    ) -> None:
        """Keeps `documents`, and no more what is `gone`."""
        with transaction(self.connection):
            for key in gone:
                statement = "DELETE FROM comparisons WHERE model = ? AND live = ? AND shadow = ?"
                self.connection.execute(statement, key)
            for key, document in documents:
                values = (*key, json.dumps(dict(document)))
                self.connection.execute("INSERT OR REPLACE INTO comparisons VALUES (?, ?, ?, ?)", values)

    def forget_declared(self, model: str) -> None:
        """The configuration declares no route any more."""
        with transaction(self.connection):
            self._put_declared(model, "")

    def _put_declared(self, model: str, text: str) -> None:
        if text:
            self.connection.execute("INSERT OR REPLACE INTO declared_routes VALUES (?, ?)", (model, text))
        else:
            self.connection.execute("DELETE FROM declared_routes WHERE model = ?", (model,))

    def _note_tried(self, record: Record) -> None:
        values = (record.model, record.canary, record.digest)
        self.connection.execute("INSERT OR IGNORE INTO tried_versions VALUES (?, ?, ?)", values)

    def _insert(self, record: Record) -> int:
        marks = ", ".join("?" * (_COLUMNS.count(",") + 1))
        values = (None, *_values(record)[1:])
        cursor = self.connection.execute(f"INSERT INTO rollouts ({_COLUMNS}) VALUES ({marks})", values)
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def _forget_oldest(self, model: str) -> None:
        query = "SELECT id FROM rollouts WHERE model = ? ORDER BY id DESC LIMIT -1 OFFSET ?"
        for (rollout_id,) in self.connection.execute(query, (model, self._keep_rollouts)).fetchall():
            self.connection.execute("DELETE FROM rollout_events WHERE rollout = ?", (rollout_id,))
            self.connection.execute("DELETE FROM rollouts WHERE id = ?", (rollout_id,))

    def _update(self, record: Record) -> None:
        assignments = ", ".join(f"{name} = ?" for name in _COLUMNS.split(", "))
        statement = f"UPDATE rollouts SET {assignments} WHERE id = ?"
        self.connection.execute(statement, (*_values(record), record.id))

    def _add_event(self, record: Record, event: Event) -> None:
        values = (
            record.id,
            event.at_s,
            event.kind,
            event.step,
            event.reason,
            event.by,
            json.dumps(dict(event.evidence)),
        )
        statement = (
            "INSERT INTO rollout_events (rollout, at, kind, step, reason, by, evidence) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)"
        )
        self.connection.execute(statement, values)

    def _put_route(self, kept: KeptRoute) -> None:
        text = route_json(kept.route) if kept.route else None
        values = (kept.model, text, kept.revision, kept.origin.value, kept.set_by, kept.previous_until_s)
        self.connection.execute(_PUT_ROUTE, values)


def _readable(read: Callable[[Any], T], rows: Iterable[Any]) -> list[T]:
    found = []
    for row in rows:
        try:
            found.append(read(row))
        except (ConfigError, KeyError, TypeError, ValueError) as error:
            logger.error("left alone in the state database, as it cannot be read: %s", error)
    return found


def _values(record: Record) -> tuple[object, ...]:
    """In the order of the columns."""
    return (
        record.id,
        record.model,
        record.stable,
        record.canary,
        record.digest,
        plan_json(record.plan),
        record.origin,
        record.started_by,
        record.started_at_s,
        record.state.value,
        record.step,
        record.step_started_at_s,
        record.ended_at_s,
        record.reason,
        json.dumps(dict(record.progress)),
        route_json(record.earlier) if record.earlier else None,
    )


def _record(row: Sequence[Any]) -> Record:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    source = f"rollout {values['id']} of the state database"
    return Record(
        id=values["id"],
        model=values["model"],
        stable=values["stable"],
        canary=values["canary"],
        digest=values["digest"],
        plan=parse_plan(values["plan"], source),
        origin=values["origin"],
        started_by=values["started_by"],
        started_at_s=values["started_at"],
        state=RolloutState(values["state"]),
        step=values["step"],
        step_started_at_s=values["step_started_at"],
        ended_at_s=values["ended_at"],
        reason=values["reason"],
        progress=json.loads(values["progress"]),
        earlier=parse_route(values["earlier"], source) if values["earlier"] else None,
    )


def _kept_route(row: tuple[str, str | None, int, str, str, float]) -> KeptRoute:
    model, text, revision, origin, set_by, previous_until_s = row
    route = parse_route(text, f"route of '{model}' in the state database") if text else None
    marked = replace(route, revision=revision) if route else None
    return KeptRoute(model, marked, revision, RouteOrigin(origin), set_by, previous_until_s)
