"""Takes the old part of the audit log out of the database, once it is in a file, checked and on disk."""

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeAlias

from headrace.core.caller import Caller
from headrace.errors import Unavailable
from headrace.security.audit.chain import ARCHIVE, Head, Record, Verdict, verify
from headrace.security.audit.content import Content, content_of
from headrace.security.audit.event import AuditEvent
from headrace.security.audit.export import read_file, writing
from headrace.security.audit.reader import PAGE_SIZE, AuditReader, sequence_of
from headrace.security.audit.table import COMPONENT, SCHEMA, cut, remove
from headrace.state.database import FILE_NAME, apply_schema, open_database

# Where records with these numbers, the first and the last, are to be archived.
Place: TypeAlias = Callable[[int, int], Path]


@dataclass(frozen=True, slots=True)
class Archive:
    """A file with the records behind `begin` up to `end`."""

    path: Path
    begin: Head
    end: Head

    @property
    def first(self) -> int:
        return self.begin.sequence + 1

    @property
    def count(self) -> int:
        return self.end.sequence - self.begin.sequence


class Archiver:
    """Archives the log in `folder`, in the name of `caller`.

    `rest` is called after every thousand records, and may raise: others write to the log meanwhile.
    """

    def __init__(self, folder: Path, caller: Caller, rest: Callable[[], object]) -> None:
        self._folder = folder
        self._database = folder / FILE_NAME
        self._caller = caller
        self._rest = rest

    def archive(self, before: str, place: Place) -> Archive | None:
        """Archives the records up to the first that is not older than `before`, as `timestamp` makes it.

        None where there are none. A file that is there already is not touched: where it holds the next
        records, as an archive leaves it that was interrupted, they are taken out of the log; otherwise, and
        where the log is not intact or a file cannot be written, HeadraceError tells what is wrong.
        """
        with AuditReader(self._folder) as reader:
            reader.head()  # what is no audit log is not made one
            with self._opened() as connection:
                self._remove(connection)
                archive = self._filed(reader, before, place)
                if archive is not None:
                    self._take_out(archive, connection, reader)
                return archive

    def _filed(self, reader: AuditReader, before: str, place: Place) -> Archive | None:
        """The records that are to be archived are in a file, and on disk."""
        begin, last = reader.anchor(), reader.last_before(before)
        if last <= begin.sequence:
            return None
        path = place(begin.sequence + 1, last)
        end = self._check(path, begin) if path.exists() else self._write(reader, begin, last, path)
        return Archive(path, begin, end)

    def _take_out(self, archive: Archive, connection: sqlite3.Connection, reader: AuditReader) -> None:
        if not cut(connection, archive.begin, archive.end, _content(archive, self._caller)):
            raise Unavailable(
                f"the log was archived by somebody else meanwhile: {archive.path} is not needed"
                if reader.anchor() != archive.begin
                else f"{archive.path} is there already, and is not of this log: expected a name that is free"
            )
        self._remove(connection)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(open_database(self._folder)) as connection:
                apply_schema(connection, COMPONENT, SCHEMA)
                yield connection
        except sqlite3.Error as error:
            raise Unavailable(f"{self._database} cannot be written: {error}") from None
        except OSError as error:
            raise Unavailable(str(error)) from None

    def _remove(self, connection: sqlite3.Connection) -> None:
        """In steps, between which others get to write."""
        while remove(connection, PAGE_SIZE):
            self._rest()

    def _write(self, reader: AuditReader, begin: Head, last: int, path: Path) -> Head:
        """The records behind `begin` up to `last` are in `path`, and on disk, when it returns."""
        with _part_of(path) as (part, file):
            with writing(file, path.name) as write:
                records = self._paced(_up_to(last, reader.pages(after=begin.sequence)))
                verdict = verify(_written(records, write), kept=begin, begin=begin)
            problem = verdict.problem
            if not problem and verdict.head.sequence < last:
                problem = f"record {verdict.head.sequence + 1} is missing"
            if problem:
                raise Unavailable(f"the log is not intact, and was not archived: {problem}")
            file.flush()
            os.fsync(file.fileno())
            if self._read(part, begin) != verdict:
                raise Unavailable(f"{path} cannot be read as it was written: nothing was archived")
        sync(path.parent)
        return verdict.head

    def _check(self, path: Path, begin: Head) -> Head:
        """The last of the records that `path` holds, which are the next ones to archive, and on disk."""
        try:
            verdict = self._read(path, begin)
            reason = verdict.problem or ("" if verdict.count else "it is empty")
        except Unavailable as error:
            reason = str(error)
        if reason:
            raise Unavailable(
                f"{path} is there already, and does not hold the records from {begin.sequence + 1} on: "
                f"{reason}: expected a name that is free"
            )
        sync(path)
        sync(path.parent)
        return verdict.head

    def _read(self, path: Path, begin: Head) -> Verdict:
        return verify(self._paced(read_file(path)), kept=begin, begin=begin)

    def _paced(self, records: Iterable[Record]) -> Iterator[Record]:
        for number, record in enumerate(records, 1):
            yield record
            if number % PAGE_SIZE == 0:
                self._rest()


def _content(archive: Archive, caller: Caller) -> Content:
    """The record that the archive leaves behind."""
    tells = {
        "first": archive.first,
        "last": archive.end.sequence,
        "count": archive.count,
        "hash": archive.end.hash,
        "file": archive.path.name,
    }
    return content_of(AuditEvent(ARCHIVE, caller, outcome="done", new=tells))


def _up_to(last: int, pages: Iterable[list[Record]]) -> Iterator[Record]:
    for page in pages:
        for record in page:
            if sequence_of(record) > last:
                return
            yield record


def _written(records: Iterable[Record], write: Callable[[Record], object]) -> Iterator[Record]:
    """Each is written once whoever asked for it, who may find it wrong, asks for the next."""
    for record in records:
        yield record
        write(record)


@contextmanager
def _part_of(path: Path) -> Iterator[tuple[Path, BinaryIO]]:
    """A file beside `path`, for its owner's eyes, that gets its name where the block ends well.

    Unavailable where it cannot be written, or somebody has taken the name meanwhile.
    """
    try:
        descriptor, name = tempfile.mkstemp(".part", f".{path.name}.", path.parent)
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield part, file
            _name(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from None


def _name(part: Path, path: Path) -> None:
    """What `part` is, is `path`; FileExistsError where that was something already."""
    try:
        path.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:
        # There are no hard links here: the name is taken by an empty file of our own first.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        part.replace(path)


def sync(path: Path) -> None:
    """What `path` is, file or folder, is on disk; Unavailable where that fails."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise Unavailable(f"{path} cannot be written: {error.strerror}") from None
