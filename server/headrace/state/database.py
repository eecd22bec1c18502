"""The state database: one SQLite file in the state folder, in which each component has its own tables."""

import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

from headrace.errors import ConfigError, NotFound, Unavailable

FILE_NAME = "headrace.sqlite3"
BUSY_TIMEOUT_S = 5.0
RETRY_INTERVAL_S = 0.02

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600

_VERSIONS = (
    "CREATE TABLE IF NOT EXISTS schema_versions (component TEXT PRIMARY KEY, version INTEGER NOT NULL)"
)

# What another start would meet again; anything else (a full disk, a lock) may pass (sqlite.org/rescode.html).
_LASTING = {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
}

# A file's device and inode: another file in its place has others.
Identity: TypeAlias = tuple[int, int]


def open_database(folder: Path, busy_timeout_s: float = BUSY_TIMEOUT_S) -> sqlite3.Connection:
    """The database in `folder`, for one thread at a time; folder and file are made where they are missing.

    Transactions are begun by hand (`with transaction(connection)`), and are on disk once committed.
    ConfigError and OSError name the file.
    """
    path = folder / FILE_NAME
    _make(path)
    connection = sqlite3.connect(path, timeout=busy_timeout_s, isolation_level=None, check_same_thread=False)
    try:
        _set_up(connection, path, busy_timeout_s)
    except sqlite3.Error as error:
        connection.close()
        raise failure(path, error) from None
    except BaseException:
        connection.close()
        raise
    return connection


def open_read_only(folder: Path) -> sqlite3.Connection:
    """For a look at a database that a server may be writing to; NotFound, or Unavailable with the reason."""
    path = folder.absolute() / FILE_NAME
    try:
        path.stat()
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None
        )
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"there is no {path}: expected the state folder of a server") from None
    except OSError as error:
        raise unreadable(path, error.strerror) from None
    except sqlite3.Error as error:
        raise unreadable(path, error) from None
    # What is no UTF-8 stays different from all that is.
    connection.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    return connection


def apply_schema(connection: sqlite3.Connection, component: str, steps: Sequence[str]) -> None:
    """Brings the tables of `component` up to date; each of `steps` is one SQL statement, and one version.

    All that are missing are taken, or none. ConfigError where a newer headrace has taken more than these.
    """
    path = _path_of(connection)
    try:
        with transaction(connection):
            connection.execute(_VERSIONS)
            version = _version(connection, component)
            if version > len(steps):
                raise ConfigError(
                    f"{path}: the tables of '{component}' have version {version}, made by a newer headrace: "
                    f"expected at most {len(steps)}"
                )
            for step in steps[version:]:
                connection.execute(step)
            if version < len(steps):
                values = (component, len(steps))
                connection.execute("INSERT OR REPLACE INTO schema_versions VALUES (?, ?)", values)
    except sqlite3.Error as error:
        raise failure(path, error) from None


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Committed where the block ends well, else rolled back; no other process writes meanwhile."""
    with connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def failures_named(folder: Path) -> Iterator[None]:
    """Whatever the database in `folder` refuses comes as one of `failure`."""
    try:
        yield
    except sqlite3.Error as error:
        raise failure(folder / FILE_NAME, error) from error


def failure(path: Path, error: sqlite3.Error) -> ConfigError | OSError:
    """`error` as one that names the file: ConfigError where trying again does not help."""
    # The lowest byte is the primary code.
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    message = f"{path} cannot be written: {error}"
    return ConfigError(f"server.state_dir: {message}") if code in _LASTING else OSError(message)


def unreadable(path: Path, reason: object) -> Unavailable:
    return Unavailable(f"{path} cannot be read: {reason}")


def identity(path: Path) -> Identity | None:
    """None where there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _make(path: Path) -> None:
    """The file is made before SQLite would, which lets others read it; what is there keeps its mode."""
    try:
        path.parent.mkdir(_FOLDER_MODE, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
    except OSError as error:
        raise ConfigError(f"server.state_dir: {path} cannot be written: {error.strerror}") from None


def _set_up(connection: sqlite3.Connection, path: Path, busy_timeout_s: float) -> None:
    mode = _journal_mode(connection, busy_timeout_s)
    if mode != "wal":
        raise ConfigError(
            f"server.state_dir: {path} cannot be shared by processes (journal mode {mode}): expected "
            "a folder on a local file system"
        )
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _journal_mode(connection: sqlite3.Connection, busy_timeout_s: float) -> str:
    """Write-ahead logging where that can be had; SQLite does not wait for another that switches to it too."""
    ends_at = time.monotonic() + busy_timeout_s
    while True:
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= ends_at:
                raise
            time.sleep(RETRY_INTERVAL_S)


def _version(connection: sqlite3.Connection, component: str) -> int:
    query = "SELECT version FROM schema_versions WHERE component = ?"
    row = connection.execute(query, (component,)).fetchone()
    return int(row[0]) if row else 0


def _path_of(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("PRAGMA database_list").fetchone()[2])
