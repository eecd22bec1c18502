"""`headrace audit`: shows, follows, checks, exports and archives the record of who did what."""

import argparse
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import IO

from headrace.cli import audit_arguments, audit_chain
from headrace.cli.arguments import at_least
from headrace.errors import Unavailable
from headrace.logs.table import Table
from headrace.security.audit.chain import Record
from headrace.security.audit.content import canonical
from headrace.security.audit.export import line_of
from headrace.security.audit.reader import AuditReader, Filter, sequence_of

EPILOG = """\
The server's machine is where this runs: the audit log is read from its state folder. TIME is in UTC, as in
2027-01-31 or 2027-01-31T14:30, or so long ago, as in 30m, 2h or 7d. A PATTERN is a name with * and ?.

examples:
  headrace audit list --denied --since 2h
  headrace audit follow --model 'fraud-*'
  headrace audit verify --head 1041:9f86d081884c7d65...
  headrace audit export audit.jsonl && headrace audit verify audit.jsonl
  headrace audit archive --before 90d --output audit-2027-01.jsonl.gz
  headrace audit verify --archive audit-*.jsonl.gz

exit status:
  0 it went well, 1 the log cannot be read or is not intact, 2 an argument is wrong.
"""

FOLLOW_INTERVAL_S = 0.5
SHOWN_DETAILS = 160

_TITLES = ("SEQUENCE", "TIME", "CALLER", "BY", "FROM", "ACTION", "MODEL", "RESULT", "DETAILS")
_NUMBERS = ("SEQUENCE",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = _add(actions, "list", _list, "show the newest records, oldest first")
    _add_filters(listing)
    _add_view(listing, 50, "records, 0 for all [%(default)s]")
    following = _add(actions, "follow", _follow, "show the newest records, and then new ones as they come")
    _add_filters(following)
    _add_view(following, 10, "records to begin with [%(default)s]")
    verifying = _add(
        actions, "verify", audit_chain.verify, "check that nothing was changed, taken away or put in"
    )
    audit_chain.add_verify_arguments(verifying)
    exporting = _add(
        actions, "export", _export, "write records with all their fields, one JSON object a line"
    )
    exporting.add_argument(
        "file",
        nargs="?",
        default="-",
        metavar="FILE",
        help="what to write, - for standard output [%(default)s]",
    )
    _add_filters(exporting)
    archiving = _add(
        actions, "archive", audit_chain.archive, "put old records into a file, and take them out of the log"
    )
    audit_chain.add_archive_arguments(archiving)


def run(arguments: argparse.Namespace) -> int:
    return int(arguments.act(arguments))


def _add(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    act: Callable[[argparse.Namespace], int],
    summary: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    audit_arguments.add_state_dir(parser)
    # A live view: it has what is added to the parser later, too.
    parser.set_defaults(act=act, known_flags=parser._option_string_actions)
    return parser


def _add_filters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", type=audit_arguments.time, metavar="TIME", help="from then on")
    parser.add_argument("--until", type=audit_arguments.time, metavar="TIME", help="before then")
    parser.add_argument("--caller", default="", metavar="PATTERN", help="by these callers")
    parser.add_argument("--model", default="", metavar="PATTERN", help="of these models")
    parser.add_argument("--action", default="", metavar="NAME", help="of one kind, as in load")
    parser.add_argument("--denied", action="store_true", help="only what was refused")


def _add_view(parser: argparse.ArgumentParser, count: int, help: str) -> None:
    parser.add_argument("--last", type=at_least(0), default=count, metavar="N", help=help)
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")


def _list(arguments: argparse.Namespace) -> int:
    view = _View(arguments.json)
    with AuditReader(audit_arguments.folder(arguments)) as reader:
        wanted = _filter(arguments)
        for page in [reader.last(arguments.last, wanted)] if arguments.last else reader.pages(wanted):
            view.show(page)
    return 0


def _follow(arguments: argparse.Namespace) -> int:
    """Until interrupted, which is how it is meant to end."""
    view = _View(arguments.json)
    wanted = _filter(arguments)
    try:
        with AuditReader(audit_arguments.folder(arguments)) as reader:
            seen = reader.head().sequence
            view.show(record for record in reader.last(arguments.last, wanted) if sequence_of(record) <= seen)
            while True:
                time.sleep(FOLLOW_INTERVAL_S)
                reader.check_is_there()
                for page in reader.pages(wanted, after=seen):
                    view.show(page)
                    seen = sequence_of(page[-1])
    except KeyboardInterrupt:
        return 0


def _export(arguments: argparse.Namespace) -> int:
    count = 0
    with AuditReader(audit_arguments.folder(arguments)) as reader, _written(arguments.file) as file:
        for page in reader.pages(_filter(arguments)):
            file.writelines(map(line_of, page))
            count += len(page)
    print(f"{count} records exported", file=sys.stderr)
    return 0


class _View:
    """Records on standard output, as lines of a table or of JSON."""

    def __init__(self, is_json: bool) -> None:
        self._is_json = is_json
        self._table = Table(_TITLES, _NUMBERS)
        self._has_header = False
        if isinstance(sys.stdout, io.TextIOWrapper):
            # Names hold what the terminal's character set may lack.
            sys.stdout.reconfigure(errors="backslashreplace")

    def show(self, records: Iterable[Record]) -> None:
        if self._is_json:
            lines = [json.dumps(record) for record in records]
        else:
            lines = self._table.lines(map(_row, records))
            if not self._has_header:
                lines.insert(0, self._table.header())
                self._has_header = True
        for line in lines:
            print(line)
        sys.stdout.flush()


def _row(record: Record) -> tuple[object, ...]:
    model, version = record["model"], record["version"]
    result = record["outcome"] or "allowed" if record["is_allowed"] else "denied"
    return (
        record["sequence"],
        record["time"],
        record["caller"],
        record["proof"],
        record["address"],
        record["action"],
        f"{model}/{version}" if version else model,
        f"{result} x{record['repeats']}" if record["repeats"] else result,
        _details(record),
    )


def _details(record: Record) -> str:
    details = str(record["reason"])
    if record["old"] is not None or record["new"] is not None:
        change = f"{canonical(record['old'])} -> {canonical(record['new'])}"
        details = f"{details}: {change}" if details else change
    return details if len(details) <= SHOWN_DETAILS else details[: SHOWN_DETAILS - 1] + "…"


@contextmanager
def _written(name: str) -> Iterator[IO[str]]:
    """The file `name`, for its owner's eyes; Unavailable where it cannot be written."""
    if name == "-":
        yield sys.stdout
        return
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            yield file
    except OSError as error:
        raise Unavailable(f"{name} cannot be written: {error.strerror}") from None


def _filter(arguments: argparse.Namespace) -> Filter:
    return Filter(
        since=arguments.since or "",
        until=arguments.until or "",
        caller=arguments.caller,
        model=arguments.model,
        action=arguments.action,
        only_denied=arguments.denied,
    )
