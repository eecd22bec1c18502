"""Inference responses to the bytes of a ModelInferResponse, written by hand (its times: docs/transports.md).

The wire format is that of protobuf's encoding guide: a field is a tag, (number << 3) | wire type, and a
value; here nearly every field is of wire type 2, a length and that many bytes. The head of a response, all
that does not change from one answer of a model to the next, is kept.
"""

from struct import Struct
from typing import TypeAlias

from headrace.core.request import InferenceResponse, Parameter, Parameters
from headrace.core.tensor import Buffer, Shape, Tensor
from headrace.core.varint import varint

_HeadKey: TypeAlias = tuple[str, str, tuple[tuple[str, str, Shape], ...]]

MAX_HEADS = 1024
MAX_RAW_PREFIXES = 4096

# Fields of ModelInferResponse.
_MODEL_NAME, _MODEL_VERSION, _ID, _PARAMETERS, _OUTPUTS, _RAW = (
    b"\x0a",
    b"\x12",
    b"\x1a",
    b"\x22",
    b"\x2a",
    b"\x32",
)
# Fields of InferOutputTensor.
_NAME, _DATATYPE, _SHAPE = b"\x0a", b"\x12", b"\x1a"
# Fields of a map's entry, and of InferParameter.
_KEY, _VALUE = b"\x0a", b"\x12"
_BOOL, _INT64, _STRING, _DOUBLE, _UINT64 = b"\x08", b"\x10", b"\x1a", b"\x21", b"\x28"
# Fields of ModelStreamInferResponse.
_ERROR_MESSAGE, _INFER_RESPONSE = b"\x0a", b"\x12"

_TO_DOUBLE = Struct("<d").pack
_INT64_END = 1 << 63

_heads: dict[_HeadKey, bytes] = {}
_raw_prefixes: dict[int, bytes] = {}


def encode_response(response: InferenceResponse) -> bytes:
    """A ModelInferResponse."""
    return b"".join(_parts(response))


def encode_stream_response(response: InferenceResponse) -> bytes:
    """A ModelStreamInferResponse with `response`, the last one to its request."""
    parts = _parts(response)
    parts.append(_FINAL_RESPONSE)
    byte_size = sum([part.nbytes if type(part) is memoryview else len(part) for part in parts])
    return b"".join([_INFER_RESPONSE, varint(byte_size), *parts])


def encode_stream_error(request_id: str, message: str) -> bytes:
    """A ModelStreamInferResponse that tells of an error and of the request that met it."""
    response = _text(_ID, request_id) + _FINAL_RESPONSE
    return _text(_ERROR_MESSAGE, message) + _field(_INFER_RESPONSE, response)


def _parts(response: InferenceResponse) -> list[Buffer]:
    """What a ModelInferResponse is made of, in a valid order; tensors are not copied."""
    outputs = response.outputs
    key = (
        response.model_name,
        response.model_version,
        tuple([(output.name, output.datatype._value_, output.shape) for output in outputs]),
    )
    head = _heads.get(key)
    if head is None:
        head = _remember(key, outputs)
    parts: list[Buffer] = [head]
    if response.id:
        parts.append(_text(_ID, response.id))
    if response.parameters:
        parts.append(_parameters(response.parameters))
    if response.timings is not None:
        parts.append(_parameters(response.timings.to_parameters()))
    for output in outputs:
        data = output.data
        byte_size = data.nbytes if type(data) is memoryview else len(data)
        prefix = _raw_prefixes.get(byte_size)
        parts.append(_remember_raw_prefix(byte_size) if prefix is None else prefix)
        parts.append(data)
    return parts


def _remember(key: _HeadKey, outputs: list[Tensor]) -> bytes:
    if len(_heads) >= MAX_HEADS:
        _heads.clear()
    head = _heads[key] = _head(*key)
    return head


def _remember_raw_prefix(byte_size: int) -> bytes:
    if len(_raw_prefixes) >= MAX_RAW_PREFIXES:
        _raw_prefixes.clear()
    prefix = _raw_prefixes[byte_size] = _RAW + varint(byte_size)
    return prefix


def _head(model_name: str, model_version: str, outputs: tuple[tuple[str, str, Shape], ...]) -> bytes:
    tensors = [_field(_OUTPUTS, _tensor(*output)) for output in outputs]
    return b"".join([_text(_MODEL_NAME, model_name), _text(_MODEL_VERSION, model_version), *tensors])


def _tensor(name: str, datatype: str, shape: Shape) -> bytes:
    packed = b"".join([varint(size) for size in shape])
    return _text(_NAME, name) + _text(_DATATYPE, datatype) + (_field(_SHAPE, packed) if packed else b"")


def _parameters(parameters: Parameters) -> bytes:
    return b"".join([_parameter(name, value) for name, value in parameters.items()])


def _parameter(name: str, value: Parameter) -> bytes:
    return _field(_PARAMETERS, _field(_KEY, name.encode()) + _field(_VALUE, _choice(value)))


def _choice(value: Parameter) -> bytes:
    """The set member of an InferParameter; it is written even where it is 0 or empty, as a oneof's is."""
    if isinstance(value, bool):
        return _BOOL + varint(value)
    if isinstance(value, int):
        return _UINT64 + varint(value) if value >= _INT64_END else _INT64 + varint(value % (1 << 64))
    if isinstance(value, float):
        return _DOUBLE + _TO_DOUBLE(value)
    return _field(_STRING, value.encode())


def _text(tag: bytes, text: str) -> bytes:
    """A string field; proto3 leaves out an empty one."""
    return _field(tag, text.encode()) if text else b""


def _field(tag: bytes, data: bytes) -> bytes:
    return tag + varint(len(data)) + data


_FINAL_RESPONSE = _parameter("triton_final_response", True)
