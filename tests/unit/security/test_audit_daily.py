"""The server archives its audit log by itself: whole days, once a day, and whatever fails is tried again."""

import logging
import stat
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from headrace.errors import ConfigError
from headrace.security.audit import archive as archive_module
from headrace.security.audit.chain import ARCHIVE, verify
from headrace.security.audit.daily import FOLDER_NAME, DailyArchive
from headrace.security.audit.export import read_file
from headrace.security.audit.log import NoAuditLog
from headrace.security.audit.reader import PAGE_SIZE
from headrace.settings import AuditSettings
from support.auditing import event, records, started, wait_until, write, write_aged

KEEP_DAYS = 7
SHORT_S = 0.02


def files_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def run_once(folder, **parts):
    """One look at the log, as at a start."""
    daily = DailyArchive(folder, KEEP_DAYS, **parts)
    daily.start()
    wait_until(lambda: daily.done_count + daily.failed_count)
    daily.stop(10.0)
    assert not daily._thread.is_alive()
    return daily


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "state"
    write_aged(folder, 5, days=KEEP_DAYS + 2)
    write(folder, event("unload"))
    return folder


def test_what_is_older_is_archived_at_the_start(folder):
    daily = run_once(folder)

    archives = folder / FOLDER_NAME
    assert files_in(archives) == ["audit-000000000001-000000000005.jsonl.gz"]
    assert (daily.done_count, daily.failed_count) == (1, 0)
    archived = list(read_file(archives / files_in(archives)[0]))
    assert [record["action"] for record in archived] == ["load"] * 5
    assert [record["action"] for record in records(folder)] == ["unload", ARCHIVE]
    assert records(folder)[-1]["caller"] == "headrace"
    assert verify([*archived, *records(folder)]).problem == ""
    assert stat.S_IMODE(archives.stat().st_mode) == 0o700


def test_a_folder_of_ones_own_is_made(folder, tmp_path):
    own = tmp_path / "far" / "away"
    run_once(folder, archive_dir=own)

    assert len(files_in(own)) == 1
    assert files_in(folder / FOLDER_NAME) == []


def test_days_are_archived_whole(tmp_path):
    now = datetime.now(UTC).replace(hour=23, minute=59)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    age_of_midnight = (datetime.now(UTC) - midnight) / timedelta(days=1)
    write_aged(tmp_path, 3, days=age_of_midnight + KEEP_DAYS + 0.001)
    write_aged(tmp_path, 2, days=age_of_midnight + KEEP_DAYS - 0.001)
    run_once(tmp_path, now=lambda: now)

    assert files_in(tmp_path / FOLDER_NAME) == ["audit-000000000001-000000000003.jsonl.gz"]
    # However often it starts on that day.
    daily = DailyArchive(tmp_path, KEEP_DAYS, now=lambda: now)
    assert daily._archive()
    assert daily.done_count == 0


def test_it_goes_on_day_by_day(tmp_path):
    days = [5, 4, 3]
    for each in days:
        write_aged(tmp_path, 2, days=KEEP_DAYS + each)
    clock = iter(datetime.now(UTC) - timedelta(days=each - 1) for each in days)
    last = datetime.now(UTC) - timedelta(days=days[-1] - 1)
    daily = DailyArchive(tmp_path, KEEP_DAYS, now=lambda: next(clock, last), interval_s=SHORT_S)
    daily.start()
    wait_until(lambda: daily.done_count == 3)
    daily.stop(10.0)

    names = files_in(tmp_path / FOLDER_NAME)
    assert names == [
        "audit-000000000001-000000000002.jsonl.gz",
        "audit-000000000003-000000000004.jsonl.gz",
        "audit-000000000005-000000000006.jsonl.gz",
    ]
    archived = [record for name in names for record in read_file(tmp_path / FOLDER_NAME / name)]
    assert verify([*archived, *records(tmp_path)]).problem == ""


def test_a_file_that_an_interrupted_archive_has_left_goes_first(folder, monkeypatch):
    def fail(*_):
        raise RuntimeError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "cut", fail)
        assert run_once(folder).failed_count == 1
    # Meanwhile more has become old.
    later = datetime.now(UTC) + timedelta(days=KEEP_DAYS + 2)
    daily = DailyArchive(folder, KEEP_DAYS, now=lambda: later)
    assert daily._archive()
    assert daily._archive()

    names = files_in(folder / FOLDER_NAME)
    assert names == [
        "audit-000000000001-000000000005.jsonl.gz",
        "audit-000000000006-000000000007.jsonl.gz",
    ]
    archived = [record for name in names for record in read_file(folder / FOLDER_NAME / name)]
    assert verify([*archived, *records(folder)]).problem == ""


def test_parts_that_a_crash_has_left_are_removed_in_the_end(folder):
    archives = folder / FOLDER_NAME
    archives.mkdir()
    for name in (".audit-000000000001-000000000005.jsonl.gz.x.part", ".mine.part", "audit.part"):
        (archives / name).touch()
    run_once(folder)
    assert len(files_in(archives)) == 4
    later = datetime.now(UTC) + timedelta(days=1.1)
    assert DailyArchive(folder, KEEP_DAYS, now=lambda: later)._archive()

    assert files_in(archives) == [".mine.part", "audit-000000000001-000000000005.jsonl.gz", "audit.part"]


def test_what_fails_is_logged_and_counted_and_tried_again(folder, tmp_path, caplog):
    archives = tmp_path / "archives"
    archives.write_text("in the way")
    daily = DailyArchive(folder, KEEP_DAYS, archives, retry_s=SHORT_S)
    daily.start()
    wait_until(lambda: daily.failed_count >= 2)
    archives.unlink()
    wait_until(lambda: daily.done_count == 1)
    daily.stop(10.0)

    assert len(files_in(archives)) == 1
    complaints = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(complaints) == daily.failed_count
    assert complaints[0].startswith("the audit log was not archived, and grows: [Errno 17] File exists")


def test_what_is_a_bug_does_not_end_it(folder, caplog, monkeypatch):
    def fail(*_):
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(archive_module, "verify", fail)
        assert run_once(folder).failed_count == 1
    assert "this is a bug" in caplog.text
    assert run_once(folder).done_count == 1


def test_a_file_of_another_log_is_in_the_way_and_stays(folder, caplog):
    archives = folder / FOLDER_NAME
    archives.mkdir()
    alien = archives / "audit-000000000001-000000000009.jsonl.gz"
    alien.write_bytes(b"of another log")
    daily = run_once(folder)

    assert (daily.done_count, daily.failed_count) == (0, 1)
    assert f"{alien} is there already, and does not hold the records from 1 on" in caplog.text
    assert alien.read_bytes() == b"of another log"
    assert len(records(folder)) == 6


def test_a_stop_does_not_wait_for_the_rest(tmp_path, monkeypatch):
    write_aged(tmp_path, 3 * PAGE_SIZE, days=KEEP_DAYS + 2)
    monkeypatch.setattr("headrace.security.audit.daily.REST_S", 600.0)
    daily = DailyArchive(tmp_path, KEEP_DAYS)
    daily.start()
    archives = tmp_path / FOLDER_NAME
    wait_until(lambda: any(name.endswith(".part") for name in files_in(archives)))
    began = time.monotonic()
    daily.stop(60.0)

    assert time.monotonic() - began < 30.0
    assert (daily.done_count, daily.failed_count) == (0, 0)
    assert files_in(archives) == []
    assert len(records(tmp_path)) == 3 * PAGE_SIZE


def test_a_log_archives_by_itself_where_it_is_told_to(folder):
    with started(folder, AuditSettings(keep_days=KEEP_DAYS)) as log:
        log.record(event("log_settings", model=""))
        wait_until(lambda: log.archived_count == 1)
        log.record(event("load"))
        assert log.unarchived_count == 0

    (name,) = files_in(folder / FOLDER_NAME)
    archived = list(read_file(folder / FOLDER_NAME / name))
    assert verify([*archived, *records(folder)]).count == 5 + 1 + 3
    assert log.lost_count == 0
    assert "headrace audit archive" not in [each.name for each in threading.enumerate()]


def test_a_log_keeps_everything_where_it_is_not(folder):
    with started(folder) as log:
        log.record(event())

    assert not (folder / FOLDER_NAME).exists()
    assert len(records(folder)) == 7
    assert (log.archived_count, log.unarchived_count) == (0, 0)
    assert (NoAuditLog().archived_count, NoAuditLog().unarchived_count) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"keep_days": -1}, "audit.keep_days: -1 is not valid: expected an integer from 0 to 36500"),
        ({"keep_days": 10**6}, "audit.keep_days: 1000000 is not valid"),
        ({"keep_days": 1, "enabled": False}, "audit.keep_days: has no effect without audit.enabled"),
        ({"archive_dir": "x"}, "audit.archive_dir: 'x' is not valid"),
    ],
    ids=["negative", "too long", "without a log", "no path"],
)
def test_wrong_settings_are_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        AuditSettings(**settings)


def test_a_folder_for_archives_that_are_not_made_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"audit.archive_dir: has no effect without audit.keep_days"):
        AuditSettings(archive_dir=tmp_path)
