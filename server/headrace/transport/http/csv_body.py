"""Rows as comma separated values."""

import csv
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core.tensor import DataType, TensorSpec
from headrace.errors import InvalidArgument
from headrace.service.answers import ModelTensors
from headrace.transport.http.columns import Columns, only_input
from headrace.transport.limits import Limits, check_count

# Longer than any text that a request can hold: csv's own limit is 128 KiB.
csv.field_size_limit(2**31 - 1)

_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def read_csv(text: str, model: ModelTensors, limits: Limits) -> Columns:
    """Lines of values by input.

    A first line that names inputs tells which column is whose; one without a number, where numbers are
    expected, is passed over.
    """
    check_count(text.count(",") + text.count("\n"), limits.json_values, "values")
    lines = _lines(text)
    if not lines:
        raise InvalidArgument("the CSV has no lines")
    _check_width(lines)
    names = [name.strip() for name in lines[0]]
    by_name = {spec.name: spec for spec in model.inputs}
    if set(names) <= set(by_name) and len(set(names)) == len(names):
        return {
            name: _values([line[at] for line in lines[1:]], by_name[name]) for at, name in enumerate(names)
        }
    spec = only_input(model)
    rows = lines[1:] if _is_header(lines[0], spec) else lines
    if not rows:
        raise InvalidArgument("the CSV has one line, which is no line of numbers with commas between them")
    values = _values([value for row in rows for value in row], spec)
    return {spec.name: values.reshape(len(rows), -1)}


def _lines(text: str) -> list[list[str]]:
    try:
        return [line for line in csv.reader(io.StringIO(text, newline=None)) if line]
    except csv.Error as error:
        raise InvalidArgument(f"the CSV cannot be read: {error}") from None


def _is_header(line: list[str], spec: TensorSpec) -> bool:
    return spec.datatype is not DataType.BYTES and not any(_is_number(value) for value in line)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text.strip().lower() in _BOOLEANS
    return True


def _check_width(lines: list[list[str]]) -> None:
    for at, line in enumerate(lines):
        if len(line) != len(lines[0]):
            raise InvalidArgument(
                f"row {at + 1} of the CSV has {len(line)} values, but the first one has {len(lines[0])}"
            )


def _values(texts: list[str], spec: TensorSpec) -> NDArray[Any]:
    kind = spec.datatype.numpy.kind
    try:
        if spec.datatype is DataType.BYTES:
            return np.array(texts, object)
        if kind == "b":
            return np.array([_BOOLEANS[text.strip().lower()] for text in texts], np.bool_)
        if kind in "iu" and spec.datatype is not DataType.BF16:
            return np.array([int(text) for text in texts])
        return np.array(texts, np.float64)
    except (ValueError, KeyError, OverflowError) as error:
        hint = "; values are separated by commas" if any(";" in text for text in texts[:1]) else ""
        raise InvalidArgument(
            f"the CSV has a value that is not {spec.datatype.value}, for input '{spec.name}': {error}{hint}"
        ) from None
