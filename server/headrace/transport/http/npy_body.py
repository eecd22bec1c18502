"""Arrays in numpy's own format (.npy), read without trusting what they say of themselves."""

import io
from math import prod
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from headrace.core.tensor import Buffer
from headrace.errors import InvalidArgument
from headrace.transport.limits import Limits, check_count

NPY_MAGIC = b"\x93NUMPY"
# Booleans, integers, floats, and texts of a fixed width.
_KINDS = "biufU"
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(body: Buffer, limits: Limits) -> NDArray[Any]:
    """The array; its size is held against the body before anything is made of it."""
    file = io.BytesIO(body)
    try:
        shape, is_fortran, dtype = _READERS[npy.read_magic(file)](file)
    except (ValueError, KeyError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise InvalidArgument(f"the body is no valid .npy file: {_words(error)}") from None
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise InvalidArgument(
            f"the .npy file has elements of type {dtype}: expected numbers, booleans or texts"
        )
    data = memoryview(body)[file.tell() :]
    count = prod(shape)
    if count < 0 or count * dtype.itemsize != len(data):
        raise InvalidArgument(
            f"the .npy file has {len(data)} bytes of data, but its shape {list(shape)} of {dtype} means "
            f"{count * dtype.itemsize}"
        )
    if dtype.kind == "U":
        check_count(count, limits.json_values, "texts")
    array: NDArray[Any] = np.frombuffer(data, dtype, count)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _words(error: Exception) -> str:
    return f"version {error} is not read here" if isinstance(error, KeyError) else str(error)
