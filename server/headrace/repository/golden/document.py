"""The JSON of a golden request: objects whose members are read one by one, mistakes going to findings."""

import json
import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import isinf
from typing import Any

from headrace.core.tensor import DATATYPES, DataType, Shape
from headrace.repository.problems import Findings, Problem, shown
from headrace.settings.suggestion import did_you_mean

_SHOWN_ITEMS = 8
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class Members:
    """A JSON object at `path` of its file, "" for the whole."""

    values: Mapping[str, Any]
    path: str
    findings: Findings

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def at(self, name: str) -> str:
        """The path of the member `name`."""
        return f"{self.path}.{name}" if self.path else name

    def refuse(self, name: str, message: str) -> None:
        """Adds a problem of the member `name`, or of the object where it is ""."""
        self.findings.refuse(self.at(name) if name else self.path, message)

    def refuse_unknown(self, known: Collection[str]) -> None:
        for name in self.values:
            if name not in known:
                hint = did_you_mean(name, known) or f"; expected one of {', '.join(known)}"
                self.refuse("", f"{shown(name)} is unknown{hint}")

    def text(self, name: str) -> str | None:
        """The string `name`, or None where it is missing or none."""
        value = self.values.get(name)
        if name in self and not isinstance(value, str):
            self.refuse(name, f"{given(value)} is given; expected a string")
        return value if isinstance(value, str) else None

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            self.refuse(name, f"{given(value)} is given; expected true or false")
        return value is True

    def distance(self, name: str) -> float | None:
        """The number `name`, 0 or more, or None where it is missing or none."""
        value: Any = self.values.get(name)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if is_number and 0 <= value <= sys.float_info.max:
            return float(value)
        if name in self:
            self.refuse(name, f"{given(value)} is given; expected a number of 0 or more")
        return None

    def shape(self, name: str) -> Shape | None:
        """The list of sizes `name`, or None where it is missing or none."""
        value = self.values.get(name)
        if isinstance(value, list) and all(type(size) is int and size >= 0 for size in value):
            return tuple(value)
        if name in self:
            self.refuse(name, f"{given(value)} is given; expected a list of sizes, integers of 0 or more")
        return None

    def datatype(self, name: str) -> DataType | None:
        """The datatype `name`, or None where it is missing or unknown."""
        value = self.text(name)
        if value is not None and value not in DATATYPES:
            hint = did_you_mean(value, DATATYPES) or f"; expected one of {', '.join(DATATYPES)}"
            self.refuse(name, f"{shown(value)} is unknown{hint}")
        return DATATYPES.get(value or "")

    def objects(self, name: str) -> Sequence["Members"]:
        """The objects of the list `name`; empty where there is no such list."""
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            what = f"{given(value)} is given" if name in self else "is missing"
            self.refuse(name, f"{what}; expected a list of objects")
            return ()
        return [Members(item, f"{self.at(name)}[{index}]", self.findings) for index, item in enumerate(value)]


def parse_document(data: bytes, findings: Findings) -> Members | None:
    """The JSON object in `data`, or None where its problems are in `findings`."""
    try:
        value = json.loads(
            data.decode("utf-8-sig"),
            object_pairs_hook=_object,
            # Not `int` and `float`: between calls of Python's own functions other threads get their turn, and
            # a long list of numbers would keep them waiting.
            parse_int=lambda text: int(text),
            parse_float=_float,
        )
    except json.JSONDecodeError as error:
        message = f"not valid JSON: {error.msg} at column {error.colno}"
        findings.problems.append(Problem(findings.file, "", message, error.lineno))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"byte {data[error.start]:#04x} is not UTF-8; save the file as UTF-8"
        findings.problems.append(Problem(findings.file, "", message, line))
    except RecursionError:
        findings.refuse("", "not valid JSON: nested too deep")
    except ValueError as error:
        findings.refuse("", f"not valid JSON: {error}")
    else:
        if isinstance(value, dict):
            return Members(value, "", findings)
        findings.refuse("", f"{given(value)} is given; expected an object with inputs and outputs")
    return None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{shown(twice)} is given twice")
    return members


def _float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError(f"{shown(text)} is beyond the largest number of 64 bits")
    return number


def given(value: object) -> str:
    """`value` for a message, as JSON has it."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list) and len(value) > _SHOWN_ITEMS:
        return f"a list of {len(value)}"
    if isinstance(value, list):
        return f"[{', '.join(map(given, value))}]"
    text = json.dumps(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."
