"""BYTES tensors: elements with a 4-byte little-endian length before each, to and from Python lists."""

from collections.abc import Iterable, Sequence
from itertools import chain
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from headrace.core.tensor import Buffer, Shape, element_count

_LENGTH = Struct("<I")


def pack(elements: Sequence[bytes]) -> bytes:
    """The wire form of `elements`."""
    lengths = np.fromiter(map(len, elements), "<u4", len(elements)).tobytes()
    prefixes = [lengths[at : at + 4] for at in range(0, len(lengths), 4)]
    return b"".join(chain.from_iterable(zip(prefixes, elements, strict=True)))


def unpack(data: Buffer) -> list[bytes]:
    """The elements of the wire form `data`; ValueError says where it breaks off."""
    elements: list[bytes] = []
    read_length = _LENGTH.unpack_from
    view = bytes(data)
    at, end = 0, len(view)
    while at < end:
        if end - at < 4:
            raise ValueError(f"element {len(elements)} breaks off within its 4-byte length")
        start = at + 4
        at = start + read_length(view, at)[0]
        if at > end:
            raise ValueError(
                f"element {len(elements)} declares {at - start} bytes, but only {end - start} bytes follow"
            )
        elements.append(view[start:at])
    return elements


def texts(data: Buffer, shape: Shape) -> list[str]:
    """The elements of the wire form `data` as text; ValueError where they are not UTF-8 or not as many."""
    try:
        elements = [element.decode() for element in unpack(data)]
    except UnicodeDecodeError as error:
        raise ValueError(f"it has an element that is not UTF-8: {error.reason}") from None
    expected = element_count(shape)
    if len(elements) != expected:
        raise ValueError(f"it holds {len(elements)} elements, but shape {list(shape)} means {expected}")
    return elements


def from_array(array: NDArray[np.generic]) -> bytes:
    """The wire form of an object array of str (or bytes), row-major."""
    return pack(_encoded(array.ravel().tolist()))


def _encoded(elements: Iterable[str | bytes]) -> list[bytes]:
    return [element.encode() if isinstance(element, str) else element for element in elements]
