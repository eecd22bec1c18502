"""The JSON of an inference request: what it says of its inputs and outputs, and the values it may hold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import orjson

from headrace.core.request import NO_PARAMETERS, Parameters, RequestedOutput
from headrace.core.tensor import DATATYPES, Buffer, DataType, Shape
from headrace.errors import InvalidArgument
from headrace.transport.inputs import check_shape, check_text_elements
from headrace.transport.limits import Limits, check_count, check_text
from headrace.transport.parameters import (
    BINARY_OUTPUT,
    CLASSIFICATION,
    KNOWN_TYPES,
    check_class_count,
    refuse_shared_memory,
    split_parameters,
)

BINARY_DATA_SIZE = "binary_data_size"
BINARY_DATA = "binary_data"

_Json: TypeAlias = Mapping[str, Any]

_INT64_END = 1 << 63
# What `check_values` passes over: of all bytes those that no value comes with.
_NO_MARKS = bytes(sorted(set(range(256)) - set(b",:[{")))
_NOUNS: Mapping[type, str] = {bool: "a boolean", int: "an integer", str: "a string"}


@dataclass(slots=True)
class OutputForm:
    """In which form each output is to be sent: as its own request says, or as the whole request says."""

    is_binary: bool = False
    by_name: Mapping[str, bool] = field(default_factory=dict)

    def is_binary_for(self, name: str) -> bool:
        return self.by_name.get(name, self.is_binary)


ALL_JSON = OutputForm()
ALL_BINARY = OutputForm(is_binary=True)


@dataclass(slots=True)
class InputText:
    """What the JSON says of one input: either its values, or how many bytes behind the JSON are its own."""

    name: str
    datatype: DataType
    shape: Shape
    values: object = None
    binary_bytes: int | None = None


@dataclass(slots=True)
class InferDocument:
    """What the JSON says of one request; several requests may share it, and nobody changes it."""

    id: str
    inputs: Sequence[InputText]
    outputs: list[RequestedOutput]
    form: OutputForm
    parameters: Parameters
    wants_timings: bool


def read_document(data: Buffer, limits: Limits) -> InferDocument:
    """What the JSON in `data` says; InvalidArgument names what is wrong with it."""
    document = parse_object(data, limits)
    given, wanted = document.get("parameters"), document.get("outputs")
    parameters, wants_timings, is_binary = (
        _read_parameters(given, limits) if given is not None else (NO_PARAMETERS, False, False)
    )
    form = ALL_BINARY if is_binary else ALL_JSON
    outputs, form = _read_outputs(wanted, is_binary, limits) if wanted is not None else ([], form)
    inputs = _read_inputs(document.get("inputs"), limits)
    request_id = _read_id(document.get("id"), limits)
    return InferDocument(request_id, inputs, outputs, form, parameters, wants_timings)


def parse_object(data: Buffer, limits: Limits) -> _Json:
    """The JSON object in `data`; InvalidArgument where it is none, or has too many values."""
    document = parse_json(data, limits)
    if type(document) is not dict:
        raise InvalidArgument("failed to parse the request JSON buffer: expected an object")
    return document


def parse_json(data: Buffer, limits: Limits) -> object:
    """The JSON in `data`; InvalidArgument where it is none, or has too many values."""
    check_values(data, limits)
    try:
        document: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument(f"failed to parse the request JSON buffer: {error}") from None
    return document


def check_values(data: Buffer, limits: Limits) -> None:
    """InvalidArgument where the JSON in `data` has too many values, which is told before any is made.

    Each begins a list or an object, or stands behind a comma or a colon, or in the place of the first of a
    list. Marks within texts are taken for values, too.
    """
    if len(data) <= limits.json_values:
        return
    count = len(bytes(data).translate(None, _NO_MARKS))
    if count > limits.json_values:
        raise InvalidArgument(
            f"the request's JSON has some {count} values, but at most {limits.json_values} are allowed "
            "(limits.max_json_values): send large tensors as binary data"
        )


def _read_inputs(inputs: object, limits: Limits) -> list[InputText]:
    if type(inputs) is not list:
        raise InvalidArgument("Unable to parse 'inputs': expected a list of objects")
    check_count(len(inputs), limits.inputs, "inputs")
    return [_read_input(item, limits) for item in inputs]


def _read_input(item: object, limits: Limits) -> InputText:
    if type(item) is not dict:
        raise InvalidArgument("Unable to parse 'inputs': expected a list of objects")
    name = item.get("name")
    if type(name) is not str:
        raise InvalidArgument("Unable to parse 'name' of an input: expected a string")
    check_text(name, limits, "an input's name")
    datatype = _read_datatype(name, item.get("datatype"))
    shape = _read_shape(name, item.get("shape"))
    if datatype is DataType.BYTES:
        check_text_elements(name, shape, limits)
    parameters = item.get("parameters")
    byte_size = _read_binary_size(name, parameters, limits) if parameters is not None else None
    if byte_size is None and "data" not in item:
        raise InvalidArgument(
            f"unable to find data for input '{name}': expected 'data', or a binary_data_size in its "
            "'parameters'"
        )
    if byte_size is not None and "data" in item:
        raise InvalidArgument(f"input '{name}' has both 'data' and a binary_data_size")
    return InputText(name, datatype, shape, item.get("data"), byte_size)


def _read_datatype(name: str, value: object) -> DataType:
    datatype = DATATYPES.get(value) if type(value) is str else None
    if datatype is None:
        raise InvalidArgument(
            f"input '{name}' has the unknown datatype '{value}': expected one of {', '.join(DATATYPES)}"
        )
    return datatype


def _read_shape(name: str, sizes: object) -> Shape:
    if not isinstance(sizes, list) or (sizes and set(map(type, sizes)) != {int}):
        raise InvalidArgument(f"Unable to parse 'shape' of input '{name}': expected a list of integers")
    shape = tuple(sizes)
    check_shape(name, shape)
    return shape


def _read_binary_size(name: str, parameters: object, limits: Limits) -> int | None:
    """How many bytes behind the JSON are the input's; None where its data is in the JSON."""
    values = _object(parameters, f"'parameters' of input '{name}'", limits)
    refuse_shared_memory(values)
    size = values.get(BINARY_DATA_SIZE)
    if size is None:
        return None
    if type(size) is not int or size < 0:
        raise InvalidArgument(
            f"Unable to parse '{BINARY_DATA_SIZE}' of input '{name}': expected an integer of 0 or more"
        )
    return size


def _read_parameters(parameters: object, limits: Limits) -> tuple[Parameters, bool, bool]:
    """The parameters for the model, whether timings are wanted, and whether outputs are to be binary."""
    values = _object(parameters, "'parameters'", limits)
    for name, value in values.items():
        _check_type(name, value)
    to_model, wants_timings = split_parameters(values.items(), limits)
    return to_model, wants_timings, values.get(BINARY_OUTPUT) is True


def _check_type(name: str, value: object) -> None:
    """Booleans are integers to Python, but not here."""
    kind = type(value)
    if kind not in (bool, int, float, str):
        raise InvalidArgument(f"parameter '{name}' is no string, number or boolean")
    expected = KNOWN_TYPES.get(name)
    if expected is not None and kind not in expected:
        nouns = " or ".join(_NOUNS[each] for each in expected)
        raise InvalidArgument(f"invalid value type for '{name}' parameter, expected {nouns}.")
    if kind is int and not -_INT64_END <= cast(int, value) < 2 * _INT64_END:
        raise InvalidArgument(f"parameter '{name}' is beyond 64 bits")


def _read_outputs(
    wanted: object, is_binary: bool, limits: Limits
) -> tuple[list[RequestedOutput], OutputForm]:
    """Each name once: an output asked for again is the same output, with what was said last."""
    if not isinstance(wanted, list):
        raise InvalidArgument("Unable to parse 'outputs': expected a list of objects")
    check_count(len(wanted), limits.outputs, "outputs")
    outputs: dict[str, RequestedOutput] = {}
    by_name: dict[str, bool] = {}
    for item in wanted:
        name = item.get("name") if type(item) is dict else None
        if type(name) is not str:
            raise InvalidArgument("Unable to parse 'outputs': expected objects with a 'name'")
        check_text(name, limits, "an output's name")
        given = item.get("parameters")
        values = {} if given is None else _object(given, f"'parameters' of output '{name}'", limits)
        refuse_shared_memory(values)
        outputs[name] = RequestedOutput(name, _read_class_count(values))
        binary = values.get(BINARY_DATA, is_binary)
        if type(binary) is not bool:
            raise InvalidArgument(f"Unable to parse '{BINARY_DATA}' of output '{name}': expected a boolean")
        by_name[name] = binary
    return list(outputs.values()), OutputForm(is_binary, by_name)


def _read_class_count(parameters: _Json) -> int:
    class_count = parameters.get(CLASSIFICATION)
    if class_count is None:
        return 0
    if type(class_count) is not int:
        raise InvalidArgument("invalid value type for 'classification' parameter, expected an integer")
    return check_class_count(class_count)


def _object(value: object, what: str, limits: Limits) -> _Json:
    if type(value) is not dict:
        raise InvalidArgument(f"Unable to parse {what}: expected an object")
    check_count(len(value), limits.parameters, f"entries of {what}")
    return value


def _read_id(value: object, limits: Limits) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidArgument("Unable to parse 'id': expected a string")
    check_text(value, limits, "the request's id")
    return value
