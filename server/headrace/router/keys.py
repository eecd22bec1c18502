"""What a route may read of a request: the text of a key, and whether conditions hold."""

import re
from collections.abc import Callable, Sequence
from fnmatch import translate
from typing import TypeAlias

from headrace.core.caller import Proof
from headrace.core.request import InferenceRequest
from headrace.core.route import Attribute, Condition, Key, Rule

# The text of a key in a request, or None where it carries none.
KeyReader: TypeAlias = Callable[[InferenceRequest], str | None]

SEQUENCE_ID = "sequence_id"


def key_reader(key: Key) -> KeyReader:
    """Reads `key` from requests; an empty text is none."""
    match key.attribute:
        case Attribute.METADATA:
            name = key.name.lower()
            return lambda request: request.metadata(name) or None
        case Attribute.PARAMETER:
            return _parameter_reader(key.name)
        case Attribute.SEQUENCE:
            return _parameter_reader(SEQUENCE_ID, without="0")
        case Attribute.CALLER:
            return _caller


class Rules:
    """Tells which of a route's rules a request fulfils."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = [[_matcher(condition) for condition in rule.conditions] for rule in rules]

    def first(self, request: InferenceRequest) -> int | None:
        """The index of the first rule whose conditions all hold."""
        for index, conditions in enumerate(self._rules):
            if all(holds(request) for holds in conditions):
                return index
        return None


def _matcher(condition: Condition) -> Callable[[InferenceRequest], bool]:
    read = key_reader(condition.key)
    pattern = re.compile("|".join(map(_expression, condition.patterns)))

    def holds(request: InferenceRequest) -> bool:
        text = read(request)
        return text is not None and pattern.match(text) is not None

    return holds


def _expression(pattern: str) -> str:
    """For whole texts, in time linear in them: a * that has let the rest begin is not tried again."""
    # To fnmatch, [ begins a set of characters; here it is one like others.
    return translate(pattern.replace("[", "[[]"))


def _parameter_reader(name: str, without: str = "") -> KeyReader:
    def read(request: InferenceRequest) -> str | None:
        value = request.parameters.get(name)
        text = None if value is None else _text(value)
        return None if text in ("", without) else text

    return read


def _text(value: bool | int | float | str) -> str:
    """As JSON writes it, so that every protocol's form of a value is the same key."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _caller(request: InferenceRequest) -> str | None:
    """Nobody knows who strangers are, or whether two of them are the same."""
    caller = request.caller
    return None if caller.proof is Proof.NONE else f"{caller.proof}:{caller.name}"
