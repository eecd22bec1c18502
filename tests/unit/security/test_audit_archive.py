"""Archives of the audit log: what leaves the database is in a file first, and the chain goes through both."""

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from headrace.core.caller import Caller
from headrace.errors import NotFound, Unavailable
from headrace.security.audit import archive as archive_module
from headrace.security.audit.archive import Archiver
from headrace.security.audit.chain import ARCHIVE, BEGINNING, Head, verify
from headrace.security.audit.export import line_of, read_file
from headrace.security.audit.reader import PAGE_SIZE
from headrace.security.audit.table import SCHEMA
from headrace.state.database import FILE_NAME, apply_schema, open_database
from support.auditing import (
    ago,
    anchor,
    archive,
    connect,
    event,
    held,
    records,
    row_count,
    started,
    tamper,
    wait_until,
    write,
    write_aged,
)

OLD, NEW = 6, 3
TABLES_BEFORE_ARCHIVES = 4


@pytest.fixture
def folder(tmp_path):
    """A log with six records that are two days old, and three of now."""
    folder = tmp_path / "state"
    write_aged(folder, OLD, days=2)
    write(folder, *(event("unload") for _ in range(NEW)))
    return folder


@pytest.fixture
def file(tmp_path):
    return tmp_path / "archive.jsonl"


def chain_of(*files, folder):
    archived = [record for file in files for record in read_file(file)]
    return [*archived, *records(folder)]


def head_of(record):
    return Head(record["sequence"], record["hash"])


def files_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.is_file())


# What an archive does.


def test_old_records_are_put_into_the_file_and_leave_the_log(folder, file):
    before = records(folder)
    made = archive(folder, file, days=1)

    assert (made.first, made.count, made.end) == (1, OLD, head_of(before[OLD - 1]))
    assert list(read_file(file)) == before[:OLD]
    assert records(folder)[:NEW] == before[OLD:]
    assert row_count(folder) == NEW + 1
    assert anchor(folder) == made.end


def test_an_archive_is_recorded(folder, file):
    made = archive(folder, file, days=1)
    told = records(folder)[-1]

    assert (told["action"], told["caller"], told["outcome"]) == (ARCHIVE, "bob", "done")
    assert told["new"] == {
        "first": 1,
        "last": OLD,
        "count": OLD,
        "hash": made.end.hash,
        "file": "archive.jsonl",
    }


def test_the_file_is_for_its_owners_eyes_and_nothing_is_left_beside_it(folder, file):
    archive(folder, file, days=1)

    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert files_in(file.parent) == ["archive.jsonl"]


def test_one_chain_goes_through_all_archives_and_the_log(folder, tmp_path):
    files = [tmp_path / name for name in ("a.jsonl", "b.jsonl.gz", "c.jsonl")]
    for file in files:
        assert archive(folder, file) is not None
        write(folder, event(), event())

    everything = chain_of(*files, folder=folder)
    verdict = verify(everything)
    assert verdict.problem == ""
    assert verdict.count == len(everything) == OLD + NEW + 3 * 3
    assert [record["action"] for record in everything].count(ARCHIVE) == 3


def test_the_log_alone_verifies_from_its_anchor_on(folder, file):
    archive(folder, file, days=1)
    write(folder, event())
    verdict = verify(records(folder), begin=anchor(folder))

    assert (verdict.problem, verdict.begin.sequence, verdict.count) == ("", OLD, NEW + 2)


def test_everything_may_be_archived_and_the_log_goes_on(folder, file):
    archive(folder, file)
    assert [record["action"] for record in records(folder)] == [ARCHIVE]
    write(folder, event())

    assert verify(chain_of(file, folder=folder)).problem == ""


def test_nothing_is_done_where_nothing_is_older(folder, file):
    assert archive(folder, file, days=3) is None

    assert not file.exists()
    assert len(records(folder)) == OLD + NEW
    assert anchor(folder) == BEGINNING


def test_only_the_beginning_is_archived_whatever_the_clock_did(tmp_path, file):
    for days in (3, 1, 3):
        write_aged(tmp_path, 2, days=days)
    made = archive(tmp_path, file, days=2)

    assert made.count == 2


def test_many_records_go_in_steps_between_which_there_is_rest(tmp_path, file):
    count = 2 * PAGE_SIZE + 10
    write(tmp_path, *(event() for _ in range(count)))
    rests = []
    archiver = Archiver(tmp_path, Caller("bob"), lambda: rests.append(row_count(tmp_path)))
    made = archiver.archive(ago(0), lambda first, last: file)

    assert made.count == count
    # While it is written, while it is read back, and after each step of the removal.
    assert rests == [*[count] * 4, PAGE_SIZE + 11, 11, 1]


def test_those_who_write_meanwhile_go_on_with_the_chain(tmp_path, file):
    """What a writer holds in memory of the chain is not what it continues it from."""
    with started(tmp_path) as one, started(tmp_path) as other:
        for log in (one, other):
            log.record(event())
        wait_until(lambda: one.recorded_count + other.recorded_count == 2)
        archive(tmp_path, file)
        for log in (one, other):
            log.record(event())
        wait_until(lambda: one.recorded_count + other.recorded_count == 4)
        archive(tmp_path, tmp_path / "second.jsonl")
        one.record(event())

    assert verify(chain_of(file, tmp_path / "second.jsonl", folder=tmp_path)).count == 7
    assert one.lost_count + other.lost_count == 0


def test_a_log_of_before_there_were_archives_can_be_read_and_archived(tmp_path, file):
    with closing(open_database(tmp_path)) as connection:
        apply_schema(connection, "audit", SCHEMA[:TABLES_BEFORE_ARCHIVES])
    assert (records(tmp_path), anchor(tmp_path)) == ([], BEGINNING)
    write(tmp_path, event())
    assert archive(tmp_path, file).count == 1
    assert verify(chain_of(file, folder=tmp_path)).problem == ""


# What is refused.


def test_no_log_is_no_reason_to_make_one(tmp_path, file):
    with pytest.raises(NotFound):
        archive(tmp_path, file)

    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_stays_as_it_is(folder, file):
    file.write_text("precious")
    with pytest.raises(Unavailable, match=r"is there already, and does not hold the records from 1 on"):
        archive(folder, file)

    assert file.read_text() == "precious"
    assert len(records(folder)) == OLD + NEW


def test_a_file_that_appears_meanwhile_stays_as_it_is(folder, file, monkeypatch):
    name = archive_module._name

    def too_late(part, path):
        path.write_text("precious")
        name(part, path)

    monkeypatch.setattr(archive_module, "_name", too_late)
    with pytest.raises(Unavailable, match=r"archive.jsonl cannot be written: File exists"):
        archive(folder, file)

    assert file.read_text() == "precious"
    assert files_in(file.parent) == ["archive.jsonl"]
    assert len(records(folder)) == OLD + NEW


def test_an_empty_file_is_refused(folder, file):
    file.touch()
    with pytest.raises(Unavailable, match="it is empty: expected a name that is free"):
        archive(folder, file)


def test_an_archive_is_not_made_twice_under_one_name(folder, file):
    archive(folder, file, days=1)
    before = file.read_bytes()
    with pytest.raises(Unavailable, match="does not hold the records from 7 on: record 7 is missing"):
        archive(folder, file)

    assert file.read_bytes() == before


def test_the_beginning_of_another_log_is_refused(folder, file, tmp_path):
    write(tmp_path / "other", event(), event())
    archive(tmp_path / "other", file)
    with pytest.raises(Unavailable, match="is there already, and is not of this log"):
        archive(folder, file)

    assert len(records(folder)) == OLD + NEW


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE audit_records SET caller = 'eve' WHERE sequence = 2", "record 2 was changed"),
        ("UPDATE audit_records SET caller = x'ff' WHERE sequence = 2", "record 2 was changed"),
        ("DELETE FROM audit_records WHERE sequence = 1", "record 1 is missing"),
        ("DELETE FROM audit_records WHERE sequence = 3", "record 3 is missing"),
        ("DELETE FROM audit_records WHERE sequence IN (5, 6)", "record 5 is missing"),
        ("DELETE FROM audit_records WHERE sequence <= 6", "record 1 is missing"),
    ],
    ids=["changed", "no text", "without the first", "without another", "without the last", "without any"],
)
def test_a_log_that_is_not_intact_is_not_archived(folder, file, statement, problem):
    tamper(folder, [statement])
    count = row_count(folder)
    with pytest.raises(Unavailable, match=f"the log is not intact, and was not archived: {problem}"):
        archive(folder, file, days=1)

    assert files_in(file.parent) == []
    assert row_count(folder) == count
    assert anchor(folder) == BEGINNING


def test_a_change_behind_what_is_archived_is_in_nobodys_way(folder, file):
    tamper(folder, ["UPDATE audit_records SET caller = 'eve' WHERE sequence = 8"])

    assert archive(folder, file, days=1).count == OLD
    assert verify(records(folder), begin=anchor(folder)).problem.startswith("record 8 was changed")


def test_a_folder_that_is_not_there_is_named(folder, tmp_path):
    with pytest.raises(Unavailable, match=r"none/a.jsonl cannot be written: No such file or directory"):
        archive(folder, tmp_path / "none" / "a.jsonl")


def test_a_lock_that_is_held_is_an_error_and_the_next_try_goes_on(folder, file, monkeypatch):
    cut = archive_module.cut

    def cut_while_locked(connection, *rest):
        connection.execute("PRAGMA busy_timeout = 10")
        with held(folder):
            return cut(connection, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "cut", cut_while_locked)
        with pytest.raises(Unavailable, match=f"{FILE_NAME} cannot be written: database is locked"):
            archive(folder, file, days=1)
    assert len(records(folder)) == OLD + NEW

    assert archive(folder, file, days=1).count == OLD
    assert verify(chain_of(file, folder=folder)).problem == ""


def test_who_is_second_loses_nothing(folder, file, tmp_path, monkeypatch):
    cut = archive_module.cut

    def overtaken(connection, *rest):
        monkeypatch.setattr(archive_module, "cut", cut)
        archive(folder, tmp_path / "first.jsonl", days=1)
        return cut(connection, *rest)

    monkeypatch.setattr(archive_module, "cut", overtaken)
    with pytest.raises(
        Unavailable, match=r"archived by somebody else meanwhile: .*archive.jsonl is not needed"
    ):
        archive(folder, file, days=1)

    assert verify(chain_of(tmp_path / "first.jsonl", folder=folder)).problem == ""


# What a crash leaves.


class Crash(BaseException):
    """The end of the process."""


def crash(*_, **__):
    raise Crash


@pytest.mark.parametrize("later_days", [1, 0], ids=["at once", "when more is old"])
def test_a_crash_between_file_and_log_loses_nothing_and_is_made_up_for(folder, file, monkeypatch, later_days):
    before = records(folder)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(archive_module, "cut", crash)
        archive(folder, file, days=1)
    written = file.read_bytes()
    assert records(folder) == before

    made = archive(folder, file, days=later_days)

    assert made.count == OLD
    assert file.read_bytes() == written
    assert verify(chain_of(file, folder=folder)).count == OLD + NEW + 1


def test_a_crash_while_records_are_removed_is_made_up_for(folder, file, monkeypatch):
    archiver = Archiver(folder, Caller("bob"), crash)
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(archive_module, "PAGE_SIZE", 4)
        archive_with_rest_at_the_end(archiver, file)
    assert row_count(folder) == OLD + NEW + 1 - 4
    # What is still in the table is not of the log any more.
    assert [record["sequence"] for record in records(folder)] == [7, 8, 9, 10]
    assert verify(chain_of(file, folder=folder)).count == OLD + NEW + 1

    assert archive(folder, file, days=1) is None
    assert row_count(folder) == NEW + 1


def archive_with_rest_at_the_end(archiver, file):
    """What is written and read has less than a page; only its removal has steps."""
    archiver._paced = lambda records: iter(records)
    archiver.archive(ago(1), lambda first, last: file)


@pytest.mark.parametrize("step", ["verify", "_name"])
def test_a_crash_before_the_file_has_its_name_leaves_none(folder, file, monkeypatch, step):
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(archive_module, step, crash)
        archive(folder, file, days=1)

    assert files_in(file.parent) == []
    assert len(records(folder)) == OLD + NEW


def test_what_was_not_written_as_it_should_be_is_not_taken_out_of_the_log(folder, file, monkeypatch):
    def forgetful(lines, write):
        for number, line in enumerate(lines):
            yield line
            if number != 3:
                write(line)

    monkeypatch.setattr(archive_module, "_written", forgetful)
    with pytest.raises(Unavailable, match="cannot be read as it was written: nothing was archived"):
        archive(folder, file, days=1)

    assert files_in(file.parent) == []
    assert len(records(folder)) == OLD + NEW


def test_a_folder_without_hard_links_does_too(folder, file, monkeypatch):
    def without(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", without)
    archive(folder, file, days=1)

    assert len(list(read_file(file))) == OLD
    assert files_in(file.parent) == ["archive.jsonl"]
    with pytest.raises(FileExistsError):
        archive_module._name(file, file)


def test_file_and_folder_are_on_disk_before_anything_is_removed(folder, file, monkeypatch):
    steps = []
    fsync, cut = os.fsync, archive_module.cut

    def noting_fsync(descriptor):
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noting_cut(*arguments):
        steps.append("cut")
        return cut(*arguments)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(archive_module, "cut", noting_cut)
    archive(folder, file, days=1)

    assert steps == ["file", "folder", "cut"]


# What the database itself refuses.


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM audit_records WHERE sequence = 7",
        "DELETE FROM audit_records",
        "INSERT INTO audit_archives SELECT sequence, hash FROM audit_records WHERE sequence = 8",
        "INSERT OR REPLACE INTO audit_archives SELECT sequence, hash FROM audit_records WHERE sequence = 7",
        "INSERT INTO audit_archives VALUES (99, 'x')",
        "INSERT OR REPLACE INTO audit_archives SELECT sequence, 'x' FROM audit_archives",
        "UPDATE audit_archives SET sequence = 9",
        "DELETE FROM audit_archives",
        "INSERT INTO audit_records SELECT 1, time, action, caller, proof, address, roles, model, version, "
        "is_allowed, outcome, reason, old_value, new_value, repeats, previous, hash FROM audit_records "
        "WHERE sequence = 7",
    ],
)
def test_no_more_is_allowed_than_what_an_archive_needs(folder, file, statement):
    archive(folder, file, days=1)
    with (
        closing(connect(folder)) as connection,
        pytest.raises(sqlite3.IntegrityError, match=r"of the audit log|audit log is append-only"),
    ):
        connection.execute(statement)

    assert verify(chain_of(file, folder=folder)).count == OLD + NEW + 1


# What is found out.


def test_a_changed_archive_is_found(folder, file):
    archive(folder, file, days=1)
    lines = file.read_text().splitlines(keepends=True)
    changed = json.loads(lines[2])
    changed["caller"] = "eve"
    found = []
    for forged in (
        [*lines[:2], line_of(changed), *lines[3:]],
        [*lines[:2], *lines[3:]],
        lines[1:],
        lines[:-1],
        [],
    ):
        file.write_text("".join(forged))
        found.append(verify(chain_of(file, folder=folder), begin=None).problem)

    assert found == [
        "record 3 was changed: its hash is not that of its fields",
        "record 3 is missing: 4 stands in its place",
        "record 1 is missing: 2 stands in its place",
        "record 6 is missing: 7 stands in its place",
        # The log vouches for what it follows, and cannot tell that the file should not be empty.
        "",
    ]


def test_records_taken_away_without_an_archive_are_found(folder, file):
    archive(folder, file, days=1)
    tamper(folder, ["DELETE FROM audit_records WHERE sequence = 7"])

    assert (
        verify(records(folder), begin=anchor(folder)).problem == "record 7 is missing: 8 stands in its place"
    )


@pytest.mark.parametrize("begin", [None, Head(2, "")], ids=["told by the records", "told by the anchor"])
def test_an_anchor_without_its_archive_is_found(folder, begin):
    end = head_of(records(folder)[1])
    tamper(
        folder,
        [
            "DELETE FROM audit_records WHERE sequence <= 2",
            f"INSERT INTO audit_archives VALUES (2, '{end.hash}')",
        ],
    )
    assert anchor(folder) == end
    problem = verify(records(folder), begin=begin and end).problem

    assert problem == (
        f"no record tells of the archive that ends with {end}"
        if begin
        else "record 1 is missing: 3 stands in its place"
    )


def test_an_anchor_that_was_moved_is_found(folder, file):
    made = archive(folder, file, days=1)
    later = head_of(records(folder)[0])
    tamper(folder, [f"INSERT INTO audit_archives VALUES (7, '{later.hash}')"])

    assert made.end.sequence == 6
    problem = verify(records(folder), begin=anchor(folder)).problem
    assert problem == f"no record tells of the archive that ends with {later}"
    problem = verify(chain_of(file, folder=folder)).problem
    assert problem == "record 7 is missing: 8 stands in its place"


def test_an_anchor_with_another_hash_is_found(folder, file):
    archive(folder, file, days=1)
    tamper(folder, ["UPDATE audit_archives SET hash = replace(hash, '1', '2')"])

    assert verify(records(folder), begin=anchor(folder)).problem.startswith("record 7 does not follow")


def test_an_archives_record_that_was_cut_off_is_found(folder, file):
    archive(folder, file, days=1)
    tamper(folder, ["DELETE FROM audit_records WHERE sequence = 10"])

    assert "no record tells of the archive" in verify(records(folder), begin=anchor(folder)).problem


def test_kept_heads_are_looked_for_in_archives_too(folder, file):
    old, new = head_of(records(folder)[2]), head_of(records(folder)[7])
    made = archive(folder, file, days=1)
    everything, rest = chain_of(file, folder=folder), records(folder)

    for kept in (old, made.end, new):
        assert verify(everything, kept).problem == ""
    for kept in (made.end, new):
        assert verify(rest, kept, begin=made.end).problem == ""
    assert verify(rest, old, begin=made.end).problem == "record 3 was archived: what is here begins with 7"
    wrong = Head(6, "0" * 64)
    assert verify(rest, wrong, begin=made.end).problem.startswith("record 6 has the hash ")


def test_a_part_of_the_chain_verifies_where_somebody_vouches_for_its_beginning(folder, tmp_path):
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    made = archive(folder, first, days=1)
    write(folder, event())
    archive(folder, second)
    third = archive(folder, tmp_path / "third.jsonl")
    write(folder, event())

    # The record of the first archive is in the second, that of the second in the third.
    assert verify(read_file(second), begin=None).begin == made.end
    assert verify(list(read_file(second))[:2], begin=None).problem.startswith("record 1 is missing: 7 stands")
    assert verify(list(read_file(second))[:2], kept=made.end, begin=None).problem == ""
    assert verify(records(folder), begin=None).begin == third.end


def test_of_a_part_that_nobody_vouches_for_the_first_mistake_is_told_too(folder):
    found = records(folder)
    problem = verify([found[1], found[0]], begin=None).problem

    assert problem == (
        "record 1 is missing: 2 stands in its place, and record 3 is missing: 1 stands in its place"
    )
