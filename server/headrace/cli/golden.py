"""`headrace golden`: records what a model answers as golden requests, which its next versions must answer."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from headrace.cli.arguments import add_connection_arguments, at_least, connect
from headrace.cli.golden_file import to_golden
from headrace.cli.remote_model import RemoteModel
from headrace.cli.requests import PreparedRequest
from headrace.cli.results import Result
from headrace.cli.usage import complain
from headrace.errors import ConfigError

EPILOG = """\
A version whose folder has golden requests is loaded only if it answers them as they say; `headrace check
--golden` tries that beforehand. FILE is one that `headrace infer` takes; each request becomes a file.

examples:
  headrace golden record digits requests.json --output model_repository/digits/2/golden
  headrace golden record digits rows.csv --batch-size 8 --argmax probabilities --output golden
  headrace golden record digits model_repository/digits/2/golden/requests.json --output golden

exit status:
  0 it went well, 1 a request was not answered and nothing was written, 2 an argument or a file is wrong.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    summary = "ask a running server and write what it answers"
    record = actions.add_parser(
        "record", help=summary, description=f"{summary.capitalize()}.", allow_abbrev=False
    )
    record.add_argument("model", metavar="MODEL")
    record.add_argument("file", type=Path, metavar="FILE", help="requests, or rows, see headrace infer")
    record.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="the folder to write to; made if need be"
    )
    record.add_argument(
        "--version", default="", metavar="N", help="the model's version [the server's choice]"
    )
    record.add_argument("--input", default="", metavar="NAME", help="the input of a file that names none")
    record.add_argument(
        "--batch-size", type=at_least(1), default=1, metavar="N", help="rows of one request [%(default)s]"
    )
    record.add_argument(
        "--argmax",
        action="append",
        default=[],
        metavar="OUTPUT",
        help="ask for the largest element of each row of this output, not for its numbers",
    )
    for kind in ("absolute", "relative"):
        record.add_argument(
            f"--{kind}-tolerance",
            type=_distance,
            metavar="X",
            help="how far floating-point numbers may be off",
        )
    record.add_argument("--force", action="store_true", help="replace files that are there")
    add_connection_arguments(record)
    # A live view: it has what is added to the parser later, too.
    record.set_defaults(act=_record, known_flags=record._option_string_actions)


def run(arguments: argparse.Namespace) -> int:
    return int(arguments.act(arguments))


def _record(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        model = RemoteModel(client, arguments.model, arguments.version)
        requests = [
            PreparedRequest(each.rows, each.inputs, dict.fromkeys(each.classes, 0))
            for each in model.requests(arguments.file, arguments.input, arguments.batch_size)
        ]
        if not requests:
            raise ConfigError(f"{arguments.file}: holds no rows")
        paths = _paths(arguments.output, arguments.file.stem, len(requests))
        _refuse_present(paths, arguments.force)
        results = [model.infer(request) for request in requests]
        is_batched = all(spec.is_batched for spec in model.inputs().values())
    errors = [result.error for result in results if result.error]
    for error in errors:
        complain(f"not answered, nothing is written: {error}")
    if errors:
        return 1
    texts = [_text(result, arguments, is_batched) for result in results]
    _write(dict(zip(paths, texts, strict=True)))
    return 0


def _paths(folder: Path, stem: str, count: int) -> list[Path]:
    if count == 1:
        return [folder / f"{stem}.json"]
    width = len(str(count))
    return [folder / f"{stem}-{number:0{width}}.json" for number in range(1, count + 1)]


def _refuse_present(paths: Sequence[Path], is_forced: bool) -> None:
    present = [path for path in paths if path.exists()]
    if present and not is_forced:
        raise ConfigError(f"--output: {present[0]} is there already: expected another folder, or --force")


def _text(result: Result, arguments: argparse.Namespace, is_batched: bool) -> str:
    outputs = result.outputs or {}
    unknown = [name for name in arguments.argmax if name not in outputs]
    if unknown:
        raise ConfigError(f"--argmax: {unknown[0]!r} is no output: expected one of {', '.join(outputs)}")
    version = result.response.model_version if result.response is not None else ""
    settings: dict[str, object] = {
        "description": f"what {arguments.model} version {version} answered",
        "absolute_tolerance": arguments.absolute_tolerance,
        "relative_tolerance": arguments.relative_tolerance,
    }
    given = {name: value for name, value in settings.items() if value is not None}
    return to_golden(result, given, arguments.argmax, result.request.rows if is_batched else 1)


def _write(texts: dict[Path, str]) -> None:
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(path)
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written: {error.strerror}") from error


def _distance(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not valid: expected a number of 0 or more")
    return number


_distance.__name__ = "number"
