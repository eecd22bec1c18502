"""`headrace audit verify` and `archive`: the chain is checked, and its old part put into a file."""

import argparse
import os
import pwd
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from pathlib import Path

from headrace.cli import audit_arguments
from headrace.cli.progress import Progress
from headrace.core.caller import Caller
from headrace.security.audit.archive import Archiver
from headrace.security.audit.chain import Head, Record, Verdict
from headrace.security.audit.chain import verify as verify_chain
from headrace.security.audit.export import read_file
from headrace.security.audit.reader import PAGE_SIZE, ArchivedMeanwhile, AuditReader, sequence_of
from headrace.state.database import FILE_NAME

# After every thousand records: whoever writes to the log gets his turn.
REST_S = 0.01
_PROGRESS_BYTES = 2**20


def add_verify_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="check an export of the whole log instead"
    )
    parser.add_argument(
        "--archive",
        nargs="+",
        type=Path,
        default=(),
        metavar="FILE",
        help="archives, the oldest first, which the log in the state folder, or in an export, has to follow",
    )
    parser.add_argument(
        "--head",
        type=audit_arguments.head,
        metavar="SEQUENCE:HASH",
        help="a record that has to be there, as an earlier check or the server's log has named it",
    )


def verify(arguments: argparse.Namespace) -> int:
    verdict = _verdict(arguments)
    if verdict.problem:
        print(f"NOT INTACT: {verdict.problem}; {verdict.count} records before it are intact")
        return 1
    begin = f" from {verdict.begin.sequence + 1} on" if verdict.begin.sequence else ""
    print(f"{verdict.count} records{begin}, chain intact, ends with {verdict.head}")
    return 0


def add_archive_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--before",
        type=audit_arguments.time,
        required=True,
        metavar="TIME",
        help="archive the records up to the first that is not older",
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE",
        help="a new file, compressed where its name ends with .gz",
    )


def archive(arguments: argparse.Namespace) -> int:
    archiver = Archiver(audit_arguments.folder(arguments), _operator(), lambda: time.sleep(REST_S))
    made = archiver.archive(arguments.before, lambda first, last: Path(arguments.output))
    if made is None:
        print("no record is older: nothing was archived")
        return 0
    print(f"{made.count} records archived in {made.path}: {made.first} to {made.end}")
    return 0


def _operator() -> Caller:
    """Whoever runs this, by the name that the system has for him."""
    user = os.getuid()
    try:
        return Caller(pwd.getpwuid(user).pw_name)
    except KeyError:
        return Caller(str(user))


def _verdict(arguments: argparse.Namespace) -> Verdict:
    archived = chain.from_iterable(map(_of_file, arguments.archive))
    if arguments.file:
        return verify_chain(chain(archived, _of_file(arguments.file)), arguments.head, begin=None)
    with AuditReader(audit_arguments.folder(arguments)) as reader:
        if arguments.archive:
            return _verdict_of_all(archived, reader, arguments.head)
        while True:
            try:
                return verify_chain(_of_log(reader), arguments.head, begin=reader.anchor())
            except ArchivedMeanwhile:
                continue


def _verdict_of_all(archived: Iterable[Record], reader: AuditReader, kept: Head | None) -> Verdict:
    """Of archives and what the log has behind them, which has to be of the same chain."""
    verdict = verify_chain(_with_rest(archived, reader), kept, begin=None)
    head = reader.head()
    is_behind = head.sequence < verdict.head.sequence
    if verdict.problem or not (
        is_behind or (head.sequence == verdict.head.sequence and head != verdict.head)
    ):
        return verdict
    return replace(verdict, problem=f"{FILE_NAME} ends with {head}, which the archives do not lead to")


def _with_rest(archived: Iterable[Record], reader: AuditReader) -> Iterator[Record]:
    after = None
    for record in archived:
        yield record
        after = sequence_of(record)
    yield from _of_log(reader, after)


def _of_log(reader: AuditReader, after: int | None = None) -> Iterator[Record]:
    begin = reader.anchor().sequence if after is None else after
    progress = Progress((reader.head().sequence - begin) // PAGE_SIZE + 1)
    for page in reader.pages(after=after):
        yield from page
        progress.advance()
    progress.clear()


def _of_file(path: Path) -> Iterator[Record]:
    size_bytes = 0
    with suppress(OSError):  # whoever reads it will say so
        size_bytes = path.stat().st_size
    progress = Progress(size_bytes // _PROGRESS_BYTES)
    drawn = 0

    def reached(done_bytes: int) -> None:
        nonlocal drawn
        if done_bytes // _PROGRESS_BYTES > drawn:
            drawn += 1
            progress.advance()

    yield from read_file(path, reached)
    progress.clear()
