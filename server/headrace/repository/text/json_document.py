"""JSON text to a tree of nodes, as a load call carries a configuration."""

import json
from typing import NoReturn, TypeAlias

from headrace.repository.problems import Findings, shown
from headrace.repository.text.document import MAX_DEPTH, MAX_NODES, ListNode, MappingNode, Node, Scalar

_Json: TypeAlias = "_Object | list[_Json] | str | int | bool | _Number | None"


class _Number(str):
    """A number as it was written."""


class _Object(tuple[tuple[str, "_Json"], ...]):
    """The pairs of an object, in order, twins included."""


def parse_json(text: str, findings: Findings) -> Node | None:
    """The value in `text`, or None where its problems are in `findings`."""
    try:
        value = json.loads(
            text,
            object_pairs_hook=_Object,
            parse_int=_Number,
            parse_float=_Number,
            parse_constant=_refuse_constant,
        )
        return _Converter(findings).node(value, 0)
    except RecursionError:
        findings.refuse("", f"nested more than {MAX_DEPTH} levels deep")
    except ValueError as error:
        findings.refuse("", f"not valid JSON: {error}")
    return None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


class _Converter:
    """Turns what `json` gives into nodes, within the limits of a configuration."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._nodes = 0

    def node(self, value: _Json, depth: int) -> Node:
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_NODES} values or {MAX_DEPTH} levels")
        match value:
            case _Object():
                return self._mapping(value, depth)
            case list():
                return ListNode(tuple(self.node(item, depth + 1) for item in value))
            case None:
                return Scalar("null")
            case bool():
                return Scalar("true" if value else "false")
            case _Number():
                return Scalar(str(value))
            case _:
                return Scalar(str(value), is_quoted=True)

    def _mapping(self, pairs: _Object, depth: int) -> MappingNode:
        entries: dict[str, tuple[Scalar, Node]] = {}
        for key, value in pairs:
            if key in entries:
                self._findings.refuse("", f"{shown(key)} is given twice")
            entries[key] = (Scalar(key, is_quoted=True), self.node(value, depth + 1))
        return MappingNode(tuple(entries.values()))
