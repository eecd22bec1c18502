"""Arguments that several commands share."""

import argparse
from collections.abc import Callable

from headrace.cli.client import DEFAULT_TIMEOUT_S, DEFAULT_URL


def add_connection_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--url", default=DEFAULT_URL, metavar="HOST:PORT", help="the server's gRPC endpoint [%(default)s]"
    )
    parser.add_argument(
        "--timeout",
        type=float,
        default=DEFAULT_TIMEOUT_S,
        metavar="SECONDS",
        help="longest wait for one answer [%(default)g]",
    )


def at_least(minimum: int) -> Callable[[str], int]:
    """Reads an integer that is not below `minimum`."""

    def read(text: str) -> int:
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{number} is not valid: expected at least {minimum}")
        return number

    read.__name__ = "integer"
    return read
