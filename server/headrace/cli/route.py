"""`headrace route`: shows, sets and clears how a model's requests are shared between its versions."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from headrace.cli.arguments import add_connection_arguments, connect
from headrace.cli.client import Method
from headrace.cli.rollout_calls import CLEAR_ROUTE, GET_ROUTE, SET_ROUTE
from headrace.cli.route_text import route_text
from headrace.cli.route_words import route_of_words
from headrace.cli.routing_file import read_route_file
from headrace.core.route import Route
from headrace.errors import ConfigError
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.repository.routing.writing import route_message
from headrace.transport.message_json import message_json

EPILOG = """\
A route holds for requests that name no version, until it is cleared or a rollout begins. What it has besides
the shares (rules, a fallback's limits) can be written into FILE, as the section `route` of a configuration.

examples:
  headrace route show digits
  headrace route set digits 3=95 4=5 --label stable=3 --label canary=4 --sticky metadata:user-id
  headrace route set digits 3=100 --shadow 4=10
  headrace route set digits 3=100 --fallback model:digits-small
  headrace route set digits --file route.yaml
  headrace route clear digits

exit status:
  0 it went well, 1 the server said no, 2 an argument or the route is wrong.
"""

_Parser: TypeAlias = argparse.ArgumentParser
_Actions: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_arguments(parser: _Parser) -> None:
    parser.epilog = EPILOG
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    _add(actions, "show", _show, "show where a model's requests go and have gone, and why")
    _add_set(actions)
    _add(actions, "clear", _clear, "let the newest version answer again")


def run(arguments: argparse.Namespace) -> int:
    return int(arguments.act(arguments))


def _add(actions: _Actions, name: str, act: Callable[[argparse.Namespace], int], summary: str) -> _Parser:
    parser = actions.add_parser(
        name, help=summary, description=f"{summary[0].upper()}{summary[1:]}.", allow_abbrev=False
    )
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_connection_arguments(parser)
    # A live view: it has what is added to the parser later, too.
    parser.set_defaults(act=act, known_flags=parser._option_string_actions)
    return parser


def _add_set(actions: _Actions) -> None:
    parser = _add(actions, "set", _set, "share a model's requests between its versions")
    parser.add_argument(
        "weights",
        nargs="*",
        metavar="VERSION=PERCENT",
        help="right behind MODEL: each version's share of 100",
    )
    parser.add_argument(
        "--shadow",
        action="append",
        default=[],
        metavar="VERSION[=PERCENT]",
        help="a version that gets copies of so many requests [100]",
    )
    parser.add_argument(
        "--label", action="append", default=[], metavar="NAME=VERSION", help="a name that callers may use"
    )
    parser.add_argument(
        "--sticky",
        default="",
        metavar="KEY",
        help="the same KEY always reaches the same version: metadata:NAME, parameter:NAME, sequence, caller",
    )
    parser.add_argument(
        "--seed", default="", metavar="TEXT", help="makes keys fall differently than those of other routes"
    )
    parser.add_argument(
        "--fallback",
        default="",
        metavar="TO",
        help="who answers for a version that fails: a version's number or label, or model:NAME",
    )
    parser.add_argument("--file", type=Path, metavar="FILE", help="the whole route, as YAML or .json")


def _show(arguments: argparse.Namespace) -> int:
    return _ask(arguments, GET_ROUTE)


def _clear(arguments: argparse.Namespace) -> int:
    return _ask(arguments, CLEAR_ROUTE)


def _ask(arguments: argparse.Namespace, method: Method[pb.RouteRequest, pb.RouteStatus]) -> int:
    with connect(arguments) as client:
        return _tell(client.call(method, pb.RouteRequest(model_name=arguments.model)), arguments)


def _set(arguments: argparse.Namespace) -> int:
    request = pb.SetRouteRequest(model_name=arguments.model, route=route_message(_route(arguments)))
    with connect(arguments) as client:
        return _tell(client.call(SET_ROUTE, request), arguments)


def _route(arguments: argparse.Namespace) -> Route:
    words = (
        arguments.weights,
        arguments.shadow,
        arguments.label,
        arguments.sticky,
        arguments.fallback,
        arguments.seed,
    )
    if arguments.file is None:
        return route_of_words(*words)
    if any(words):
        raise ConfigError("--file: expected the whole route there, or all of it as arguments")
    return read_route_file(arguments.file)


def _tell(status: pb.RouteStatus, arguments: argparse.Namespace) -> int:
    print(json.dumps(message_json(status)) if arguments.json else route_text(status))
    return 0
