"""Arrays in numpy's own format (.npy), read without trusting what they say of themselves.

numpy's reader has Python parse the header, which is deep, slow and large as its writer likes; what the format
allows there (numpy.lib.format) is so little that a pattern says it.
"""

import re
from math import prod
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core.tensor import Buffer, Shape
from headrace.errors import InvalidArgument
from headrace.transport.inputs import MAX_RANK
from headrace.transport.limits import Limits, check_count

NPY_MAGIC = b"\x93NUMPY"
# How each version tells the length of its header, which follows.
_LENGTHS = {b"\x01\x00": Struct("<H"), b"\x02\x00": Struct("<I")}
_VERSION_END = len(NPY_MAGIC) + 2
MAX_HEADER_BYTES = 4096

# The three entries in any order; each value is taken as it is written.
_VALUE = r"""('[^']*+'|"[^"]*+"|True|False|\([^()]*+\))"""
_ENTRY = rf"""\s*+['"](descr|fortran_order|shape)['"]\s*+:\s*+{_VALUE}\s*+"""
_HEADER = re.compile(rf"\{{{_ENTRY},{_ENTRY},{_ENTRY},?+\s*+\}}\s*+")
# Booleans, integers, floats, and texts of a fixed width, in the byte order before them.
_TYPE = re.compile(r"['\"]([<>=|]?(?:\?|b1|[iuf]\d{1,2}|U\d{1,9}))['\"]")
_SIZES = re.compile(r"\(\s*+(?:\d{1,18}L?\s*+(?:,\s*+\d{1,18}L?\s*+)*+,?+\s*+)?+\)")
_SIZE = re.compile(r"\d+")


def read_npy(body: Buffer, limits: Limits) -> NDArray[Any]:
    """The array; its size is held against the body before anything is made of it."""
    header, at = _header(bytes(body[: _VERSION_END + 4 + MAX_HEADER_BYTES]))
    dtype, is_fortran, shape = _read_header(header)
    data = memoryview(body)[at:]
    count = prod(shape)
    if count * dtype.itemsize != len(data):
        raise InvalidArgument(
            f"the .npy file has {len(data)} bytes of data, but its shape {list(shape)} of {dtype} means "
            f"{count * dtype.itemsize}"
        )
    if dtype.kind == "U":
        check_count(count, limits.json_values, "texts")
    array: NDArray[Any] = np.frombuffer(data, dtype, count)
    try:
        return array.reshape(shape, order="F" if is_fortran else "C")
    except ValueError as error:  # sizes beside a 0 whose product is beyond 64 bits
        raise _invalid(f"its shape is {list(shape)}: {error}") from None


def _header(start: bytes) -> tuple[str, int]:
    """The header's text and where it ends, in a file that begins with `start`."""
    version = start[len(NPY_MAGIC) : _VERSION_END]
    length = _LENGTHS.get(version)
    if not start.startswith(NPY_MAGIC) or length is None:
        raise _invalid("it does not begin as one of version 1.0 or 2.0 does")
    at = _VERSION_END + length.size
    if len(start) < at:
        raise _invalid("it breaks off before its header")
    (header_bytes,) = length.unpack_from(start, _VERSION_END)
    if header_bytes > MAX_HEADER_BYTES:
        raise _invalid(f"its header has {header_bytes} bytes, more than {MAX_HEADER_BYTES}")
    if len(start) < at + header_bytes:
        raise _invalid("it breaks off within its header")
    return start[at : at + header_bytes].decode("latin-1"), at + header_bytes


def _read_header(header: str) -> tuple[np.dtype[Any], bool, Shape]:
    found = _HEADER.fullmatch(header)
    entries = dict(zip(found.groups()[::2], found.groups()[1::2], strict=True)) if found else {}
    if len(entries) != 3:
        raise _invalid("its header is no dictionary with a simple 'descr', 'fortran_order' and 'shape'")
    if entries["fortran_order"] not in ("True", "False"):
        raise _invalid("its 'fortran_order' is neither True nor False")
    return _dtype(entries["descr"]), entries["fortran_order"] == "True", _shape(entries["shape"])


def _dtype(descr: str) -> np.dtype[Any]:
    found = _TYPE.fullmatch(descr)
    try:
        dtype = np.dtype(found[1]) if found else None
    except (TypeError, ValueError):  # of a width that there is not
        dtype = None
    if dtype is None or not dtype.itemsize:
        raise InvalidArgument(
            f"the .npy file has elements of type {descr[1:-1][:32]}: expected numbers, booleans or texts"
        )
    return dtype


def _shape(text: str) -> Shape:
    shape = tuple(map(int, _SIZE.findall(text))) if _SIZES.fullmatch(text) else None
    if shape is None or len(shape) > MAX_RANK:
        raise _invalid(f"its shape is {text[:64]}: expected up to {MAX_RANK} sizes of 0 or more")
    return shape


def _invalid(why: str) -> InvalidArgument:
    return InvalidArgument(f"the body is no valid .npy file: {why}")
