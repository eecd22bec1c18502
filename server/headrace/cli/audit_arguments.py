"""What the actions of `headrace audit` are told: the state folder, points in time, heads of the log."""

import argparse
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from headrace.security.audit.chain import Head
from headrace.security.audit.content import timestamp
from headrace.settings import ServerSettings
from headrace.settings.environment import CONFIG_VARIABLE, read_environment
from headrace.settings.file import read_file

_AGO = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_STATE_DIR = "server.state_dir"


def add_state_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help=f"the server's state folder [HEADRACE_STATE_DIR, or {ServerSettings().state_dir}]",
    )


def folder(arguments: argparse.Namespace) -> Path:
    """As the server would take it; what is wrong with its other settings does not matter here."""
    if arguments.state_dir is not None:
        return Path(arguments.state_dir)
    problems: list[str] = []
    file = os.environ.get(CONFIG_VARIABLE)
    given = [*(read_file(Path(file), problems) if file else ()), *read_environment(os.environ, problems)]
    named = [Path(str(item.value)) for item in given if item.key == _STATE_DIR]
    return named[-1] if named else ServerSettings().state_dir


def head(text: str) -> Head:
    try:
        return Head.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not valid: expected a record's number and its hash, as in 1041:9f86d0..."
        ) from None


def time(text: str) -> str:
    """A point in time as records have it, given as one or as so long ago."""
    ago = _AGO.fullmatch(text)
    try:
        if ago:
            return timestamp(datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])}))
        point = datetime.fromisoformat(text)
        return timestamp(point.astimezone(UTC) if point.tzinfo else point)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: expected one as in 2027-01-31T14:30, or as in 2h for two hours ago"
        ) from None
