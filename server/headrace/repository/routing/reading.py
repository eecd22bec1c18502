"""Routes and plans from text: JSON of a request or of the state database, YAML of a file."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import Message

from headrace.core.plan import Plan
from headrace.core.route import Route
from headrace.pb.headrace.v1 import routing_pb2 as pb
from headrace.repository.problems import Findings, InvalidConfig, Problem
from headrace.repository.routing.plan_reader import read_plan
from headrace.repository.routing.route_reader import RouteReader
from headrace.repository.text.document import MAX_TEXT_BYTES, Node
from headrace.repository.text.json_document import parse_json
from headrace.repository.text.schema import MessageReader
from headrace.repository.text.yaml_document import parse_yaml

T = TypeVar("T")
Parse = Callable[[str, Findings], Node | None]


def parse_route(text: str, source: str, *, is_json: bool = True) -> Route:
    """The route in JSON (or YAML) `text`; InvalidConfig has all its problems, under the name `source`."""
    return _parsed(text, source, pb.Route(), is_json, route_of)


def parse_plan(text: str, source: str, *, is_json: bool = True) -> Plan:
    """The plan in JSON (or YAML) `text`; InvalidConfig has all its problems, under the name `source`."""
    return _parsed(text, source, pb.RolloutPlan(), is_json, plan_of)


def route_of(message: pb.Route, findings: Findings) -> Route:
    """The route in `message`; InvalidConfig has all its problems."""
    route = RouteReader(findings).route(message)
    findings.raise_problems()
    return route


def plan_of(message: pb.RolloutPlan, findings: Findings) -> Plan:
    """The plan in `message`; InvalidConfig has all its problems."""
    plan = read_plan(message, findings)
    findings.raise_problems()
    return plan


M = TypeVar("M", bound=Message)


def _parsed(text: str, source: str, message: M, is_json: bool, read: Callable[[M, Findings], T]) -> T:
    if len(text) > MAX_TEXT_BYTES:
        raise InvalidConfig([Problem(source, "", f"more than {MAX_TEXT_BYTES} characters")])
    lines: dict[str, int] = {}
    findings = Findings(source, lines)
    root = (parse_json if is_json else parse_yaml)(text, findings)
    if root is not None:
        MessageReader(findings, lines, is_json=is_json).fill(message, root)
    findings.raise_problems()
    return read(message, findings)
