"""Records in a file: one JSON object a line, compressed by gzip where the file's name or content says so."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from headrace.errors import Unavailable
from headrace.security.audit.chain import Record

_GZIP_SUFFIX = ".gz"
_GZIP_MAGIC = b"\x1f\x8b"
# zlib's own form of 15 bits, and 16 for gzip's header, in which it tells no time.
_GZIP_FORM = 31


def line_of(record: Record) -> str:
    return f"{json.dumps(record)}\n"


@contextmanager
def writing(file: BinaryIO, name: str) -> Iterator[Callable[[Record], object]]:
    """A function that writes one record to `file`, in the form that `name` asks for."""
    if not name.endswith(_GZIP_SUFFIX):
        yield lambda record: file.write(line_of(record).encode("ascii"))
        return
    pack = zlib.compressobj(wbits=_GZIP_FORM)
    yield lambda record: file.write(pack.compress(line_of(record).encode("ascii")))
    file.write(pack.flush())


def read_file(path: Path, reached: Callable[[int], object] = bool) -> Iterator[Record]:
    """The records in `path`; Unavailable where it cannot be read, or holds something else.

    `reached` is told with each record how many bytes of the file were read.
    """
    try:
        with path.open("rb") as file:
            is_compressed = file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
            for record in read_lines(gzip.GzipFile(fileobj=file) if is_compressed else file, str(path)):
                yield record
                reached(file.tell())
    except (EOFError, zlib.error) as error:
        raise Unavailable(f"{path} cannot be read: {error}") from None
    except OSError as error:
        raise Unavailable(f"{path} cannot be read: {error.strerror or error}") from None


def read_lines(lines: Iterable[bytes], name: str) -> Iterator[Record]:
    """The records in `lines` of the file `name`; Unavailable where one is none."""
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            raise Unavailable(f"{name}:{number}: expected a record as one JSON object")
        yield record
