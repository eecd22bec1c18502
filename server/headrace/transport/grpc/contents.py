"""Typed tensor contents to the raw bytes that everything behind the codec works on."""

from collections.abc import Sequence

import numpy as np

from headrace.core import strings
from headrace.core.tensor import DataType
from headrace.errors import InvalidArgument
from headrace.pb.inference.grpc_service_pb2 import InferTensorContents
from headrace.transport.inputs import check_text_elements
from headrace.transport.limits import Limits

# Which field carries which datatypes; its first is the one that Triton names when another was declared.
_FIELDS: dict[str, tuple[DataType, ...]] = {
    "bool_contents": (DataType.BOOL,),
    "int_contents": (DataType.INT32, DataType.INT8, DataType.INT16),
    "int64_contents": (DataType.INT64,),
    "uint_contents": (DataType.UINT32, DataType.UINT8, DataType.UINT16),
    "uint64_contents": (DataType.UINT64,),
    "fp32_contents": (DataType.FP32,),
    "fp64_contents": (DataType.FP64,),
    "bytes_contents": (DataType.BYTES,),
}

_NARROW = frozenset({DataType.INT8, DataType.INT16, DataType.UINT8, DataType.UINT16})


def to_bytes(
    contents: InferTensorContents, datatype: DataType, name: str, model_name: str, limits: Limits
) -> bytes:
    """The raw form of the typed `contents` of input `name`; empty where no element was sent."""
    filled = contents.ListFields()
    if not filled:
        return b""
    if len(filled) > 1:
        raise InvalidArgument(
            f"unexpected explicit tensor data for input tensor '{name}' for model '{model_name}', "
            "binary data was already supplied."
        )
    descriptor, values = filled[0]
    carried = _FIELDS[descriptor.name]
    if datatype not in carried:
        raise InvalidArgument(
            f"unexpected explicit tensor data for input tensor '{name}' for model '{model_name}' of type "
            f"'{carried[0].value}', expected datatype '{datatype.value}'"
        )
    if datatype is DataType.BYTES:
        check_text_elements(name, (len(values),), limits)
        return strings.pack(values)
    if datatype in _NARROW:
        return _narrowed(values, datatype, name)
    return np.array(values, datatype.numpy).tobytes()


def _narrowed(values: Sequence[int], datatype: DataType, name: str) -> bytes:
    """8- and 16-bit numbers travel as 32-bit ones, which may not fit."""
    wide = np.array(values, np.int64)
    narrow = wide.astype(datatype.numpy)
    if not np.array_equal(wide, narrow):
        value = wide[wide != narrow][0]
        raise InvalidArgument(
            f"value {value} of input '{name}' is out of range for its datatype {datatype.value}"
        )
    return narrow.tobytes()
