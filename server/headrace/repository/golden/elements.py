"""The `data` of a golden request: JSON, nested or flat, to elements of a datatype, and to a tensor."""

import sys
from collections.abc import Callable, Sequence
from itertools import chain
from math import inf, nan
from typing import Any

import numpy as np

from headrace.core import strings
from headrace.core.tensor import DataType, Shape, Tensor, element_count, from_bf16, to_bf16
from headrace.repository.golden.document import given
from headrace.repository.golden.request import Elements

FLOATS = frozenset({DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16})
# What JSON has no numbers for, as protobuf's JSON writes it.
NOT_FINITE = {"NaN": nan, "Infinity": inf, "-Infinity": -inf}
# Elements that are looked at in one go, for which other threads have to wait.
_PIECE = 1 << 14


class BadElements(ValueError):
    """The data are not what the datatype and the shape mean; the message has both."""


def read_elements(data: object, datatype: DataType, shape: Shape | None) -> Elements:
    """`data` in `shape`; where that is None, as it is nested. BadElements says what is wrong.

    Nested data has to be nested like the shape; flat data only needs as many elements.
    """
    items, nesting = _flattened(data)
    if shape is not None and len(nesting) > 1 and nesting != shape:
        raise BadElements(
            f"is nested as {list(nesting)}, but the shape is {list(shape)}; "
            "nest it like that, or write it flat"
        )
    if shape is not None and len(items) != element_count(shape):
        expected = element_count(shape)
        raise BadElements(f"has {len(items)} elements, but the shape {list(shape)} means {expected}")
    elements = np.empty(len(items), np.dtype(np.float32) if datatype is DataType.BF16 else datatype.numpy)
    convert = _converter(datatype)
    for start in range(0, len(items), _PIECE):
        piece = items[start : start + _PIECE]
        try:
            elements[start : start + len(piece)] = convert(piece, datatype)
        except _BadElement as error:
            place = ", ".join(map(str, np.unravel_index(start + error.index, nesting or (1,))))
            raise BadElements(f"[{place}] is {error}") from None
    return elements.reshape(nesting if shape is None else shape)


def to_tensor(name: str, datatype: DataType, elements: Elements) -> Tensor:
    """The tensor of what `read_elements` gave."""
    if datatype is DataType.BYTES:
        data = strings.from_array(elements)
    elif datatype is DataType.BF16:
        data = to_bf16(elements).tobytes()
    else:
        data = elements.tobytes()
    return Tensor(name, datatype, elements.shape, data)


class _BadElement(Exception):
    """The element at `index` of a piece; the message goes on "is ..."."""

    def __init__(self, index: int, message: str) -> None:
        super().__init__(message)
        self.index = index


_Converter = Callable[[Sequence[Any], DataType], Elements | list[str]]


def _converter(datatype: DataType) -> _Converter:
    if datatype is DataType.BYTES:
        return _texts
    if datatype is DataType.BOOL:
        return _booleans
    return _numbers if datatype in FLOATS else _integers


def _flattened(data: object) -> tuple[list[Any], Shape]:
    """The elements, row-major, and how they are nested: [] for a value alone, [n] for a flat list."""
    if not isinstance(data, list):
        return [data], ()
    items: list[Any] = data
    nesting = [len(items)]
    while list in (kinds := _kinds(items)):
        if len(kinds) > 1:
            raise BadElements("mixes lists and values")
        lengths = sorted(set(map(len, items)))
        if len(lengths) > 1:
            raise BadElements(f"has lists of {lengths[0]} beside lists of {lengths[-1]} at one level")
        nesting += lengths
        items = list(chain.from_iterable(items))
    return items, tuple(nesting)


def _kinds(items: Sequence[Any]) -> set[type]:
    """The types of all `items`."""
    pieces = (items[start : start + _PIECE] for start in range(0, len(items), _PIECE))
    return set[type]().union(*(map(type, piece) for piece in pieces))


def _numbers(piece: Sequence[Any], datatype: DataType) -> Elements:
    if not set(map(type, piece)) <= {int, float}:
        piece = [_number(index, item) for index, item in enumerate(piece)]
    try:
        wide = np.array(piece, np.float64)
    except OverflowError:
        raise _first_bad(piece, lambda item: not _is_beyond(item), _beyond(datatype)) from None
    with np.errstate(over="ignore"):
        narrow = from_bf16(to_bf16(wide)) if datatype is DataType.BF16 else wide.astype(datatype.numpy)
    beyond = np.flatnonzero(np.isinf(narrow) & np.isfinite(wide))
    if beyond.size:
        index = int(beyond[0])
        raise _BadElement(index, f"{given(piece[index])}, {_beyond(datatype)}")
    return narrow


def _number(index: int, item: object) -> float:
    if isinstance(item, str) and item in NOT_FINITE:
        return NOT_FINITE[item]
    if isinstance(item, bool) or not isinstance(item, int | float):
        names = ", ".join(f'"{name}"' for name in NOT_FINITE)
        raise _BadElement(index, f"{given(item)}; expected a number or one of {names}")
    return item


def _integers(piece: Sequence[Any], datatype: DataType) -> Elements:
    if set(map(type, piece)) != {int}:
        raise _first_bad(piece, lambda item: type(item) is int, f"expected an integer, for {datatype.value}")
    limits = np.iinfo(datatype.numpy.name)
    if min(piece) < limits.min or max(piece) > limits.max:
        expected = f"expected {limits.min} to {limits.max}, for {datatype.value}"
        raise _first_bad(piece, lambda item: limits.min <= item <= limits.max, expected)
    return np.array(piece, datatype.numpy)


def _booleans(piece: Sequence[Any], datatype: DataType) -> Elements:
    if set(map(type, piece)) != {bool}:
        raise _first_bad(piece, lambda item: type(item) is bool, "expected true or false, for BOOL")
    return np.array(piece, datatype.numpy)


def _texts(piece: Sequence[Any], datatype: DataType) -> list[str]:
    if set(map(type, piece)) != {str}:
        raise _first_bad(piece, lambda item: type(item) is str, "expected a string, for BYTES")
    if any(map(_has_half_a_character, piece)):
        expected = "which holds half a character (a lone surrogate)"
        raise _first_bad(piece, lambda item: not _has_half_a_character(item), expected)
    return list(piece)


def _has_half_a_character(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)


def _is_beyond(item: object) -> bool:
    return isinstance(item, int) and abs(item) > sys.float_info.max


def _beyond(datatype: DataType) -> str:
    return f"beyond the largest number of {datatype.value}"


def _first_bad(piece: Sequence[Any], is_good: Callable[[Any], bool], expected: str) -> _BadElement:
    index = next(index for index, item in enumerate(piece) if not is_good(item))
    mark = ";" if expected.startswith("expected") else ","
    return _BadElement(index, f"{given(piece[index])}{mark} {expected}")
