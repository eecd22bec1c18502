"""The JSON that orders about rollouts and routes come with, which may be left out where it says nothing."""

from collections.abc import Mapping
from typing import Any

from headrace.core.plan import Plan
from headrace.core.route import Route
from headrace.core.tensor import Buffer
from headrace.errors import InvalidArgument
from headrace.repository.routing.reading import parse_plan, parse_route
from headrace.settings.suggestion import did_you_mean
from headrace.transport.http.infer_document import check_values, parse_object
from headrace.transport.http.messages import to_json
from headrace.transport.limits import Limits, check_text
from headrace.transport.rollout_limits import check_number

_NOUNS: Mapping[type, str] = {bool: "a boolean", int: "an integer", str: "a string", dict: "an object"}
_DEFAULTS: Mapping[type, Any] = {bool: False, int: 0, str: "", dict: None}


class OrderBody:
    """The fields of one order by name; those that are left out are false, 0, "" or None."""

    def __init__(self, body: Buffer, fields: Mapping[str, type], limits: Limits) -> None:
        """InvalidArgument where `body` has other fields than `fields`, or values of other types."""
        document = parse_object(body, limits) if body else {}
        for name, value in document.items():
            _check(name, value, fields, limits)
        self._document = {name: document.get(name, _DEFAULTS[kind]) for name, kind in fields.items()}

    def __getitem__(self, name: str) -> Any:
        return self._document[name]

    def plan(self) -> Plan | None:
        """The field `plan`; InvalidConfig names all that is wrong with it."""
        document = self["plan"]
        return None if document is None else parse_plan(to_json(document).decode(), "plan")


def route_of_body(body: Buffer, limits: Limits) -> Route:
    """The route that `body` holds; InvalidConfig names all that is wrong with it."""
    check_values(body, limits)
    try:
        text = bytes(body).decode()
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"the request's body is not UTF-8: {error.reason}") from None
    return parse_route(text, "route")


def _check(name: str, value: Any, fields: Mapping[str, type], limits: Limits) -> None:
    kind = fields.get(name)
    if kind is None:
        check_text(name, limits, "a field's name")
        hint = did_you_mean(name, fields) or f"; expected {', '.join(fields)}"
        raise InvalidArgument(f"unknown field '{name}'{hint}")
    if type(value) is not kind:
        raise InvalidArgument(f"Unable to parse '{name}': expected {_NOUNS[kind]}")
    if isinstance(value, int):
        check_number(value, f"'{name}'")
    elif isinstance(value, str):
        check_text(value, limits, f"'{name}'")
