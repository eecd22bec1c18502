"""`headrace audit` as an operator types it, beside those who write the log."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headrace.core.caller import Caller
from headrace.security.audit.content import content_of
from headrace.security.audit.table import COMPONENT, SCHEMA, append
from headrace.state.database import FILE_NAME, apply_schema, open_database
from support.auditing import denial, event, records, started, tamper, write
from support.commands import Ran, run_command

COMMAND = (sys.executable, "-m", "headrace.cli.main", "audit")
ODD = 'a"b\n\x1b[31mred\u202e😀'


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs `headrace audit` with the state folder in its environment."""
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path))

    return partial(run_command, capsys, "audit")


Audit = Callable[..., Ran]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(
        tmp_path,
        event("load", model="fraud-a", version="3", caller=Caller("alice", address="10.0.0.1:1")),
        event("log_settings", model="", caller=Caller("bob"), old={"verbose": 0}, new={"verbose": 1}),
        denial("fraud-a", caller=Caller("mallory"), reason="no such permission"),
    )
    return tmp_path


def test_list_shows_a_table_of_the_newest_oldest_first(audit: Audit, folder: Path) -> None:
    ran = audit("list")

    assert ran.status == 0
    titles, *rows = [line.split() for line in ran.lines]
    times = [record["time"] for record in records(folder)]
    assert titles == ["SEQUENCE", "TIME", "CALLER", "BY", "FROM", "ACTION", "MODEL", "RESULT", "DETAILS"]
    assert rows == [
        ["1", times[0], "alice", "none", "10.0.0.1:1", "load", "fraud-a/3", "done"],
        ["2", times[1], "bob", "none", "log_settings", "done", '{"verbose":0}', "->", '{"verbose":1}'],
        ["3", times[2], "mallory", "none", "infer", "fraud-a", "denied", "no", "such", "permission"],
    ]
    assert [line.split() for line in audit("list", "--last", 1).lines] == [titles, rows[2]]


@pytest.mark.parametrize(
    ("words", "sequences"),
    [
        ((), [1, 2, 3]),
        (("--last", "0"), [1, 2, 3]),
        (("--last", "2"), [2, 3]),
        (("--denied",), [3]),
        (("--caller", "[ab]*"), [1, 2]),
        (("--model", "fraud-?"), [1, 3]),
        (("--action", "load"), [1]),
        (("--since", "1h"), [1, 2, 3]),
        (("--until", "1h"), []),
        (("--since", "2020-01-01", "--until", "2020-01-01T10:00+02:00"), []),
    ],
)
def test_filters(audit: Audit, folder: Path, words: tuple[str, ...], sequences: list[int]) -> None:
    assert [record["sequence"] for record in audit("list", "--json", *words).records] == sequences


@pytest.mark.parametrize(
    "words", [("--denied",), ("--caller", "bob"), ("--since", "1h", "--model", "fraud-*")]
)
def test_export_writes_what_the_filters_want(audit: Audit, folder: Path, words: tuple[str, ...]) -> None:
    assert audit("export", *words).records == audit("list", "--json", *words).records


def test_export_holds_every_field_and_verifies(audit: Audit, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    ran = audit("export", file)

    assert (ran.status, ran.out, ran.err) == (0, "", "3 records exported\n")
    assert [json.loads(line) for line in file.read_text().splitlines()] == records(folder)
    assert file.stat().st_mode & 0o777 == 0o600
    assert audit("verify", file).out == audit("verify").out


def test_verify_names_the_head(audit: Audit, folder: Path) -> None:
    ran = audit("verify")
    head = f"3:{records(folder)[-1]['hash']}"

    assert (ran.status, ran.out) == (0, f"3 records, chain intact, ends with {head}\n")
    assert audit("verify", "--head", head).status == 0


def test_verify_finds_what_was_changed(audit: Audit, folder: Path) -> None:
    tamper(folder, ["UPDATE audit_records SET caller = 'eve' WHERE sequence = 2"])
    ran = audit("verify")

    assert ran.status == 1
    assert ran.out == (
        "NOT INTACT: record 2 was changed: its hash is not that of its fields; "
        "1 records before it are intact\n"
    )


def test_verify_finds_an_end_that_was_cut_off(audit: Audit, folder: Path) -> None:
    head = f"3:{records(folder)[-1]['hash']}"
    tamper(folder, ["DELETE FROM audit_records WHERE sequence = 3"])

    assert audit("verify").status == 0
    assert audit("verify", "--head", head).status == 1


def test_verify_of_an_export_that_was_changed(audit: Audit, folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    audit("export", file)
    lines = file.read_text().splitlines(keepends=True)

    for changed, problem in (
        (lines[0] + lines[2], "record 2 is missing"),
        (lines[0] + lines[1].replace("bob", "eve") + lines[2], "record 2 was changed"),
        (lines[1] + lines[0] + lines[2], "record 1 is missing"),
        (lines[0].replace('"load"', '"load", "note": "mine"'), "record 1 was changed"),
        ("{}\n", "record 1 is missing"),
    ):
        file.write_text(changed)
        ran = audit("verify", file)
        assert (ran.status, ran.out.partition("; ")[0].split(":")[1].strip()) == (1, problem)

    file.write_text(lines[0] + "half a rec")
    ran = audit("verify", file)
    assert ran.status == 1
    assert ran.err == f"headrace: {file}:2: expected a record as one JSON object\n"


def test_odd_names_stay_in_their_line(audit: Audit, tmp_path: Path) -> None:
    write(tmp_path, event(caller=Caller(ODD), model="a\ud800\0b", reason="two\nlines\r\n"))

    (line,) = audit("list").lines[1:]
    (record,) = audit("export").records
    assert 'a"b\\n\\x1b[31mred\\u202e😀' in line
    assert "a\\ud800\\x00b" in line
    assert "two\\nlines\\r\\n" in line
    assert (record["caller"], record["reason"]) == (ODD, "two\nlines\r\n")


def test_a_terminal_without_the_characters_is_no_error(folder: Path) -> None:
    write(folder, event(caller=Caller("é😀")))
    command = [*COMMAND, "list", "--state-dir", folder]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ran = subprocess.run(command, capture_output=True, env=environment, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert b"\\xe9\\U0001f600" in ran.stdout


@pytest.mark.parametrize("action", ["list", "follow", "verify", "export"])
def test_no_log_is_one_clear_line(audit: Audit, tmp_path: Path, action: str) -> None:
    ran = audit(action)

    complaint = f"headrace: there is no {tmp_path}/{FILE_NAME}: expected the state folder of a server\n"
    assert (ran.status, ran.out, ran.err) == (1, "", complaint)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("action", ["list", "follow", "verify", "export"])
def test_what_is_no_database_is_one_clear_line(audit: Audit, tmp_path: Path, action: str) -> None:
    (tmp_path / FILE_NAME).write_text("no database, whatever its name" * 100)
    ran = audit(action)

    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith(f"{FILE_NAME} cannot be read: file is not a database\n")


def test_files_that_cannot_be_used_are_named(audit: Audit, folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "none" / "audit.jsonl"

    for words, deed in ((("verify", missing), "read"), (("export", missing), "written")):
        ran = audit(*words)
        assert ran.status == 1
        assert ran.err == f"headrace: {missing} cannot be {deed}: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("list", "--since", "soon"), "'soon' is no time: expected one as in 2027-01-31T14:30"),
        (("list", "--since", "99999999d"), "'99999999d' is no time"),
        (("verify", "--head", "17"), "'17' is not valid: expected a record's number and its hash"),
        (("list", "--last", "-1"), "expected at least 0"),
        (("list", "--dnied"), "--dnied: is not an option; did you mean '--denied'?"),
        (("show",), "invalid choice: 'show'"),
        ((), "the following arguments are required: ACTION"),
    ],
)
def test_wrong_arguments_are_refused(audit: Audit, words: tuple[str, ...], complaint: str) -> None:
    ran = audit(*words)

    assert ran.status == 2
    assert complaint in ran.err


def test_the_state_folder_is_found_as_the_server_finds_it(
    audit: Audit, folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "headrace.yaml"
    settings.write_text(f"server:\n  state_dir: {folder}\ngrpc:\n  port: wrong\n")
    monkeypatch.setenv("HEADRACE_GRPC_PORT", "wrong, and of no interest here")
    monkeypatch.setenv("HEADRACE_CONFIG", str(settings))
    assert audit("verify").status == 0
    monkeypatch.setenv("HEADRACE_STATE_DIR", "/nowhere")
    assert "there is no /nowhere/" in audit("verify").err
    assert audit("verify", "--state-dir", folder).status == 0
    monkeypatch.delenv("HEADRACE_STATE_DIR")
    assert audit("verify").status == 0


@contextmanager
def following_with(words: Sequence[str | Path]) -> Iterator["subprocess.Popen[str]"]:
    """A command that runs on; it heeds Ctrl-C even where these tests run in the background of a shell."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(words, text=True, preexec_fn=heed, **pipes) as following:
        try:
            yield following
        finally:
            following.kill()


def test_follow_shows_what_other_processes_write(folder: Path) -> None:
    words = [*COMMAND, "follow", "--json", "--last", "1", "--action", "infer", "--state-dir", folder]
    with (
        following_with(words) as following,
        started(folder) as one,
        started(folder) as other,
    ):
        assert following.stdout is not None
        assert json.loads(following.stdout.readline())["sequence"] == 3
        one.record(event("infer", model="from one"))
        one.record(event("load"))
        assert json.loads(following.stdout.readline())["model"] == "from one"
        other.record(event("infer", model="from the other"))
        assert json.loads(following.stdout.readline())["model"] == "from the other"
        following.send_signal(signal.SIGINT)
        _, complaints = following.communicate(timeout=20)

    assert (following.returncode, complaints) == (0, "")


def test_follow_ends_where_the_log_is_taken_away(folder: Path) -> None:
    words = [*COMMAND, "follow", "--state-dir", folder]
    with following_with(words) as following:
        assert following.stdout is not None
        assert "SEQUENCE" in following.stdout.readline()
        (folder / FILE_NAME).unlink()
        _, complaints = following.communicate(timeout=20)

    assert following.returncode == 1
    assert "was removed or replaced" in complaints


def test_many_records_are_verified(audit: Audit, tmp_path: Path) -> None:
    connection = open_database(tmp_path)
    apply_schema(connection, COMPONENT, SCHEMA)
    append(connection, [content_of(event(version=str(n))) for n in range(10_000)])
    connection.close()

    assert audit("verify").out.startswith("10000 records, chain intact, ends with 10000:")
