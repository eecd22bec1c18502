"""The file of the audit log as its writer sees it: opened, appended to, opened again where that failed."""

import logging
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from headrace.errors import ConfigError
from headrace.security.audit.chain import Head
from headrace.security.audit.content import Content
from headrace.security.audit.table import COMPONENT, SCHEMA, append, last
from headrace.state.database import FILE_NAME, Identity, apply_schema, failure, identity, open_database

_log = logging.getLogger(__name__)


class AuditFile:
    """The audit log in `folder`; used by one thread at a time."""

    def __init__(self, folder: Path, busy_timeout_s: float) -> None:
        self._folder = folder
        self._path = folder / FILE_NAME
        self._busy_timeout_s = busy_timeout_s
        self._connection: sqlite3.Connection | None = None
        self._head = Head()
        self._identity: Identity | None = None

    def open(self) -> None:
        """ConfigError or OSError where there cannot be such a file."""
        self._connection = open_database(self._folder, self._busy_timeout_s)
        previous, self._identity = self._identity, identity(self._path)
        try:
            apply_schema(self._connection, COMPONENT, SCHEMA)
            self._head = last(self._connection)
        except sqlite3.Error as error:
            self._disconnect()
            raise failure(self._path, error) from None
        except (ConfigError, OSError):
            self._disconnect()
            raise
        if self._identity != previous:
            self._log_head()

    def append(self, contents: Sequence[Content]) -> None:
        """All are on disk when it returns; ConfigError or OSError where none is."""
        self._append(contents)
        if identity(self._path) != self._identity:
            # What was written to a file that has no name any more is gone when it is closed.
            _log.warning("%s was removed or replaced: the audit log goes on in another file", self._path)
            self._disconnect()
            self._append(contents)

    def close(self) -> None:
        if self._connection is not None:
            self._log_head()
            self._disconnect()

    def _append(self, contents: Sequence[Content]) -> None:
        if self._connection is None:
            self.open()
        assert self._connection is not None
        try:
            self._head = append(self._connection, contents)
        except sqlite3.Error as error:
            self._disconnect()
            raise failure(self._path, error) from None

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _log_head(self) -> None:
        """The server's log is often kept elsewhere, and so is what `headrace audit verify --head` needs."""
        _log.info("audit log: %d records, ends with %s", self._head.sequence, self._head)
