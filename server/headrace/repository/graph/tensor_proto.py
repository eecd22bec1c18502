"""What an ONNX TensorProto declares held against what it carries: its type, its size and its data."""

from collections.abc import Sequence
from math import prod

from onnx import TensorProto

from headrace.core.tensor import DataType

MAX_TENSOR_BYTES = 1 << 40
_MAX_RANK = 64

_SERVED: dict[int, DataType] = {
    TensorProto.BOOL: DataType.BOOL,
    TensorProto.UINT8: DataType.UINT8,
    TensorProto.UINT16: DataType.UINT16,
    TensorProto.UINT32: DataType.UINT32,
    TensorProto.UINT64: DataType.UINT64,
    TensorProto.INT8: DataType.INT8,
    TensorProto.INT16: DataType.INT16,
    TensorProto.INT32: DataType.INT32,
    TensorProto.INT64: DataType.INT64,
    TensorProto.FLOAT16: DataType.FP16,
    TensorProto.FLOAT: DataType.FP32,
    TensorProto.DOUBLE: DataType.FP64,
    TensorProto.STRING: DataType.BYTES,
    TensorProto.BFLOAT16: DataType.BF16,
}

# The bits of an element by the type's name, as releases of onnx differ in which types they know.
_BITS_BY_NAME = {
    **dict.fromkeys(("FLOAT", "INT32", "UINT32"), 32),
    **dict.fromkeys(("UINT8", "INT8", "BOOL"), 8),
    **dict.fromkeys(("FLOAT8E4M3FN", "FLOAT8E4M3FNUZ", "FLOAT8E5M2", "FLOAT8E5M2FNUZ", "FLOAT8E8M0"), 8),
    **dict.fromkeys(("UINT16", "INT16", "FLOAT16", "BFLOAT16"), 16),
    **dict.fromkeys(("INT64", "UINT64", "DOUBLE", "COMPLEX64"), 64),
    **dict.fromkeys(("UINT4", "INT4", "FLOAT4E2M1"), 4),
    **dict.fromkeys(("UINT2", "INT2"), 2),
    "COMPLEX128": 128,
}

# Where elements lie that are not in raw_data (onnx.proto, TensorProto), and how many bits one entry holds.
_TYPED_FIELDS = {
    "float_data": ("FLOAT", "COMPLEX64"),
    "double_data": ("DOUBLE", "COMPLEX128"),
    "int64_data": ("INT64",),
    "uint64_data": ("UINT32", "UINT64"),
}


def served_datatype(elem_type: int) -> DataType | None:
    """The protocol's datatype of an ONNX element type, or None where there is none (complex, FP8, INT4)."""
    return _SERVED.get(elem_type)


def type_name(elem_type: int) -> str:
    """The ONNX name of an element type."""
    names = {number: name for name, number in TensorProto.DataType.items()}
    return names.get(elem_type, f"type {elem_type}")


def byte_size(tensor: TensorProto) -> int | None:
    """How many bytes the declared elements take, None for strings; ValueError where that is absurd."""
    count = element_count(tensor.dims)
    if tensor.data_type == TensorProto.STRING:
        return None
    name = type_name(tensor.data_type)
    if name not in _BITS_BY_NAME:
        raise ValueError(f"has elements of {name}, which this server cannot measure")
    size = (count * _BITS_BY_NAME[name] + 7) // 8
    if size > MAX_TENSOR_BYTES:
        raise ValueError(f"declares {size} bytes; at most {MAX_TENSOR_BYTES} are accepted")
    return size


def element_count(dims: Sequence[int]) -> int:
    """How many elements `dims` make; ValueError where they are absurd."""
    if len(dims) > _MAX_RANK:
        raise ValueError(f"has {len(dims)} dims; at most {_MAX_RANK} are accepted")
    if any(size < 0 for size in dims):
        raise ValueError(f"has a negative size among its dims {list(dims)}")
    count = prod(dims)
    if count > MAX_TENSOR_BYTES:
        raise ValueError(f"declares {count} elements in dims {list(dims)}; at most {MAX_TENSOR_BYTES}")
    return count


def check_inline(tensor: TensorProto, raw_size: int) -> None:
    """ValueError where the data in `tensor` is not as long as its dims and type say.

    `raw_size` is the size of its `raw_data` in bytes, which need not be at hand itself.
    """
    size = byte_size(tensor)
    if tensor.HasField("segment"):
        raise ValueError("is a segment of a tensor, which is not supported")
    if size is None:
        _compare(len(tensor.string_data), element_count(tensor.dims), "strings")
    elif tensor.HasField("raw_data"):
        _compare(raw_size, size, "bytes")
    else:
        field, expected = _typed_field(tensor)
        _compare(len(getattr(tensor, field)), expected, f"values in {field}")


def _typed_field(tensor: TensorProto) -> tuple[str, int]:
    """The field that holds the elements, and how many entries it must have."""
    name, count = type_name(tensor.data_type), element_count(tensor.dims)
    for field, names in _TYPED_FIELDS.items():
        if name in names:
            return field, count * 2 if name.startswith("COMPLEX") else count
    # Elements of less than a byte are packed into bytes, one byte an entry.
    bits = _BITS_BY_NAME[name]
    return "int32_data", (count * bits + 7) // 8 if bits < 8 else count


def _compare(held: int, declared: int, unit: str) -> None:
    if held != declared:
        raise ValueError(f"declares {declared} {unit}, but holds {held}")
