"""`headrace serve`: reads the settings and runs the server."""

import argparse
import logging
import os
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from headrace.cli.model_table import model_table
from headrace.cli.output import show
from headrace.cli.reference import default_of
from headrace.settings import LogFormat
from headrace.settings.given import GROUPS, OPTIONS
from headrace.settings.option import Option
from headrace.settings.printing import to_yaml
from headrace.settings.reading import read_settings

if TYPE_CHECKING:
    from headrace.server import Started

logger = logging.getLogger(__name__)

EPILOG = """\
An option given here goes before its environment variable (HEADRACE_ and the flag's name, as in
HEADRACE_GRPC_PORT), that before the file of --config, that before the default.

examples:
  headrace serve --model-repository /models
  headrace serve --model-repository /models --grpc-address 0.0.0.0 --access-file access.yaml
  headrace serve --model-control-mode explicit --load-model digits --load-model sentiment
  headrace serve --config headrace.yaml --print-settings

exit status:
  0 stopped as asked, 1 the server could not start, 2 a setting is wrong (each is named),
  3 requests were still under way when the drain time ended.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "headrace serve [OPTION ...]"
    parser.epilog = EPILOG
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="YAML file of settings (also HEADRACE_CONFIG)"
    )
    parser.add_argument(
        "--print-settings",
        action="store_true",
        help="print the settings as YAML, with the place where each was set, and exit",
    )
    for name, options in OPTIONS.items():
        section = parser.add_argument_group(name, GROUPS[name].__doc__)
        for option in options:
            _add_option(section, option)


def run(arguments: argparse.Namespace) -> int:
    """The server's exit status; ConfigError names every setting that is wrong."""
    flags = {key: texts for key, texts in vars(arguments).items() if "." in key}
    effective = read_settings(flags, os.environ, arguments.config)
    if arguments.print_settings:
        print(to_yaml(effective), end="")
        return 0
    # The server is imported only now: --help and wrong settings need not wait for it.
    server = import_module("headrace.server")
    return int(server.run(effective.settings, partial(_announce, effective.settings.log.format)))


def _announce(log_format: LogFormat, started: "Started") -> None:
    """One line in the log, and a table for whoever started the server by hand."""
    logger.info(
        "ready: gRPC on %s:%d (%s), %s, %s%s; %d CPU cores, %d GPUs",
        started.grpc_address,
        started.grpc_port,
        started.transport,
        _endpoint("HTTP", started.http_address, started.http_port),
        _endpoint("metrics", started.metrics_address, started.metrics_port),
        ", encrypted (TLS)" if started.is_encrypted else "",
        started.machine.cores,
        len(started.machine.gpus),
    )
    if log_format is LogFormat.TEXT:
        show("\n".join([model_table(started.models), *_hints(started)]))


def _endpoint(what: str, address: str, port: int | None) -> str:
    return f"no {what}" if port is None else f"{what} on {address}:{port}"


def _hints(started: "Started") -> list[str]:
    """The plan of the machine in a line, and a command to try next."""
    on_cpu = [model for model in started.models if model.device == "cpu"]
    instances = sum(model.instances for model in on_cpu)
    threads = sum(model.instances * model.threads_per_instance for model in on_cpu)
    hints = [f"plan: {started.machine.cores} CPU cores for {instances} instances with {threads} threads"]
    answering = [model.name for model in started.models if model.is_default]
    if answering:
        url = f"{started.grpc_address}:{started.grpc_port}" if started.grpc_port else started.grpc_address
        tls = " --tls" if started.is_encrypted else ""
        hints.append(f"try:  headrace infer {answering[0]} --random 3 --url {url}{tls}")
    return hints


def _add_option(section: argparse._ArgumentGroup, option: Option) -> None:
    """Texts are collected as they are given: `read_settings` reads and judges them all together."""
    unit = f"{option.unit}, " if option.unit else ""
    section.add_argument(
        option.flag,
        *option.aliases,
        dest=option.key,
        action="append",
        nargs="?" if option.kind is bool else None,
        const="true" if option.kind is bool else None,
        default=argparse.SUPPRESS,
        metavar=_placeholder(option),
        help=f"{option.help} [{unit}default: {default_of(option)}]".replace("%", "%%"),
    )


def _placeholder(option: Option) -> str:
    if option.kind in (bool, int, float):
        return {bool: "BOOL", int: "N", float: "X"}[option.kind]
    if option.kind is tuple:
        return "NAME"
    return option.name.rpartition("_")[2].upper()
