"""The audit log while its disk, its file or its folder fails: requests go on, and the loss is told."""

import json
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headrace.errors import ConfigError
from headrace.security.audit.chain import verify
from headrace.security.audit.log import AuditLog
from headrace.state.database import FILE_NAME
from support.auditing import REQUIRED, Clock, event, held, records, started, wait_until

TESTS = Path(__file__).parents[1]
NOBODY = 65534

# A limit on the size of files is what a process can do to itself that looks most like a full disk.
FULL_DISK = """
import json, resource, sys
from pathlib import Path
from support.auditing import event, started, wait_until

with started(Path(sys.argv[1])) as log:
    log.record(event(model="before"))
    wait_until(lambda: log.recorded_count == 1)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    for n in range(5):
        log.record(event(model=f"lost{n}"))
        wait_until(lambda: log.lost_count == n + 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    wait_until(lambda: log._writer._told_count == 5)
    log.record(event(model="after"))
print(json.dumps({"recorded": log.recorded_count, "lost": log.lost_count}))
"""


# Tells of each event once it is on disk.
TALKATIVE = """
import asyncio, itertools, sys
from pathlib import Path
from support.auditing import event, started

async def main():
    with started(Path(sys.argv[1])) as log:
        for n in itertools.count():
            await log.record_now(event(model=f"m{n}"))
            print(f"m{n}", flush=True)

asyncio.run(main())
"""


def models(folder: Path) -> list[str]:
    return [record["model"] for record in records(folder) if record["action"] == "load"]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.fixture
def read_only_folder() -> Iterator[Path]:
    """Outside of pytest's own folder, which only its owner may enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    yield folder
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_a_full_disk_loses_events_and_says_so_and_then_goes_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    ran = subprocess.run(command, cwd=TESTS, capture_output=True, text=True, timeout=60)

    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"recorded": 2, "lost": 5}
    assert models(tmp_path) == ["before", "after"]
    gap = [record["reason"] for record in records(tmp_path) if record["action"] == "audit_lost"]
    assert sum(int(reason.split()[0]) for reason in gap) == 5
    assert verify(records(tmp_path)).problem == ""
    assert "Traceback" not in ran.stderr


def test_a_database_that_is_removed_is_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with started(tmp_path) as log:
        log.record(event(model="gone"))
        wait_until(lambda: log.recorded_count == 1)
        for path in tmp_path.iterdir():
            path.unlink()
        log.record(event(model="kept"))
        wait_until(lambda: log.recorded_count == 2)
        log.record(event(model="kept too"))

    assert models(tmp_path) == ["kept", "kept too"]
    assert verify(records(tmp_path)).problem == ""
    assert log.lost_count == 0
    assert len([each for each in caplog.messages if "was removed or replaced" in each]) == 1


def test_a_folder_that_is_removed_is_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    with started(folder) as log:
        log.record(event(model="gone"))
        wait_until(lambda: log.recorded_count == 1)
        shutil.rmtree(folder)
        log.record(event(model="kept"))

    assert models(folder) == ["kept"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_lock_loses_events_and_warns_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    with started(tmp_path, busy_timeout_s=0.01, clock=clock) as log:
        with held(tmp_path):
            for n in range(3):
                log.record(event(model=f"lost{n}"))
                wait_until(lambda: log.lost_count == n + 1)  # noqa: B023  called at once
            wait_until(lambda: len(warnings(caplog)) == 1)
            clock.now += 60
            wait_until(lambda: len(warnings(caplog)) == 2)
        log.record(event(model="kept"))

    assert models(tmp_path) == ["kept"]
    assert log.lost_count == 3
    first, second = warnings(caplog)
    assert "1 events are lost so far: " in first
    assert "3 events are lost so far: " in second
    assert f"{FILE_NAME} cannot be written: database is locked" in second
    heads = [each.partition(":")[2] for each in caplog.messages if each.startswith("audit log:")]
    assert [head.split()[0] for head in heads] == ["0", "2"]


def test_a_log_that_could_not_be_opened_is_when_it_can_be(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.write_text("in the way")
    with started(folder) as log:
        log.record(event(model="lost"))
        wait_until(lambda: log.lost_count == 1)
        folder.unlink()
        wait_until(folder.is_dir)
        log.record(event(model="kept"))

    assert models(folder) == ["kept"]


def test_a_stop_takes_bounded_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.security.audit.log.STOP_TIMEOUT_S", 0.2)
    log = AuditLog(tmp_path, REQUIRED, busy_timeout_s=2)
    log.start()
    with held(tmp_path):
        log.record(event(model="waits for the lock"))
        wait_until(lambda: log._writer._queue.qsize() == 0)
        log.record(event(model="waits for the writer"))
        log.stop()
        assert log._writer._thread.is_alive()
    log._writer._thread.join()

    assert models(tmp_path) == ["waits for the lock"]
    assert (log.recorded_count, log.lost_count) == (1, 1)


def test_a_folder_that_may_not_be_written_ends_the_start_where_the_log_is_required(
    read_only_folder: Path,
) -> None:
    log = AuditLog(read_only_folder, REQUIRED)

    with as_nobody(), pytest.raises(ConfigError, match=rf"{FILE_NAME} cannot be written: Permission denied"):
        log.start()


def test_a_folder_that_may_not_be_written_is_a_warning_where_it_is_not(
    read_only_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with as_nobody(), started(read_only_folder) as log:
        log.record(event())
        wait_until(lambda: log.lost_count == 1)

    assert "Permission denied" in caplog.messages[0]


def test_what_was_recorded_survives_a_kill(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TALKATIVE, tmp_path], cwd=TESTS, stdout=subprocess.PIPE, text=True
    ) as writing:
        assert writing.stdout is not None
        told = [writing.stdout.readline().strip() for _ in range(50)]
        writing.kill()
        told += writing.stdout.read().split()

    found = models(tmp_path)
    assert verify(records(tmp_path)).problem == ""
    assert found[: len(told)] == told
    with started(tmp_path) as log:
        log.record(event(model="next"))
    assert models(tmp_path) == [*found, "next"]
