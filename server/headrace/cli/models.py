"""`headrace models`: what a running server has loaded, and what each version runs on."""

import argparse
import json

from headrace.cli.arguments import add_connection_arguments
from headrace.cli.client import MODELS, Client
from headrace.cli.units import duration
from headrace.logs.table import Table
from headrace.pb.headrace.v1 import admin_pb2

EPILOG = """\
A * marks the version that answers requests which name none.

examples:
  headrace models
  headrace models digits --url 10.0.0.7:8001
  headrace models --json
"""

_TITLES = ("MODEL", "VERSION", "STATE", "MAX BATCH", "INSTANCES", "THREADS", "DEVICE", "QUEUE", "LOADED IN")
_NUMBERS = ("MAX BATCH", "INSTANCES", "THREADS", "QUEUE", "LOADED IN")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="only this model")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    with Client(arguments.url, arguments.timeout) as client:
        answer = client.call(MODELS, admin_pb2.ModelsRequest(model_name=arguments.model))
    if arguments.json:
        print(json.dumps([_members(model) for model in answer.models]))
    elif answer.models:
        print(Table((*_TITLES, "REASON"), _NUMBERS).format(_row(model) for model in answer.models))
    else:
        print("no models are loaded")
    return 0


def _row(model: admin_pb2.Model) -> tuple[object, ...]:
    return (
        model.name,
        model.version + ("*" if model.is_default else ""),
        model.state,
        model.max_batch_size or "-",
        model.instances,
        model.threads_per_instance,
        model.device,
        f"{model.queue_depth}/{model.max_queue_size}",
        duration(model.load_duration_us),
        model.reason,
    )


def _members(model: admin_pb2.Model) -> dict[str, object]:
    """Every field under its own name, also those that are 0 or empty."""
    return {field.name: getattr(model, field.name) for field in model.DESCRIPTOR.fields}
