"""The chain: whoever changes, takes away or puts in a record is found out."""

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.security.audit.chain import NO_HASH, Head, hash_of, verify
from support.auditing import archive, connect, event, records, tamper, write

COUNT = 6

PAGE = Path(__file__).parents[3] / "docs" / "audit.md"


@pytest.fixture
def folder(tmp_path):
    write(
        tmp_path, *(event(f"act{n}", old={"at": n, "share": 0.1}, reason="ü\n") for n in range(1, COUNT + 1))
    )
    return tmp_path


def problem(folder, kept=None):
    return verify(records(folder), kept).problem


def test_an_untouched_chain_is_intact(folder):
    found = records(folder)
    verdict = verify(found)

    assert verdict.problem == ""
    assert verdict.head == Head(COUNT, found[-1]["hash"])
    assert found[0]["previous"] == NO_HASH
    assert [record["sequence"] for record in found] == [1, 2, 3, 4, 5, 6]


def test_an_empty_chain_is_intact():
    assert verify([]).head == Head(0, NO_HASH)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("time", "'2020-01-01T00:00:00.000000Z'"),
        ("action", "'act9'"),
        ("caller", "'mallory'"),
        ("caller", "x'626f62'"),
        ("caller", "CAST(x'626fff' AS TEXT)"),
        ("proof", "'none'"),
        ("address", "''"),
        ("roles", "'[]'"),
        ("roles", "'no json'"),
        ("model", "'cancer'"),
        ("version", "'2'"),
        ("is_allowed", "0"),
        ("is_allowed", "2"),
        ("outcome", "'failed'"),
        ("reason", "'ü'"),
        ("old_value", "NULL"),
        ("old_value", """'{"at":3,"share":0.2}'"""),
        ("new_value", "'0'"),
        ("repeats", "1"),
    ],
)
def test_a_changed_field_is_found(folder, column, value):
    tamper(folder, [f"UPDATE audit_records SET {column} = {value} WHERE sequence = 3"])

    assert problem(folder) == "record 3 was changed: its hash is not that of its fields"


def test_a_record_with_a_new_hash_of_its_own_is_found_by_the_next(folder):
    changed = {**records(folder)[2], "caller": "mallory"}
    tamper(
        folder,
        [f"UPDATE audit_records SET caller = 'mallory', hash = '{hash_of(changed)}' WHERE sequence = 3"],
    )

    assert problem(folder) == "record 4 does not follow the one before it: its 'previous' is another hash"


def test_a_record_taken_out_of_the_middle_is_found(folder):
    tamper(folder, ["DELETE FROM audit_records WHERE sequence = 3"])

    assert problem(folder) == "record 3 is missing: 4 stands in its place"


def test_the_first_record_taken_away_is_found(folder):
    tamper(folder, ["DELETE FROM audit_records WHERE sequence = 1"])

    assert problem(folder) == "record 1 is missing: 2 stands in its place"


def test_a_gap_that_was_closed_is_found(folder):
    tamper(
        folder,
        [
            "DELETE FROM audit_records WHERE sequence = 3",
            "UPDATE audit_records SET sequence = sequence - 1 WHERE sequence > 3",
        ],
    )

    assert problem(folder) == "record 3 does not follow the one before it: its 'previous' is another hash"


def test_two_records_that_changed_places_are_found(folder):
    swap = "UPDATE audit_records SET sequence = {} WHERE sequence = {}"
    tamper(folder, [swap.format(99, 2), swap.format(2, 3), swap.format(3, 99)])

    assert problem(folder).startswith("record 2 does not follow")


@pytest.mark.parametrize("sequence", [0, -(2**63)])
def test_a_record_put_before_the_first_is_found(folder, sequence):
    columns = "time, action, caller, proof, address, roles, model, version, is_allowed, outcome, reason"
    columns += ", old_value, new_value, repeats, previous, hash"
    tamper(
        folder,
        [
            f"INSERT INTO audit_records (sequence, {columns}) "
            f"SELECT {sequence}, {columns} FROM audit_records WHERE sequence = 1"
        ],
    )

    assert problem(folder) == f"record 1 is missing: {sequence} stands in its place"


def test_a_record_put_in_between_is_found(folder):
    forged = {**records(folder)[2], "caller": "mallory"}
    make_room = [f"UPDATE audit_records SET sequence = {n + 1} WHERE sequence = {n}" for n in range(6, 2, -1)]
    copy = (
        "CREATE TEMP TABLE forged AS SELECT * FROM audit_records WHERE sequence = 4",
        f"UPDATE forged SET sequence = 3, caller = 'mallory', hash = '{hash_of(forged)}'",
        "INSERT INTO audit_records SELECT * FROM forged",
    )
    tamper(folder, [*make_room, *copy])

    assert problem(folder).startswith("record 4 does not follow")


def test_an_end_that_was_cut_off_is_found_by_a_kept_head(folder):
    kept = verify(records(folder)).head
    tamper(folder, ["DELETE FROM audit_records WHERE sequence > 4"])

    assert problem(folder) == ""
    assert problem(folder, kept).startswith("record 6 is missing: the log ends with 4:")


def test_a_chain_that_was_written_anew_is_found_by_a_kept_head(folder, tmp_path_factory):
    kept = Head(4, records(folder)[3]["hash"])
    other = tmp_path_factory.mktemp("other")
    write(other, *(event(f"act{n}") for n in range(8)))

    assert problem(other) == ""
    assert problem(other, kept).startswith("record 4 has the hash ")


def test_a_kept_head_may_be_older_than_the_log(folder):
    assert problem(folder, Head(4, records(folder)[3]["hash"])) == ""
    assert problem(folder, Head()) == ""


@pytest.mark.parametrize("text", ["", "5", "5:", "5:abc", f"x:{NO_HASH}", f"5:{NO_HASH}00", f"5:{'g' * 64}"])
def test_what_is_no_head_is_refused(text):
    with pytest.raises(ValueError):
        Head.parse(text)


def test_a_head_is_read_as_it_is_written():
    head = Head(17, "ab" * 32)

    assert Head.parse(str(head)) == Head.parse(str(head).upper()) == head


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_records SET caller = 'mallory' WHERE sequence = 3",
        "DELETE FROM audit_records WHERE sequence = 3",
        "DELETE FROM audit_records",
        "INSERT OR REPLACE INTO audit_records SELECT * FROM audit_records WHERE sequence = 3",
        "INSERT INTO audit_records SELECT 9, time, action, caller, proof, address, roles, model, version, "
        "is_allowed, outcome, reason, old_value, new_value, repeats, previous, hash FROM audit_records "
        "WHERE sequence = 6",
    ],
)
def test_the_table_takes_nothing_but_next_records(folder, statement):
    connection = connect(folder)
    with pytest.raises(sqlite3.IntegrityError, match="audit log"):
        connection.execute(statement)
    connection.close()

    assert problem(folder) == ""


def test_the_documented_ten_lines_verify_an_export(folder):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = records(folder)

    def ran(*lines):
        command = [sys.executable, "-c", script]
        return subprocess.run(command, input="".join(lines), capture_output=True, text=True, timeout=60)

    lines = [json.dumps(record) + "\n" for record in found]
    assert ran(*lines).stdout == f"{COUNT}:{found[-1]['hash']}\n"
    assert "record 2 was changed" in ran(lines[0], lines[1].replace("act2", "act3")).stderr
    assert "record 2 does not follow" in ran(lines[0], lines[2]).stderr

    file = folder / "archive.jsonl"
    archive(folder, file)
    rest = [json.dumps(record) + "\n" for record in records(folder)]
    assert ran(file.read_text(), *rest).stdout == f"{COUNT + 1}:{records(folder)[-1]['hash']}\n"
