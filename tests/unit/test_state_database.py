"""The state database: made for its owner alone, with each component's tables at their version."""

import sqlite3
import stat
import subprocess
import sys

import pytest

from headrace.errors import ConfigError, NotFound, Unavailable
from headrace.state.database import FILE_NAME, apply_schema, open_database, open_read_only, transaction

STEPS = ("CREATE TABLE pets (name TEXT)", "ALTER TABLE pets ADD COLUMN age INTEGER")


@pytest.fixture
def database(tmp_path):
    connection = open_database(tmp_path)
    yield connection
    connection.close()


def columns(connection):
    return [row[1] for row in connection.execute("PRAGMA table_info(pets)")]


def test_folder_and_files_are_for_their_owner_alone(tmp_path):
    folder = tmp_path / "a" / "state"
    connection = open_database(folder)
    apply_schema(connection, "pets", STEPS)

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    connection.close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert set(modes) == {FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"}
    assert set(modes.values()) == {0o600}


def test_what_is_committed_is_on_disk_and_foreign_keys_hold(database):
    pragmas = {
        name: database.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "foreign_keys")
    }
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}


def test_missing_steps_are_applied_and_taken_ones_are_not(database):
    apply_schema(database, "pets", STEPS[:1])
    apply_schema(database, "pets", STEPS)
    apply_schema(database, "pets", STEPS)
    apply_schema(database, "plants", ("CREATE TABLE plants (name TEXT)",))

    assert columns(database) == ["name", "age"]
    assert dict(database.execute("SELECT * FROM schema_versions")) == {"pets": 2, "plants": 1}


def test_steps_are_taken_all_or_none(database):
    with pytest.raises(OSError, match=FILE_NAME):
        apply_schema(database, "pets", (*STEPS, "CREATE TABLE pets (twice TEXT)"))

    assert columns(database) == []


def test_a_database_of_a_newer_headrace_is_refused(database):
    apply_schema(database, "pets", STEPS)

    with pytest.raises(ConfigError, match=rf"{FILE_NAME}: .*'pets' have version 2.* newer .*at most 1"):
        apply_schema(database, "pets", STEPS[:1])


def test_a_transaction_that_fails_leaves_nothing(database):
    apply_schema(database, "pets", STEPS)
    with pytest.raises(RuntimeError), transaction(database):
        database.execute("INSERT INTO pets VALUES ('rex', 3)")
        raise RuntimeError

    assert database.execute("SELECT count(*) FROM pets").fetchone() == (0,)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "state").write_text("no folder")

    with pytest.raises(ConfigError, match=r"server.state_dir: .*state/headrace.sqlite3 cannot be written"):
        open_database(tmp_path / "state")


def test_what_is_no_database_is_refused(tmp_path):
    (tmp_path / FILE_NAME).write_text("no database, whatever its name" * 100)

    with pytest.raises(ConfigError, match=f"{FILE_NAME} cannot be written: file is not a database"):
        open_database(tmp_path)


def test_a_database_that_stays_locked_is_an_error_that_may_pass(tmp_path, database):
    other = open_database(tmp_path, busy_timeout_s=0.05)
    with transaction(database), pytest.raises(OSError, match=f"{FILE_NAME} cannot be written: .*locked"):
        apply_schema(other, "pets", STEPS)

    apply_schema(other, "pets", STEPS)
    other.close()


def test_processes_that_make_it_at_the_same_time_all_get_it(tmp_path):
    script = (
        "import sys; from pathlib import Path; from headrace.state.database import *\n"
        "connection = open_database(Path(sys.argv[1]))\n"
        "apply_schema(connection, 'pets', ('CREATE TABLE pets (name TEXT)',))\n"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path], stderr=subprocess.PIPE) for _ in range(4)
    ]
    complaints = [process.communicate(timeout=60)[1] for process in running]

    assert [process.returncode for process in running] == [0] * 4, complaints


def test_reading_does_not_write(tmp_path, database):
    apply_schema(database, "pets", STEPS)
    reading = open_read_only(tmp_path)

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reading.execute("INSERT INTO pets VALUES ('rex', 3)")
    reading.close()


@pytest.mark.parametrize("name", ["state", "what?mode=rwc#", "a%20b"])
def test_reading_what_is_not_there(tmp_path, name):
    with pytest.raises(NotFound, match="there is no "):
        open_read_only(tmp_path / name)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["what?mode=rwc#", "a%20b", "ü \n"])
def test_reading_from_folders_with_odd_names(tmp_path, name):
    open_database(tmp_path / name).close()

    reading = open_read_only(tmp_path / name)
    assert reading.execute("SELECT 1").fetchone() == (1,)
    reading.close()


def test_a_folder_that_may_not_be_read_is_said_to_be_so(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.stat", refuse)
    with pytest.raises(Unavailable, match="cannot be read: Permission denied"):
        open_read_only(tmp_path)
