"""`headrace infer`: sends requests to any server that speaks the V2 protocol over gRPC."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from headrace.cli.arguments import add_connection_arguments, at_least, connect
from headrace.cli.progress import Progress
from headrace.cli.remote_model import RemoteModel, names
from headrace.cli.requests import InputSpec, PreparedRequest, cut, random_arrays
from headrace.cli.results import Result, check_output, readable_classes, show, show_timings, write
from headrace.cli.units import duration
from headrace.cli.usage import complain
from headrace.core.tensor import Shape
from headrace.errors import ConfigError

EPILOG = """\
input files:
  .json  a request as the V2 protocol has it over REST ({"inputs": [{"name", "shape", "datatype", "data"}]})
         or a list of such, sent as they are; or rows: {"input": [row, ...]}, or [row, ...] of one input
  .npy   rows of one input
  .npz   rows by input name
  .csv   rows of one input, a row a line; a first line that holds no numbers is skipped
Rows are sent in requests of --batch-size rows; a model whose first dimension is not -1 gets them one by one.

examples:
  headrace infer digits images.npy --top 3
  headrace infer digits rows.csv --batch-size 8 --concurrency 16 --output answers.csv
  headrace infer digits --random 1000 --timings
  headrace infer resnet request.json --url triton:8001 --version 2

exit status:
  0 every request was answered, 1 at least one was not, 2 an argument or the input file is wrong.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("file", nargs="?", type=Path, metavar="FILE", help="what to send, see below")
    parser.add_argument(
        "--random", type=at_least(1), metavar="N", help="send N random rows instead of a file"
    )
    parser.add_argument(
        "--shape",
        action="append",
        default=[],
        metavar="NAME:D1,D2",
        help="the shape of an input's random rows where the model leaves it open; otherwise 1 is taken",
    )
    parser.add_argument("--input", default="", metavar="NAME", help="the input of a file that names none")
    parser.add_argument(
        "--version", default="", metavar="N", help="the model's version [the server's choice]"
    )
    parser.add_argument(
        "--batch-size", type=at_least(1), default=1, metavar="N", help="rows of one request [%(default)s]"
    )
    parser.add_argument(
        "--concurrency", type=at_least(1), default=8, metavar="N", help="requests at one time [%(default)s]"
    )
    parser.add_argument(
        "--top", type=at_least(1), metavar="K", help="ask for the K best classes, with labels, not for values"
    )
    parser.add_argument(
        "--timings", action="store_true", help="ask a headrace server where the time went, and print it"
    )
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write answers to a .json, .npz or .csv file"
    )
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    if (arguments.file is None) == (arguments.random is None):
        raise ConfigError("expected either FILE or --random N")
    if arguments.output:
        check_output(arguments.output)
    with connect(arguments) as client:
        model = RemoteModel(client, arguments.model, arguments.version)
        requests = [_with_wishes(request, model, arguments) for request in _requests(model, arguments)]
        if not requests:
            raise ConfigError(f"{arguments.file}: holds no rows")
        started = time.monotonic()
        results = _send_all(model, requests, arguments.concurrency)
        elapsed_s = time.monotonic() - started
    return _report(results, elapsed_s, arguments)


def _requests(model: RemoteModel, arguments: argparse.Namespace) -> Iterator[PreparedRequest]:
    """What the file holds or, without a file, random rows, cut into requests."""
    if arguments.file is not None:
        return model.requests(arguments.file, arguments.input, arguments.batch_size)
    specs = model.inputs()
    shapes = dict(_to_shape(text, specs) for text in arguments.shape)
    return cut(random_arrays(specs, arguments.random, shapes), specs, arguments.batch_size)


def _with_wishes(
    request: PreparedRequest, model: RemoteModel, arguments: argparse.Namespace
) -> PreparedRequest:
    if arguments.top:
        request = replace(request, classes=model.classes(arguments.top))
    if arguments.timings:
        request = replace(request, parameters={**request.parameters, "headrace_timings": True})
    return request


def _send_all(model: RemoteModel, requests: Sequence[PreparedRequest], concurrency: int) -> list[Result]:
    """The results in the order of the requests."""
    progress = Progress(len(requests))
    results = []
    with ThreadPoolExecutor(concurrency) as pool:
        try:
            for result in pool.map(model.infer, requests):
                results.append(result)
                progress.advance()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            progress.clear()
    return results


def _report(results: Sequence[Result], elapsed_s: float, arguments: argparse.Namespace) -> int:
    if arguments.top:
        results = [
            replace(result, outputs=readable_classes(result.outputs)) if result.outputs else result
            for result in results
        ]
    if arguments.output:
        write(arguments.output, results)
    elif table := show(results):
        print(table)
    if arguments.timings:
        print("\n" + (show_timings(results) or "the server sent no timings"))
    print(_summary(results, elapsed_s), file=sys.stderr)
    errors = Counter(result.error for result in results if result.error)
    for error, count in errors.most_common():
        complain(f"{count} of {len(results)} requests failed: {error}")
    return 1 if errors else 0


def _summary(results: Sequence[Result], elapsed_s: float) -> str:
    answered = sorted(result.elapsed_s * 1e6 for result in results if not result.error)
    rows = sum(result.request.rows for result in results if not result.error)
    line = f"{rows} rows in {len(answered)} requests, {elapsed_s:.2f} s, {rows / elapsed_s:.0f} rows/s"
    if answered:
        line += f", median {duration(answered[len(answered) // 2])}, longest {duration(answered[-1])}"
    return line


def _to_shape(text: str, specs: Mapping[str, InputSpec]) -> tuple[str, Shape]:
    name, _, sizes = text.rpartition(":")
    try:
        shape = tuple(int(size) for size in sizes.split(","))
    except ValueError as error:
        raise ConfigError(f"--shape: {text!r} is not valid: expected NAME:D1,D2") from error
    if name not in specs:
        raise ConfigError(f"--shape: {name!r} is no input: expected {names(specs)}")
    return name, shape
