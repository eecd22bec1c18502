"""`headrace audit archive` and `verify --archive` as an operator types them, beside a server that writes."""

import gzip
import json
import os
import pwd
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

from headrace.state.database import FILE_NAME
from support import onnx_models
from support.auditing import event, records, row_count, tamper, wait_until, write, write_aged
from support.commands import Ran, run_command
from support.server import ServerProcess

COMMAND = (sys.executable, "-m", "headrace.cli.main", "audit")
USER = pwd.getpwuid(os.getuid()).pw_name

Audit = Callable[..., Ran]


@pytest.fixture
def audit(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs `headrace audit` with the state folder in its environment."""
    monkeypatch.setenv("HEADRACE_STATE_DIR", str(tmp_path))

    return partial(run_command, capsys, "audit")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log with four records of the day before yesterday, and two of now."""
    write_aged(tmp_path, 4, days=2)
    write(tmp_path, event("unload"), event("unload"))
    return tmp_path


def last_of(folder: Path) -> str:
    newest = records(folder)[-1]
    return f"{newest['sequence']}:{newest['hash']}"


# The commands.


def test_archive_names_what_it_has_done(audit: Audit, folder: Path) -> None:
    file = folder / "old.jsonl.gz"
    ran = audit("archive", "--before", "1d", "--output", file)

    archived = [json.loads(line) for line in gzip.decompress(file.read_bytes()).splitlines()]
    assert (ran.status, ran.err) == (0, "")
    assert ran.out == f"4 records archived in {file}: 1 to 4:{archived[-1]['hash']}\n"
    assert [record["sequence"] for record in archived] == [1, 2, 3, 4]
    assert [line.split()[0] for line in audit("list").lines[1:]] == ["5", "6", "7"]
    (told,) = audit("list", "--json", "--action", "audit_archive").records
    assert (told["caller"], told["new"]["count"], told["new"]["file"]) == (USER, 4, "old.jsonl.gz")


@pytest.mark.parametrize("before", ["2020-01-01", "2020-01-01T10:00+02:00", "3d"])
def test_archive_of_nothing_makes_no_file(audit: Audit, folder: Path, before: str) -> None:
    file = folder / "old.jsonl"
    ran = audit("archive", "--before", before, "--output", file)

    assert (ran.status, ran.out) == (0, "no record is older: nothing was archived\n")
    assert not file.exists()


def test_verify_goes_through_archives_and_the_log(audit: Audit, folder: Path) -> None:
    files = [folder / "audit-1.jsonl", folder / "audit-2.jsonl.gz"]
    for file in files:
        assert audit("archive", "--before", "0s", "--output", file).status == 0
        write(folder, event())

    alone, all_of_it = audit("verify"), audit("verify", "--archive", *files)
    assert alone.out == f"2 records from 9 on, chain intact, ends with {last_of(folder)}\n"
    assert all_of_it.out == f"10 records, chain intact, ends with {last_of(folder)}\n"
    assert (alone.status, all_of_it.status) == (0, 0)
    export = folder / "export.jsonl"
    audit("export", export)
    assert audit("verify", export).out == alone.out
    assert audit("verify", export, "--archive", *files).out == all_of_it.out


def test_verify_finds_kept_heads_in_archives(audit: Audit, folder: Path) -> None:
    kept = f"2:{records(folder)[1]['hash']}"
    file = folder / "old.jsonl"
    audit("archive", "--before", "1d", "--output", file)

    alone = audit("verify", "--head", kept)
    assert alone.out.startswith("NOT INTACT: record 2 was archived: what is here begins with 5; ")
    assert audit("verify", "--head", kept, "--archive", file).status == 0


def test_verify_finds_what_was_done_to_archives_and_log(audit: Audit, folder: Path) -> None:
    one, two = folder / "one.jsonl", folder / "two.jsonl"
    audit("archive", "--before", "1d", "--output", one)
    audit("archive", "--before", "0s", "--output", two)
    lines = one.read_text().splitlines(keepends=True)

    def problem(*words: object) -> str:
        ran = audit("verify", *words)
        assert ran.status == 1
        return ran.out.removeprefix("NOT INTACT: ")

    assert problem("--archive", one).startswith("record 5 is missing: 8 stands in its place")
    assert problem("--archive", two, one).startswith("record 8 is missing: 1 stands in its place")
    one.write_text("".join([lines[0], lines[1].replace("m1", "m2"), *lines[2:]]))
    assert problem("--archive", one, two).startswith("record 2 was changed")
    one.write_text("".join(lines[:-1]))
    assert problem("--archive", one, two).startswith("record 4 is missing: 5 stands in its place")
    one.write_text("".join(lines))
    tamper(folder, ["DELETE FROM audit_records"])
    write(folder, event())
    assert "no record tells of the archive that ends with 7:" in problem()


def test_verify_finds_a_log_that_the_archives_do_not_lead_to(audit: Audit, folder: Path) -> None:
    file = folder / "old.jsonl"
    audit("archive", "--before", "0s", "--output", file)
    for path in folder.glob(f"{FILE_NAME}*"):
        path.unlink()
    for count in range(1, 7):
        write(folder, event())
        ran = audit("verify", "--archive", file)
        assert ran.status == 1
        assert f"{FILE_NAME} ends with {count}:" in ran.out
    write(folder, event())
    assert "NOT INTACT: record 7 does not follow" in audit("verify", "--archive", file).out


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("archive",), "the following arguments are required: --before, --output"),
        (
            ("archive", "--before", "soon", "--output", "x"),
            "'soon' is no time: expected one as in 2027-01-31",
        ),
        (("archive", "--befor", "1d"), "the following arguments are required: --before"),
        (("verify", "--archive"), "argument --archive: expected at least one argument"),
    ],
    ids=["nothing", "no time", "misspelt", "no archive"],
)
def test_wrong_arguments_are_refused(audit: Audit, words: tuple[str, ...], complaint: str) -> None:
    ran = audit(*words)

    assert ran.status == 2
    assert complaint in ran.err


def test_files_that_cannot_be_used_are_named(audit: Audit, folder: Path) -> None:
    missing = folder / "none" / "old.jsonl"

    for words, deed in (
        (("archive", "--before", "0s", "--output", missing), "written"),
        (("verify", "--archive", missing), "read"),
    ):
        ran = audit(*words)
        assert ran.status == 1
        assert ran.err == f"headrace: {missing} cannot be {deed}: No such file or directory\n"
    taken = folder / "taken.jsonl"
    taken.write_text("precious")
    ran = audit("archive", "--before", "0s", "--output", taken)
    assert (ran.status, taken.read_text()) == (1, "precious")
    assert ran.err.startswith(f"headrace: {taken} is there already, and does not hold the records from 1 on")


def test_no_log_is_one_clear_line(audit: Audit, tmp_path: Path) -> None:
    for words in (("archive", "--before", "0s", "--output", tmp_path / "a"), ("verify", "--archive", "a")):
        ran = audit(*words)
        complaint = f"headrace: there is no {tmp_path}/{FILE_NAME}: expected the state folder of a server\n"
        assert (ran.status, ran.out, ran.err) == (1, "", complaint)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_database_is_one_clear_line(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("no database, whatever its name" * 100)
    ran = audit("archive", "--before", "0s", "--output", tmp_path / "a")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err.endswith(f"{FILE_NAME} cannot be read: file is not a database\n")


# Beside a server.


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    onnx_models.write_models(folder, "identity_fp32")
    return folder


def ran(server: ServerProcess, *words: object) -> str:
    """What the command says in a process of its own."""
    command = [*COMMAND, words[0], "--state-dir", server.state_dir, *words[1:]]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def metric(server: ServerProcess, name: str) -> list[str]:
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        return [line for line in answer.read().decode().splitlines() if line.startswith(name)]


class Busy:
    """Has a server load and unload a model, which is recorded, until the end."""

    def __init__(self, server: ServerProcess) -> None:
        self._url = server.grpc_url
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.count = 0

    def __enter__(self) -> "Busy":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        with grpc.insecure_channel(self._url) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            while not self._is_over.is_set():
                name = "identity_fp32"
                stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=name), timeout=30)
                stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name), timeout=30)
                self.count += 1


def test_a_server_goes_on_with_the_chain_while_it_is_archived(repository: Path, tmp_path: Path) -> None:
    arguments = ("--model-control-mode=explicit", "--repository-settle-time-s=0", "--audit-required")
    files = [tmp_path / f"audit-{n}.jsonl.gz" for n in range(4)]
    with ServerProcess(repository, *arguments) as server:
        with Busy(server) as busy:
            for file in files:
                count = busy.count
                wait_until(lambda: busy.count > count + 1, timeout_s=60)  # noqa: B023  called at once
                assert "records archived in" in ran(server, "archive", "--before", "0s", "--output", file)
                assert "chain intact" in ran(server, "verify")
                assert "chain intact" in ran(server, "verify", "--archive", *files[: files.index(file) + 1])
        assert server.terminate() == 0, server.log
        said = [line.rpartition("ends with ")[2] for line in server.log.splitlines() if "audit log:" in line]
        verdict = ran(server, "verify", "--archive", *files, "--head", said[-1])
        assert verdict.endswith(f"ends with {said[-1]}\n")
        assert int(verdict.split()[0]) >= 4 * busy.count
        assert "Traceback" not in server.log


def test_a_server_archives_by_itself(repository: Path, tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    server = ServerProcess(repository, "--audit-keep-days=30", f"--audit-archive-dir={archives}")
    write_aged(server.state_dir, 2500, days=40)
    with server:
        wait_until(lambda: "archived 2500 records" in server.log, timeout_s=60)
        (file,) = archives.iterdir()
        assert file.name == "audit-000000000001-000000002500.jsonl.gz"
        assert row_count(server.state_dir) < 10
        assert metric(server, "headrace_audit_archives_total") == [
            'headrace_audit_archives_total{outcome="success"} 1',
            'headrace_audit_archives_total{outcome="failure"} 0',
        ]
        assert server.terminate() == 0, server.log
        verdict = ran(server, "verify", "--archive", file)
        assert "chain intact" in verdict and int(verdict.split()[0]) >= 2503
        (told,) = [record for record in records(server.state_dir) if record["action"] == "audit_archive"]
        assert (told["caller"], told["new"]["count"]) == ("headrace", 2500)


def test_a_server_that_cannot_archive_serves_on(repository: Path, tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.write_text("in the way")
    server = ServerProcess(repository, "--audit-keep-days=30", f"--audit-archive-dir={archives}")
    write_aged(server.state_dir, 3, days=40)
    with server:
        wait_until(lambda: "the audit log was not archived, and grows" in server.log)
        assert metric(server, "headrace_audit_archives_total")[1].endswith(" 1")
        assert server.terminate() == 0, server.log
        assert len(records(server.state_dir)) == 5
