"""What people send for a prediction: JSON, CSV, an .npy file or plain text, as values by input."""

from http import HTTPStatus
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core.tensor import Buffer, DataType, TensorSpec
from headrace.errors import InvalidArgument
from headrace.service.answers import ModelTensors
from headrace.transport.http.columns import Columns, only_input
from headrace.transport.http.csv_body import read_csv
from headrace.transport.http.infer_document import parse_json
from headrace.transport.http.messages import JSON, HttpError, HttpRequest
from headrace.transport.http.npy_body import NPY_MAGIC, read_npy
from headrace.transport.inputs import MAX_RANK
from headrace.transport.limits import Limits

# What curl says of a body where it is not told otherwise.
FORM = "application/x-www-form-urlencoded"
JSON_TYPES = frozenset({"", JSON, FORM})
CSV_TYPES = frozenset({"text/csv", "application/csv"})
NPY_TYPES = frozenset({"application/x-npy", "application/npy", "application/octet-stream"})
TEXT = "text/plain"

_NUMBERS = frozenset({bool, int, float})


def read_body(request: HttpRequest, model: ModelTensors, limits: Limits) -> Columns:
    """The values of each input in `request`; InvalidArgument where they cannot be told."""
    media_type, body = request.media_type, request.body
    if bytes(body[: len(NPY_MAGIC)]) == NPY_MAGIC or media_type in NPY_TYPES:
        return {only_input(model).name: read_npy(body, limits)}
    if media_type in JSON_TYPES:
        return _read_json(body, media_type, model, limits)
    if media_type in CSV_TYPES:
        return read_csv(_text(body), model, limits)
    if media_type == TEXT:
        return {only_input(model).name: _read_text(_text(body), only_input(model))}
    raise HttpError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        f"Content-Type '{media_type[:64]}' is not known: expected application/json, text/csv, text/plain, "
        "application/x-npy or, where the model takes pictures, image/...; with curl, --data-binary @FILE",
    )


def _read_json(body: Buffer, media_type: str, model: ModelTensors, limits: Limits) -> Columns:
    try:
        return columns_of(parse_json(body, limits), model)
    except InvalidArgument as error:
        if media_type == JSON:
            raise
        raise InvalidArgument(
            f"{error}. The body is taken for JSON as nothing else is said of it: say it, as in "
            "-H 'Content-Type: text/csv'"
        ) from None


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
    return {only_input(model).name: to_array(document, "the rows")}


def to_array(values: object, what: str) -> NDArray[Any]:
    """Nested lists as an array, of objects where they hold anything but numbers and booleans.

    Left to itself, numpy gives each text the room of the longest.
    """
    items: list[Any] = [values]
    shape: tuple[int, ...] = ()
    while (kinds := set(map(type, items))) == {list}:
        lengths = set(map(len, items))
        if len(lengths) > 1 or len(shape) == MAX_RANK:
            raise _irregular(what)
        shape += tuple(lengths)
        items = list(chain.from_iterable(items))
    if list in kinds:
        raise _irregular(what)
    if kinds <= _NUMBERS:
        return np.array(items).reshape(shape)
    array = np.empty(len(items), object)
    array[:] = items
    return array.reshape(shape)


def _irregular(what: str) -> InvalidArgument:
    return InvalidArgument(
        f"{what} is no regular array: its lists differ in length, or are nested too deeply"
    )


def _columns_of_records(records: list[dict[str, Any]]) -> Columns:
    names = list(records[0])
    for at, record in enumerate(records):
        if set(record) != set(names):
            raise InvalidArgument(
                f"row {at} has the fields {', '.join(sorted(record))}: expected {', '.join(sorted(names))}"
            )
    return {name: to_array([record[name] for record in records], f"field '{name}'") for name in names}


def _read_text(text: str, spec: TensorSpec) -> NDArray[Any]:
    if spec.datatype is not DataType.BYTES:
        raise InvalidArgument(f"text/plain is one string, but input '{spec.name}' is {spec.datatype.value}")
    return np.array([text], object)


def _text(body: Buffer) -> str:
    try:
        return bytes(body).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidArgument("the body is not UTF-8") from None
