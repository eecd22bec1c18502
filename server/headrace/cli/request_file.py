"""Reads what is to be sent from .json, .npy, .npz and .csv files."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from headrace.cli.requests import InputSpec, PreparedInput, PreparedRequest, datatype_of
from headrace.cli.tensors import fit
from headrace.core.tensor import DataType
from headrace.errors import ConfigError

SUFFIXES = (".json", ".npy", ".npz", ".csv")


@dataclass(frozen=True, slots=True)
class UnnamedRows:
    """Rows of one input that the file does not name."""

    values: object


@dataclass(frozen=True, slots=True)
class CsvRows:
    """Rows of one input as texts, with the number of each one's line."""

    rows: Sequence[tuple[int, Sequence[str]]]


Content = Sequence[PreparedRequest] | Mapping[str, object] | UnnamedRows | CsvRows


def read_file(path: Path) -> Content:
    """Whole requests, or rows by input, or rows of one input; ConfigError where it has none of these."""
    readers = {".json": _read_json, ".npy": _read_numpy, ".npz": _read_numpy, ".csv": _read_csv}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConfigError(f"{path}: has an unknown format: expected {', '.join(SUFFIXES)}")
    try:
        return reader(path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: {error}") from error


def to_values(content: CsvRows, spec: InputSpec) -> list[list[object]]:
    """The rows as values of the input's datatype; a first line that cannot be is taken for a header."""
    rows = list(content.rows)
    if rows and _is_header(rows[0][1], spec):
        rows = rows[1:]
    return [_to_row(line, cells, spec) for line, cells in rows]


def _read_json(path: Path) -> Content:
    content = json.loads(path.read_bytes())
    if _is_request(content):
        return [_to_request(content)]
    if isinstance(content, list) and content and all(map(_is_request, content)):
        return [_to_request(item) for item in content]
    if isinstance(content, dict):
        return cast(dict[str, object], content)
    return UnnamedRows(content)


def _read_numpy(path: Path) -> Content:
    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return UnnamedRows(loaded)
    with loaded:
        return dict(loaded)


def _read_csv(path: Path) -> Content:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        return CsvRows([(reader.line_num, cells) for cells in reader if cells])


def _is_request(content: object) -> bool:
    return isinstance(content, dict) and isinstance(content.get("inputs"), list)


def _to_request(content: Mapping[str, Any]) -> PreparedRequest:
    """A request in the shape that the V2 protocol gives it over REST."""
    inputs = [_to_input(item) for item in content["inputs"]]
    try:
        outputs = {
            output["name"]: int(output.get("parameters", {}).get("classification", 0))
            for output in content.get("outputs", ())
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError('outputs: expected a list of {"name": ...}') from error
    parameters = content.get("parameters", {})
    if not all(isinstance(value, bool | int | float | str) for value in parameters.values()):
        raise ValueError("parameters: expected numbers, texts, true and false only")
    rows = inputs[0].array.shape[0] if inputs and inputs[0].array.ndim else 1
    return PreparedRequest(rows, inputs, outputs, parameters, str(content.get("id", "")))


def _to_input(item: Mapping[str, Any]) -> PreparedInput:
    missing = {"name", "shape", "datatype", "data"} - (item.keys() if isinstance(item, dict) else set())
    if missing:
        raise ValueError(f"an input lacks {', '.join(sorted(missing))}")
    datatype = datatype_of(item["datatype"], f"input {item['name']!r}")
    try:
        array = fit(item["data"], datatype).reshape(item["shape"])
    except (ValueError, TypeError) as error:
        raise ValueError(f"input {item['name']!r}: {error}") from error
    return PreparedInput(item["name"], datatype, array)


def _is_header(cells: Sequence[str], spec: InputSpec) -> bool:
    if spec.datatype is DataType.BYTES:
        return cells[0] == spec.name
    try:
        _to_row(1, cells, spec)
    except ConfigError:
        return True
    return False


def _to_row(line: int, cells: Sequence[str], spec: InputSpec) -> list[object]:
    try:
        return [_to_value(cell, spec.datatype) for cell in cells]
    except ValueError as error:
        raise ConfigError(f"line {line}: {error}: expected {spec.datatype.value}") from error


def _to_value(cell: str, datatype: DataType) -> object:
    if datatype is DataType.BYTES:
        return cell
    if datatype is DataType.BOOL:
        return _to_bool(cell)
    if datatype.numpy.kind == "f" or datatype is DataType.BF16:
        return float(cell)
    return int(cell)


def _to_bool(cell: str) -> bool:
    if cell.strip().lower() not in ("true", "1", "false", "0"):
        raise ValueError(f"{cell!r} is not true or false")
    return cell.strip().lower() in ("true", "1")
