"""`headrace batches`: the last batches that a model executed, and why each was closed when it was."""

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from headrace.cli.arguments import add_connection_arguments, at_least, connect
from headrace.cli.client import BATCHES, Client
from headrace.cli.units import duration, moment
from headrace.logs.table import Table
from headrace.pb.headrace.v1 import admin_pb2

EPILOG = """\
WAITED is the time in the queue of the batch's oldest request. A batch is closed because it is full, has
reached a preferred_size, has waited for the model's queue delay, or because there was no_more_waiting when an
instance was free; not_batched says that the model takes requests one by one. ROWS shows padding after a +.

examples:
  headrace batches digits
  headrace batches digits --version 3 --limit 50
  headrace batches digits --follow --json | jq .rows
"""

FOLLOW_INTERVAL_S = 0.5

_TITLES = ("CLOSED AT", "VERSION", "ROWS", "REQUESTS", "WAITED", "CLOSED BECAUSE", "EXECUTED IN", "INSTANCE")
_NUMBERS = ("ROWS", "REQUESTS", "WAITED", "EXECUTED IN")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--version", default="", metavar="N", help="only this version")
    parser.add_argument(
        "--limit",
        type=at_least(0),
        default=20,
        metavar="N",
        help="batches of each version, 0 for all [%(default)s]",
    )
    parser.add_argument("--follow", action="store_true", help="go on with new batches until interrupted")
    parser.add_argument("--json", action="store_true", help="print one JSON object a line")
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    table = Table((*_TITLES, "ERROR"), _NUMBERS)
    with connect(arguments) as client:
        first = _fetch(client, arguments, arguments.limit)
        lots = _follow(client, arguments, first) if arguments.follow else iter([first])
        for number, batches in enumerate(lots):
            if arguments.json:
                _print(json.dumps(_members(batch)) for batch in batches)
            elif number == 0:
                _print([table.format(map(_row, batches))])
            else:
                _print(table.lines(map(_row, batches)))
    return 0


def _follow(
    client: Client, arguments: argparse.Namespace, batches: list[admin_pb2.Batch]
) -> Iterator[Sequence[admin_pb2.Batch]]:
    """The `batches` that are there, and then, each time that there are some, those that are new."""
    last_seen: dict[str, int] = {}
    while True:
        if batches:
            yield batches
        last_seen.update((batch.model_version, batch.closed_at_ns) for batch in batches)
        time.sleep(FOLLOW_INTERVAL_S)
        batches = [
            batch
            for batch in _fetch(client, arguments, limit=0)
            if batch.closed_at_ns > last_seen.get(batch.model_version, 0)
        ]


def _fetch(client: Client, arguments: argparse.Namespace, limit: int) -> list[admin_pb2.Batch]:
    """At most `limit` batches of each version, or all; newest last, of all versions together."""
    request = admin_pb2.BatchesRequest(
        model_name=arguments.model, model_version=arguments.version, limit=limit
    )
    return sorted(client.call(BATCHES, request).batches, key=lambda batch: batch.closed_at_ns)


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)
    sys.stdout.flush()


def _row(batch: admin_pb2.Batch) -> tuple[object, ...]:
    return (
        moment(batch.closed_at_ns),
        batch.model_version,
        f"{batch.rows}+{batch.padding_rows}" if batch.padding_rows else batch.rows,
        batch.requests,
        duration(batch.waited_us),
        batch.closed_because,
        duration(batch.executed_us),
        batch.instance,
        batch.error,
    )


def _members(batch: admin_pb2.Batch) -> dict[str, object]:
    return {field.name: getattr(batch, field.name) for field in batch.DESCRIPTOR.fields}
