"""`headrace models`: what a running server has loaded, and what each version runs on."""

import argparse
import json

from headrace.cli.arguments import add_connection_arguments, connect
from headrace.cli.client import MODELS
from headrace.cli.model_table import model_table
from headrace.pb.headrace.v1 import admin_pb2

EPILOG = """\
A * marks the version that answers requests which name none.

examples:
  headrace models
  headrace models digits --url 10.0.0.7:8001
  headrace models --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    parser.add_argument("model", nargs="?", default="", metavar="MODEL", help="only this model")
    parser.add_argument("--json", action="store_true", help="print one JSON array")
    add_connection_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    with connect(arguments) as client:
        answer = client.call(MODELS, admin_pb2.ModelsRequest(model_name=arguments.model))
    if arguments.json:
        print(json.dumps([_members(model) for model in answer.models]))
    else:
        print(model_table(answer.models))
    return 0


def _members(model: admin_pb2.Model) -> dict[str, object]:
    """Every field under its own name, also those that are 0 or empty."""
    return {field.name: getattr(model, field.name) for field in model.DESCRIPTOR.fields}
