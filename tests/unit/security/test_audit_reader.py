"""Reading the audit log: the newest, all in pages, and by filters, beside those who write."""

import io
from datetime import UTC, datetime, timedelta

import pytest

from headrace.core.caller import Caller
from headrace.errors import NotFound, Unavailable
from headrace.security.audit.content import timestamp
from headrace.security.audit.reader import PAGE_SIZE, AuditReader, Filter, read_export
from headrace.state.database import FILE_NAME, open_database
from support.auditing import denial, event, records, started, wait_until, write


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


@pytest.mark.parametrize("line", [b"{", b"[]", b"\xff", b"", b"[" * 100_000])
def test_an_export_has_a_record_a_line(line):
    file = io.BytesIO(b'{"sequence": 1}\n' + line + b"\n")
    file.name = "audit.jsonl"
    reading = read_export(file)

    assert next(reading) == {"sequence": 1}
    with pytest.raises(Unavailable, match=r"audit.jsonl:2: expected a record as one JSON object"):
        next(reading)
