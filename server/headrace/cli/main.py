"""The `headrace` command: finds the sub-command and runs it.

Exit status: 0 it went well, 1 it failed, 2 arguments, settings or input files are wrong, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from headrace.cli.output import discard, open_closed_streams
from headrace.errors import ConfigError, HeadraceError

# A sub-command's module has `add_arguments(parser)` and `run(arguments) -> int`. Only the one that is asked
# for is imported: what the server needs takes a second to load, what `headrace version` needs does not. For
# the same reason `headrace.cli.usage` is imported only when there is something to complain of.
COMMANDS = {
    "serve": "run the server",
    "check": "check a model repository without serving it",
    "models": "list the models of a running server",
    "infer": "send requests to any server that speaks the V2 protocol",
    "golden": "record what a model answers, for its next versions to be held to",
    "batches": "show the last batches that a model executed, and why each was what it was",
    "rollout": "roll a new version out step by step, watch it and steer it",
    "route": "show and set how a model's requests are shared between its versions",
    "key": "make an API key for a server that asks who calls",
    "audit": "show, follow, check, export and archive the record of who did what",
    "version": "say which versions of what are installed",
}

FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command that `argv` names; returns the exit status."""
    open_closed_streams()
    try:
        arguments = _parse(list(sys.argv[1:] if argv is None else argv))
        status = int(arguments.run(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except HeadraceError as error:
        import_module("headrace.cli.usage").complain(str(error))
        return WRONG_USAGE if isinstance(error, ConfigError) else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has left. Python would complain once more when it flushes at exit.
        discard()
        return FAILED


def _parse(words: Sequence[str]) -> argparse.Namespace:
    """The arguments of the command that `words` name, with `run`; argparse ends --help by SystemExit."""
    command = next((word for word in words if not word.startswith("-")), "")
    if command and command not in COMMANDS:
        raise import_module("headrace.cli.usage").unknown_command(command, COMMANDS)
    parser = argparse.ArgumentParser(
        prog="headrace",
        description="A high-throughput gRPC inference server for ONNX models.",
        epilog="`headrace COMMAND --help` says more of each command.",
        allow_abbrev=False,
    )
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, allow_abbrev=False)
        if name == command:
            _fill(subparser, name, summary)
    arguments, unknown = parser.parse_known_args(words)
    if unknown:
        raise import_module("headrace.cli.usage").unknown_arguments(unknown, arguments.known_flags)
    return arguments


def _fill(parser: argparse.ArgumentParser, name: str, summary: str) -> None:
    module = import_module(f"headrace.cli.{name}")
    parser.description = f"{summary[0].upper()}{summary[1:]}."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    module.add_arguments(parser)
    known_flags = [flag for action in parser._actions for flag in action.option_strings]
    parser.set_defaults(run=module.run, known_flags=known_flags)


if __name__ == "__main__":
    sys.exit(main())
