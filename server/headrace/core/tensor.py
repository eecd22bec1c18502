"""Tensors as the wire has them: a name, a datatype, a shape and row-major little-endian bytes."""

from dataclasses import dataclass
from enum import Enum
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Buffer: TypeAlias = bytes | bytearray | memoryview
Shape: TypeAlias = tuple[int, ...]

# Of the largest element, in bytes. Backends compute on elements where they lie, and code compiled for aligned
# ones may crash on others.
ALIGNMENT = 8


class DataType(Enum):
    """The V2 protocol's datatypes; `item_bytes` is 0 for BYTES, whose elements carry their own length.

    `numpy` is the dtype in which a backend sees the elements: BF16, which numpy lacks, travels as uint16,
    and BYTES as an object array of str. `label` is the name on the wire; like the hash, the enumeration's
    own `value` costs more than all else that is done with a small tensor's datatype.
    """

    label: str
    item_bytes: int
    numpy: np.dtype[np.generic]

    def __new__(cls, name: str, item_bytes: int, numpy: str) -> "DataType":
        member = object.__new__(cls)
        member._value_ = name
        member.label = name
        member.item_bytes = item_bytes
        member.numpy = np.dtype(numpy)
        return member

    BOOL = ("BOOL", 1, "?")
    UINT8 = ("UINT8", 1, "u1")
    UINT16 = ("UINT16", 2, "<u2")
    UINT32 = ("UINT32", 4, "<u4")
    UINT64 = ("UINT64", 8, "<u8")
    INT8 = ("INT8", 1, "i1")
    INT16 = ("INT16", 2, "<i2")
    INT32 = ("INT32", 4, "<i4")
    INT64 = ("INT64", 8, "<i8")
    FP16 = ("FP16", 2, "<f2")
    FP32 = ("FP32", 4, "<f4")
    FP64 = ("FP64", 8, "<f8")
    BYTES = ("BYTES", 0, "O")
    BF16 = ("BF16", 2, "<u2")

    __hash__ = object.__hash__


DATATYPES: dict[str, DataType] = {datatype.value: datatype for datatype in DataType}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a model declares of one input or output.

    `dims` excludes the batch dimension where the model batches; -1 stands for any size. `model_dims` is the
    same in the graph's eyes, where the configuration reshapes (Triton's `reshape`); otherwise it is `dims`.
    """

    name: str
    datatype: DataType
    dims: Shape
    model_dims: Shape
    is_optional: bool = False
    labels: tuple[str, ...] = ()

    @property
    def is_fixed(self) -> bool:
        """True where every dimension has a size of its own."""
        return -1 not in self.dims

    def to_model(self, dims: Shape) -> Shape:
        """The graph's shape of a tensor whose declared part has the shape `dims`."""
        return dims if self.model_dims is self.dims else _reshape(dims, self.dims, self.model_dims)

    def from_model(self, model_dims: Shape) -> Shape:
        """The declared shape of a tensor that the graph gave in the shape `model_dims`."""
        if self.model_dims is self.dims:
            return model_dims
        return _reshape(model_dims, self.model_dims, self.dims)


@dataclass(slots=True)
class Tensor:
    """One tensor of a request or a response; `data` is row-major, little-endian.

    A BYTES element is a 4-byte little-endian length and then that many bytes (the protocol's binary form).
    """

    name: str
    datatype: DataType
    shape: Shape
    data: Buffer


def aligned(view: memoryview, at: int) -> Buffer:
    """The bytes of `view`, which starts at `at` of a bytes object; a copy where they lie badly for a backend.

    A bytes object is aligned itself.
    """
    return view if at % ALIGNMENT == 0 else bytes(view)


def from_bf16(bits: NDArray[np.generic]) -> NDArray[np.float32]:
    """The numbers whose BF16 `bits` are, of the same shape."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bf16(numbers: NDArray[np.generic]) -> NDArray[np.uint16]:
    """The BF16 bits nearest to `numbers`, of the same shape; ties to even, NaN stays NaN."""
    floats = numbers.astype("<f4")
    bits = floats.view("<u4")
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> 16) & np.uint32(1))) >> 16
    return np.where(np.isnan(floats), np.uint32(0x7FC0), rounded).astype("<u2")


def element_count(shape: Shape) -> int:
    """How many elements a tensor of `shape` has; exact at any size, as Python's integers do not overflow."""
    return prod(shape)


def matches(shape: Shape, dims: Shape) -> bool:
    """True where `shape` has the rank of `dims` and every size that `dims` fixes."""
    if shape == dims:
        return True
    return len(shape) == len(dims) and all(
        want in (-1, got) and got >= 0 for got, want in zip(shape, dims, strict=True)
    )


def _reshape(shape: Shape, source: Shape, target: Shape) -> Shape:
    """Maps `shape`, an instance of `source`, to `target`: variable sizes keep their order (Triton's rule)."""
    variable = iter([got for got, declared in zip(shape, source, strict=True) if declared == -1])
    return tuple(next(variable) if size == -1 else size for size in target)
