"""Arguments that several commands share."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path

from headrace.cli.client import DEFAULT_TIMEOUT_S, DEFAULT_URL, Client, Tls
from headrace.errors import ConfigError

API_KEY_VARIABLE = "HEADRACE_API_KEY"


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
    parser.add_argument(
        "--api-key", default="", metavar="KEY", help=f"who calls; better kept in {API_KEY_VARIABLE}"
    )
    tls = parser.add_argument_group("encryption", "Also switched on by a URL that begins with grpcs://.")
    tls.add_argument("--tls", action="store_true", help="speak TLS; the machine's authorities are trusted")
    tls.add_argument("--tls-ca", type=Path, metavar="FILE", help="PEM file with those to trust instead")
    tls.add_argument("--tls-cert", type=Path, metavar="FILE", help="PEM file with the certificate to show")
    tls.add_argument("--tls-key", type=Path, metavar="FILE", help="PEM file with its private key")


def connect(arguments: argparse.Namespace) -> Client:
    """The client that these arguments ask for; ConfigError where they contradict each other."""
    files = Tls(arguments.tls_ca, arguments.tls_cert, arguments.tls_key)
    if (files.certificate is None) != (files.key is None):
        raise ConfigError("expected both --tls-cert and --tls-key")
    is_on = arguments.tls or files != Tls()
    api_key = arguments.api_key or os.environ.get(API_KEY_VARIABLE, "")
    return Client(arguments.url, arguments.timeout, files if is_on else None, api_key)


def at_least(minimum: int) -> Callable[[str], int]:
    """Reads an integer that is not below `minimum`."""

    def read(text: str) -> int:
        number = int(text)
        if number < minimum:
            raise argparse.ArgumentTypeError(f"{number} is not valid: expected at least {minimum}")
        return number

    read.__name__ = "integer"
    return read
