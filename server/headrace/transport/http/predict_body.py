"""What people send for a prediction: JSON, CSV, an .npy file or plain text, as values by input."""

import csv
import io
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.core.tensor import Buffer, DataType, TensorSpec
from headrace.errors import InvalidArgument
from headrace.service.answers import ModelTensors
from headrace.transport.http.infer_request import parse_json
from headrace.transport.http.messages import HttpError, HttpRequest
from headrace.transport.limits import Limits

Columns: TypeAlias = Mapping[str, NDArray[Any]]

NPY_MAGIC = b"\x93NUMPY"
# What curl says of a body where it is not told otherwise.
FORM = "application/x-www-form-urlencoded"
JSON_TYPES = frozenset({"", "application/json", FORM})
CSV_TYPES = frozenset({"text/csv", "application/csv"})
NPY_TYPES = frozenset({"application/x-npy", "application/npy", "application/octet-stream"})
TEXT = "text/plain"


def read_body(request: HttpRequest, model: ModelTensors, limits: Limits) -> Columns:
    """The values of each input in `request`; InvalidArgument where they cannot be told."""
    media_type, body = request.media_type, request.body
    if bytes(body[: len(NPY_MAGIC)]) == NPY_MAGIC or media_type in NPY_TYPES:
        return {_only_input(model).name: _read_npy(body)}
    if media_type in JSON_TYPES:
        return columns_of(parse_json(body, limits), model)
    if media_type in CSV_TYPES:
        return _read_csv(_text(body), model)
    if media_type == TEXT:
        return {_only_input(model).name: _read_text(_text(body), _only_input(model))}
    raise HttpError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Type '{media_type[:64]}' is not known: expected application/json, text/csv, text/plain, "
        "application/x-npy or, where the model takes pictures, image/...",
    )


def columns_of(document: object, model: ModelTensors) -> Columns:
    """The values of each input in JSON: {"inputs": ...}, columns by name, a list of rows, or one row."""
    if isinstance(document, dict) and "inputs" in document:
        extra = sorted(set(document) - {"inputs"})
        if extra:
            raise InvalidArgument(f"'{extra[0]}' is not known beside 'inputs'")
        document = document["inputs"]
    if isinstance(document, dict):
        return {name: to_array(values, f"input '{name}'") for name, values in document.items()}
    if isinstance(document, list) and document and all(type(row) is dict for row in document):
        return _columns_of_records(document)
    return {_only_input(model).name: to_array(document, "the rows")}


def to_array(values: object, what: str) -> NDArray[Any]:
    """Nested lists as an array; strings stay Python's."""
    try:
        array = np.array(values)
        return np.array(values, object) if array.dtype.kind == "U" else array
    except ValueError:
        raise InvalidArgument(f"{what} is no regular array: its lists differ in length") from None


def _columns_of_records(records: list[dict[str, Any]]) -> Columns:
    names = list(records[0])
    for at, record in enumerate(records):
        if set(record) != set(names):
            raise InvalidArgument(
                f"row {at} has the fields {', '.join(sorted(record))}: expected {', '.join(sorted(names))}"
            )
    return {name: to_array([record[name] for record in records], f"field '{name}'") for name in names}


def _read_csv(text: str, model: ModelTensors) -> Columns:
    """Lines of values; a first line that names the inputs, or that is no line of numbers, is a header."""
    lines = [line for line in csv.reader(io.StringIO(text)) if line]
    if not lines:
        raise InvalidArgument("the CSV has no lines")
    names = [name.strip() for name in lines[0]]
    by_name = {spec.name: spec for spec in model.inputs}
    if set(names) <= set(by_name) and len(set(names)) == len(names):
        _check_width(lines)
        return {
            name: _csv_values([line[at] for line in lines[1:]], by_name[name])
            for at, name in enumerate(names)
        }
    spec = _only_input(model)
    rows = lines[1:] if _is_header(lines[0], spec) else lines
    _check_width(rows)
    values = _csv_values([value for row in rows for value in row], spec)
    return {spec.name: values.reshape(len(rows), -1) if rows else values}


def _is_header(line: list[str], spec: TensorSpec) -> bool:
    return spec.datatype is not DataType.BYTES and not all(_is_number(value) for value in line)


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
                f"line {at + 1} of the CSV has {len(line)} values, but the first one has {len(lines[0])}"
            )


def _csv_values(texts: list[str], spec: TensorSpec) -> NDArray[Any]:
    kind = spec.datatype.numpy.kind
    try:
        if spec.datatype is DataType.BYTES:
            return np.array(texts, object)
        if kind == "b":
            return np.array([_BOOLEANS[text.strip().lower()] for text in texts], np.bool_)
        if kind in "iu" and spec.datatype is not DataType.BF16:
            return np.array([int(text) for text in texts])
        return np.array(texts, np.float64)
    except (ValueError, KeyError) as error:
        raise InvalidArgument(
            f"the CSV has a value that is not {spec.datatype.value}, for input '{spec.name}': {error}"
        ) from None


def _read_npy(body: Buffer) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(io.BytesIO(body), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise InvalidArgument(f"the body is no valid .npy file: {error}") from None
    return array


def _read_text(text: str, spec: TensorSpec) -> NDArray[Any]:
    if spec.datatype is not DataType.BYTES:
        raise InvalidArgument(f"text/plain is one string, but input '{spec.name}' is {spec.datatype.value}")
    return np.array([text], object)


def _text(body: Buffer) -> str:
    try:
        return bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument("the body is not UTF-8") from None


def _only_input(model: ModelTensors) -> TensorSpec:
    required = [spec for spec in model.inputs if not spec.is_optional]
    if len(required) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise InvalidArgument(f"model '{model.name}' has several inputs: give values for {names} by name")
    return required[0]


_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}
