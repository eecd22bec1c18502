"""Arrays to and from the V2 protocol's tensors.

A BYTES tensor is an object array of str or bytes, a BF16 tensor one of float32.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.core.strings import pack, unpack
from headrace.core.tensor import DATATYPES, DataType, from_bf16, to_bf16
from headrace.errors import HeadraceError
from headrace.pb.inference.grpc_service_pb2 import InferTensorContents, ModelInferResponse

Array: TypeAlias = NDArray[Any]


class BadAnswer(HeadraceError):
    """A server's answer contradicts itself or the protocol."""


def fit(values: object, datatype: DataType) -> Array:
    """`values` as an array of `datatype`; ValueError where that would change them."""
    if datatype is DataType.BYTES:
        texts = np.array(values, dtype=object)
        if not all(isinstance(element, str | bytes) for element in texts.flat):
            raise ValueError("it holds values that are no texts")
        return texts
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise ValueError("it holds values that are no numbers")
    if datatype is DataType.BF16:
        return array.astype(np.float32)
    with np.errstate(all="ignore"):
        fitted = array.astype(datatype.numpy)
    if datatype.numpy.kind != "f" and not np.array_equal(fitted, array):
        raise ValueError(f"it holds values that are no {datatype.value}")
    return fitted


def encode(array: Array, datatype: DataType) -> bytes:
    """The wire form of what `fit` gave."""
    if datatype is DataType.BYTES:
        return pack([text.encode() if isinstance(text, str) else text for text in array.ravel().tolist()])
    if datatype is DataType.BF16:
        return to_bf16(array).tobytes()
    return array.tobytes()


def decode(response: ModelInferResponse) -> dict[str, Array]:
    """The outputs by name, whether they came raw (Triton, headrace) or typed (other servers)."""
    raw = response.raw_output_contents
    if raw and len(raw) != len(response.outputs):
        raise BadAnswer(f"the answer has {len(response.outputs)} outputs, but {len(raw)} raw contents")
    outputs = {}
    for at, output in enumerate(response.outputs):
        datatype = DATATYPES.get(output.datatype)
        if datatype is None:
            raise BadAnswer(f"output {output.name!r} has the unknown datatype {output.datatype!r}")
        try:
            flat = _from_raw(raw[at], datatype) if raw else _from_contents(output.contents, datatype)
            outputs[output.name] = flat.reshape(tuple(output.shape))
        except ValueError as error:
            raise BadAnswer(f"output {output.name!r} does not have its shape's size: {error}") from error
    return outputs


def _from_raw(data: bytes, datatype: DataType) -> Array:
    if datatype is DataType.BYTES:
        return _texts(unpack(data))
    array = np.frombuffer(data, datatype.numpy)
    return from_bf16(array) if datatype is DataType.BF16 else array


def _from_contents(contents: InferTensorContents, datatype: DataType) -> Array:
    """The one list of `contents` that is not empty."""
    for _, values in contents.ListFields():
        return _texts(values) if datatype is DataType.BYTES else np.array(values, datatype.numpy)
    return np.empty(0, datatype.numpy)


def _texts(elements: Sequence[bytes]) -> Array:
    texts = np.empty(len(elements), object)
    texts[:] = [element.decode(errors="backslashreplace") for element in elements]
    return texts
