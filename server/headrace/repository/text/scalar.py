"""One written value to the type of a protobuf field."""

import math
import re
from itertools import takewhile

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from headrace.repository.problems import shown
from headrace.repository.text.document import Scalar
from headrace.settings.suggestion import did_you_mean

_INTEGER = re.compile(r"[-+]?[0-9][0-9_]{0,39}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,4})?")
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_RANGES = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
}


class ScalarError(Exception):
    """The value is not what the field takes; the message has both."""


def read_scalar(field: FieldDescriptor, scalar: Scalar, *, is_json: bool) -> int | float | bool | str:
    """The value of `scalar` for `field`; ScalarError says what was expected.

    A text field takes what is written, number or not. Numbers and booleans must not be quoted, except in
    protobuf's JSON (`is_json`), which quotes 64-bit integers.
    """
    if field.enum_type is not None:
        return _read_enum(field.enum_type, scalar.text)
    if field.type == FieldDescriptor.TYPE_STRING:
        return _read_text(scalar)
    if scalar.is_quoted and not is_json:
        raise ScalarError(f"{shown(scalar.text)} is quoted; expected {_wanted(field)}, without quotes")
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _read_bool(scalar.text)
    if field.type in _RANGES:
        return _read_integer(field, scalar.text)
    return _read_float(field, scalar.text)


def _read_enum(enum: EnumDescriptor, text: str) -> int:
    prefix = _prefix(enum)
    numbers = {value.name: value.number for value in enum.values}
    for name in (text, prefix + text):
        if name in numbers:
            return numbers[name]
    names = [name.removeprefix(prefix) for name in numbers if not name.endswith("_INVALID")]
    hint = did_you_mean(text, names) or did_you_mean(text, numbers)
    raise ScalarError(f"{shown(text)} is unknown; expected one of {', '.join(names)}{hint}")


def _read_text(scalar: Scalar) -> str:
    if any("\ud800" <= character <= "\udfff" for character in scalar.text):
        raise ScalarError(f"{scalar.text!a} holds half a character (a lone surrogate)")
    return scalar.text


def _read_bool(text: str) -> bool:
    if text not in _TRUE | _FALSE:
        raise ScalarError(f"{shown(text)} is given; expected true or false")
    return text in _TRUE


def _read_integer(field: FieldDescriptor, text: str) -> int:
    low, high = _RANGES[field.type]
    if _INTEGER.fullmatch(text) is None:
        raise ScalarError(f"{shown(text)} is given; expected {_wanted(field)}")
    value = int(text.replace("_", ""))
    if not low <= value <= high:
        raise ScalarError(f"{value} is out of range; expected an integer of {low} to {high}")
    return value


def _read_float(field: FieldDescriptor, text: str) -> float:
    if _FLOAT.fullmatch(text) is None or not math.isfinite(float(text)):
        raise ScalarError(f"{shown(text)} is given; expected {_wanted(field)}")
    return float(text)


def _wanted(field: FieldDescriptor) -> str:
    if field.type == FieldDescriptor.TYPE_BOOL:
        return "true or false"
    return "an integer" if field.type in _RANGES else "a number"


def _prefix(enum: EnumDescriptor) -> str:
    """What all names of the enum begin with, up to and with the last underscore in common: `TYPE_`."""
    first, last = min(enum.values_by_name), max(enum.values_by_name)
    same = takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    common = "".join(pair[0] for pair in same)
    return common[: common.rfind("_") + 1] if first != last else ""
