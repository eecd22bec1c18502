"""Reading the audit log: the newest, all in pages, and by filters, beside those who write."""

from datetime import UTC, datetime, timedelta

import pytest

from headrace.core.caller import Caller
from headrace.errors import NotFound, Unavailable
from headrace.security.audit.content import timestamp
from headrace.security.audit.reader import PAGE_SIZE, ArchivedMeanwhile, AuditReader, Filter
from headrace.state.database import FILE_NAME, open_database
from support.auditing import (
    ago,
    archive,
    denial,
    event,
    records,
    started,
    wait_until,
    write,
    write_aged,
)


@pytest.fixture
def folder(tmp_path):
    write(
        tmp_path,
        event("load", model="fraud-a", caller=Caller("alice")),
        event("load", model="fraud-b", caller=Caller("bob")),
        event("unload", model="digits", caller=Caller("bob")),
        denial("fraud-a", caller=Caller("mallory")),
    )
    return tmp_path


def found(folder, wanted):
    with AuditReader(folder) as reader:
        everything = [record["sequence"] for page in reader.pages(wanted) for record in page]
        assert [record["sequence"] for record in reader.last(100, wanted)] == everything
    return everything


@pytest.mark.parametrize(
    ("wanted", "sequences"),
    [
        (Filter(), [1, 2, 3, 4]),
        (Filter(caller="bob"), [2, 3]),
        (Filter(caller="*l*"), [1, 4]),
        (Filter(caller="BOB"), []),
        (Filter(model="fraud-?"), [1, 2, 4]),
        (Filter(action="load"), [1, 2]),
        (Filter(action="lo*"), []),
        (Filter(only_denied=True), [4]),
        (Filter(caller="bob", model="fraud-*", action="load"), [2]),
        (Filter(caller="x' OR '1'='1"), []),
    ],
)
def test_filters(folder, wanted, sequences):
    assert found(folder, wanted) == sequences


def test_filters_of_time(folder):
    times = [record["time"] for record in records(folder)]
    later = timestamp(datetime.now(UTC) + timedelta(hours=1))

    assert found(folder, Filter(since=times[0], until=later)) == [1, 2, 3, 4]
    assert found(folder, Filter(until=times[0])) == []
    assert found(folder, Filter(since=later)) == []


def test_the_newest_come_oldest_first(folder):
    with AuditReader(folder) as reader:
        assert [record["sequence"] for record in reader.last(2)] == [3, 4]
        assert reader.last(0) == []


def test_pages_hold_everything_once(tmp_path):
    write(tmp_path, *(event() for _ in range(2 * PAGE_SIZE + 1)))
    with AuditReader(tmp_path) as reader:
        pages = list(reader.pages())

    assert [len(page) for page in pages] == [PAGE_SIZE, PAGE_SIZE, 1]
    assert [record["sequence"] for page in pages for record in page] == list(range(1, 2 * PAGE_SIZE + 2))


def test_a_reader_sees_what_is_written_meanwhile_and_is_in_nobodys_way(tmp_path):
    with started(tmp_path) as log:
        log.record(event())
        wait_until(lambda: log.recorded_count == 1)
        with AuditReader(tmp_path) as reader:
            pages = reader.pages()
            assert len(next(pages)) == 1
            log.record(event())
            wait_until(lambda: log.recorded_count == 2)
            assert [record["sequence"] for record in next(pages)] == [2]
            assert reader.head().sequence == 2


def test_no_log(tmp_path):
    with pytest.raises(NotFound, match=f"there is no {tmp_path}/{FILE_NAME}: expected the state folder"):
        AuditReader(tmp_path)


def test_a_database_without_an_audit_log(tmp_path):
    open_database(tmp_path).close()
    with AuditReader(tmp_path) as reader, pytest.raises(Unavailable, match="cannot be read: no such table"):
        reader.head()


def test_what_is_no_database(tmp_path):
    (tmp_path / FILE_NAME).write_text("no database, whatever its name" * 100)
    with AuditReader(tmp_path) as reader, pytest.raises(Unavailable, match="cannot be read: file is not a"):
        list(reader.pages())


def test_a_file_that_was_replaced_is_told_of(folder):
    with AuditReader(folder) as reader:
        reader.check_is_there()
        (folder / FILE_NAME).rename(folder / "elsewhere")
        with pytest.raises(Unavailable, match="was removed or replaced"):
            reader.check_is_there()


def test_a_reader_is_told_of_records_that_were_archived_before_their_turn(tmp_path):
    write(tmp_path, *(event() for _ in range(PAGE_SIZE + 10)))
    with AuditReader(tmp_path) as reader:
        pages = reader.pages()
        assert len(next(pages)) == PAGE_SIZE
        archive(tmp_path, tmp_path / "archive.jsonl")
        with pytest.raises(
            ArchivedMeanwhile, match=f"records up to {PAGE_SIZE + 10} were archived meanwhile"
        ):
            next(pages)


def test_a_reader_that_is_ahead_of_an_archive_goes_on(tmp_path):
    write_aged(tmp_path, 5, days=2)
    write(tmp_path, *(event() for _ in range(3)))
    with AuditReader(tmp_path) as reader:
        pages = reader.pages(after=5)
        archive(tmp_path, tmp_path / "archive.jsonl", days=1)
        assert [record["sequence"] for record in next(pages)] == [6, 7, 8, 9]
        assert list(pages) == []


def test_the_last_record_before_a_time_has_only_older_ones_before_it(tmp_path):
    write_aged(tmp_path, 3, days=3)
    write_aged(tmp_path, 2, days=1)
    write_aged(tmp_path, 4, days=2)
    with AuditReader(tmp_path) as reader:
        ends = {days: reader.last_before(ago(days)) for days in (4, 2.5, 1.5, 0)}

    assert ends == {4: 0, 2.5: 3, 1.5: 3, 0: 9}
