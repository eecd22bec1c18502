"""Files of records: what is written is what is read, compressed or not, and nothing else is taken for one."""

import gzip
import json

import pytest

from headrace.errors import Unavailable
from headrace.security.audit.export import line_of, read_file, writing

RECORDS = [{"sequence": n, "reason": "ü\n\u2028", "old": {"share": 0.1}} for n in range(100)]


def written(path):
    with path.open("wb") as file, writing(file, path.name) as write:
        for record in RECORDS:
            write(record)
    return path


@pytest.mark.parametrize(("name", "opened"), [("a.jsonl", open), ("a.jsonl.gz", gzip.open)])
def test_what_is_written_is_read(tmp_path, name, opened):
    path = written(tmp_path / name)

    assert list(read_file(path)) == RECORDS
    with opened(path, "rt") as file:
        assert [json.loads(line) for line in file] == RECORDS


def test_the_same_records_make_the_same_file(tmp_path):
    one, other = (written(tmp_path / f"{n}.jsonl.gz").read_bytes() for n in range(2))

    assert one == other


def test_what_is_compressed_is_told_by_its_content(tmp_path):
    path = written(tmp_path / "a.jsonl.gz").rename(tmp_path / "a.jsonl")

    assert list(read_file(path)) == RECORDS


def test_the_reader_tells_how_far_it_is(tmp_path):
    path = written(tmp_path / "a.jsonl")
    reached = []
    for _ in read_file(path, reached.append):
        pass

    assert reached == sorted(reached)
    assert reached[-1] == path.stat().st_size


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b"\xff", b"", b"[" * 100_000], ids=["open", "list", "bytes", "empty", "deep"]
)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "packed"])
def test_a_file_has_a_record_a_line(tmp_path, pack, line):
    path = tmp_path / "audit.jsonl"
    path.write_bytes(pack(b'{"sequence": 1}\n' + line + b"\n"))
    reading = read_file(path)

    assert next(reading) == {"sequence": 1}
    with pytest.raises(Unavailable, match=r"audit.jsonl:2: expected a record as one JSON object"):
        next(reading)


@pytest.mark.parametrize("cut", [3, 15, 100, -1])
def test_a_compressed_file_that_breaks_off_is_told_of(tmp_path, cut):
    path = tmp_path / "audit.jsonl.gz"
    path.write_bytes(gzip.compress("".join(map(line_of, RECORDS)).encode())[:cut])

    with pytest.raises(Unavailable, match=r"audit.jsonl.gz cannot be read: "):
        list(read_file(path))


def test_a_compressed_file_that_was_changed_is_told_of(tmp_path):
    path = written(tmp_path / "audit.jsonl.gz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)

    with pytest.raises(Unavailable):
        list(read_file(path))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(Unavailable, match=rf"{tmp_path}/none cannot be read: No such file or directory"):
        list(read_file(tmp_path / "none"))
    with pytest.raises(Unavailable, match=rf"{tmp_path} cannot be read: Is a directory"):
        list(read_file(tmp_path))
