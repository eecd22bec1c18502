"""A tensor's numbers and strings as JSON has them, to and from the bytes that everything behind works on."""

import struct
from functools import lru_cache
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core import strings
from headrace.core.tensor import Buffer, DataType, Shape, Tensor, element_count
from headrace.errors import Internal, InvalidArgument

# What `struct` calls the datatypes. It takes numbers of the right kind and size only, and says what it wants.
_CODES = {
    DataType.UINT8: "B",
    DataType.UINT16: "H",
    DataType.UINT32: "I",
    DataType.UINT64: "Q",
    DataType.INT8: "b",
    DataType.INT16: "h",
    DataType.INT32: "i",
    DataType.INT64: "q",
    DataType.FP32: "f",
    DataType.FP64: "d",
}
WITHOUT_JSON = frozenset({DataType.FP16, DataType.BF16})


def from_json(data: object, datatype: DataType, shape: Shape, name: str) -> bytes:
    """The bytes of input `name` whose JSON is `data`, nested or flat; InvalidArgument says what is wrong."""
    if datatype in WITHOUT_JSON:
        raise _without_json(datatype)
    items, kinds = _flattened(data, name)
    expected = element_count(shape)
    if len(items) != expected:
        raise InvalidArgument(
            f"unable to parse 'data' of input '{name}': it has {len(items)} elements, but shape "
            f"{list(shape)} means {expected}"
        )
    code = _CODES.get(datatype)
    if code is None:
        return _texts(items, kinds, name) if datatype is DataType.BYTES else _booleans(items, kinds, name)
    if bool in kinds:
        raise InvalidArgument(
            f"unable to parse 'data' of input '{name}' as {datatype.value}: true and false are no numbers"
        )
    try:
        return _packer(code, expected).pack(*items)
    except (struct.error, OverflowError) as error:
        raise InvalidArgument(
            f"unable to parse 'data' of input '{name}' as {datatype.value}: {error}"
        ) from None


def to_json(tensor: Tensor) -> NDArray[np.generic] | list[str]:
    """The elements of `tensor`, flat and row-major, as orjson writes them: NaN and infinities as null."""
    if tensor.datatype in WITHOUT_JSON:
        raise _without_json(tensor.datatype)
    if tensor.datatype is DataType.BYTES:
        return _to_texts(tensor.data, tensor.name)
    return np.frombuffer(tensor.data, tensor.datatype.numpy)


def _flattened(data: object, name: str) -> tuple[list[Any], set[type]]:
    """The elements, row-major, and their types; a value alone is a tensor of one element."""
    items: list[Any] = data if isinstance(data, list) else [data]
    kinds = set(map(type, items))
    while list in kinds:
        if len(kinds) > 1:
            raise InvalidArgument(f"unable to parse 'data' of input '{name}': lists and values are mixed")
        items = list(chain.from_iterable(items))
        kinds = set(map(type, items))
    return items, kinds


def _texts(items: list[Any], kinds: set[type], name: str) -> bytes:
    if not kinds <= {str}:
        raise InvalidArgument(f"unable to parse 'data' of input '{name}' as BYTES: expected strings")
    return strings.pack([item.encode() for item in items])


def _booleans(items: list[Any], kinds: set[type], name: str) -> bytes:
    if not kinds <= {bool}:
        raise InvalidArgument(f"unable to parse 'data' of input '{name}' as BOOL: expected true or false")
    return bytes(items)


def _to_texts(data: Buffer, name: str) -> list[str]:
    try:
        return [element.decode() for element in strings.unpack(data)]
    except UnicodeDecodeError:
        raise Internal(
            f"output '{name}' has an element that is not UTF-8: ask for it as binary data"
        ) from None


@lru_cache(maxsize=256)
def _packer(code: str, count: int) -> struct.Struct:
    return struct.Struct(f"<{count}{code}")


def _without_json(datatype: DataType) -> InvalidArgument:
    return InvalidArgument(
        f"sending {datatype.value} data via JSON is not supported. Please use the binary data format"
    )
