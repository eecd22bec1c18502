"""Values as people write them, made to fit an input: its datatype, its shape, its batch dimension."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core import strings
from headrace.core.tensor import DataType, Shape, Tensor, TensorSpec, element_count, matches, to_bf16
from headrace.errors import InvalidArgument

Values = NDArray[Any]


def fit(spec: TensorSpec, values: Values, batches: bool) -> Tensor:
    """`values` as the tensor that `spec` declares; InvalidArgument says what was expected.

    Where the model `batches`, a single row may come without its batch dimension, and a row without the
    dimensions within it: 64 numbers in a row for dims of 8 x 8.
    """
    shape = _shape(spec, values.shape, batches)
    if shape is None:
        expected = (-1, *spec.dims) if batches else spec.dims
        raise InvalidArgument(
            f"input '{spec.name}' has values of shape {list(values.shape)}: expected {list(expected)}"
        )
    return Tensor(spec.name, spec.datatype, shape, _bytes(spec, values))


def _shape(spec: TensorSpec, given: Shape, batches: bool) -> Shape | None:
    dims = spec.dims
    if not batches:
        return given if matches(given, dims) else _unflattened(spec, given)
    if given and matches(given[1:], dims):
        return given
    if matches(given, dims):
        return (1, *given)
    if not spec.is_fixed:
        return None
    row_size = element_count(dims)
    if row_size == 1 and len(given) <= 1:
        return (*(given or (1,)), *dims)
    if len(given) == 2 and given[1] == row_size:
        return (given[0], *dims)
    return (1, *dims) if given == (row_size,) else None


def _unflattened(spec: TensorSpec, given: Shape) -> Shape | None:
    is_flat = spec.is_fixed and element_count(given) == element_count(spec.dims) and len(given) == 1
    return spec.dims if is_flat else None


def _bytes(spec: TensorSpec, values: Values) -> bytes:
    datatype = spec.datatype
    if datatype is DataType.BYTES:
        return strings.from_array(_texts(spec, values))
    if datatype is DataType.BF16:
        return to_bf16(_numbers(spec, values, np.dtype(np.float32))).tobytes()
    return np.ascontiguousarray(_numbers(spec, values, datatype.numpy)).tobytes()


def _texts(spec: TensorSpec, values: Values) -> Values:
    if values.dtype.kind == "U" or all(isinstance(value, str) for value in values.ravel().tolist()):
        return values.astype(object)
    raise InvalidArgument(f"input '{spec.name}' is BYTES: expected strings")


def _numbers(spec: TensorSpec, values: Values, dtype: np.dtype[Any]) -> Values:
    """`values` as `dtype`, or InvalidArgument where one of them changes by more than its precision."""
    kind = "b" if dtype.kind == "b" else "fiu"
    if values.size and values.dtype.kind not in kind:
        raise InvalidArgument(f"input '{spec.name}' is {spec.datatype.value}: expected {_NOUNS[dtype.kind]}")
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = values.astype(dtype)
    is_float = dtype.kind == "f"
    fits = np.isfinite(numbers) | ~np.isfinite(values) if is_float else numbers == values
    if not np.all(fits):
        misfit = values[~fits].ravel()[0]
        raise InvalidArgument(
            f"input '{spec.name}' has the value {misfit}, which {spec.datatype.value} cannot hold"
        )
    return numbers


_NOUNS = {"f": "numbers", "i": "integers", "u": "integers", "b": "true or false"}
