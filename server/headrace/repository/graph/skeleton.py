"""An ONNX file without its weights: the same message, with a short token in place of each long tensor.

Whoever checks a graph needs the weights' sizes only. Parsing holds the GIL, and with it every request, for
as long as copying the weights takes: some milliseconds for every ten megabytes.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import cast

from google.protobuf.descriptor import Descriptor
from onnx import ModelProto, TensorProto

from headrace.core.tensor import Buffer
from headrace.core.varint import varint

# Shorter files are parsed as they are, and shorter tensors stay where they are.
LONG_FILE_BYTES = 1 << 18
LONG_TENSOR_BYTES = 1 << 12
# Files of more fields, or that nest them deeper, are parsed as they are.
_MAX_FIELDS = 500_000
_MAX_DEPTH = 50

_NONCE_BYTES = 16
_SIZE_BYTES = 8

_MODEL = cast(Descriptor, ModelProto.DESCRIPTOR)

# Wire types, and the longest number (protobuf's documentation, "Message Structure").
_VARINT, _FIXED64, _LENGTH_DELIMITED, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A `model` with tokens for its long tensors; they cannot be forged, as `nonce` is new each time."""

    model: ModelProto
    nonce: bytes

    @classmethod
    def parse(cls, data: bytes) -> "Skeleton":
        """Parses an ONNX file; DecodeError where protobuf cannot."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return cls(ModelProto.FromString(_abridged(data, nonce)), nonce)

    def raw_size(self, tensor: TensorProto) -> int:
        """How many bytes the `raw_data` of a tensor of `model` has in the file."""
        held = tensor.raw_data
        return int.from_bytes(held[_NONCE_BYTES:]) if held.startswith(self.nonce) else len(held)


class _NotPlainError(Exception):
    """The bytes are not what a writer of ONNX files writes; what they mean is protobuf's to say."""


def _abridged(data: bytes, nonce: bytes) -> bytes:
    if len(data) < LONG_FILE_BYTES:
        return data
    try:
        return b"".join(_Abridger(data, nonce).message(0, len(data), _MODEL))
    except _NotPlainError:
        return data


class _Abridger:
    """Copies a message in pieces, each field as it is but for long tensors and what contains them."""

    def __init__(self, data: bytes, nonce: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self._nonce = nonce
        self._fields_left = _MAX_FIELDS

    def message(self, start: int, end: int, kind: Descriptor, depth: int = 0) -> list[Buffer]:
        if depth > _MAX_DEPTH:
            raise _NotPlainError
        raw_data, nested = _interesting(kind)
        pieces: list[Buffer] = []
        kept = start
        for number, length_at, content_at, past in self._long_fields(start, end):
            if number == raw_data:
                content: list[Buffer] = [self._nonce, (past - content_at).to_bytes(_SIZE_BYTES)]
            elif number in nested:
                content = self.message(content_at, past, nested[number], depth + 1)
            else:
                continue
            pieces += (self._view[kept:length_at], varint(sum(map(len, content))), *content)
            kept = past
        return [*pieces, self._view[kept:end]]

    def _long_fields(self, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """The long fields between `start` and `end`: number, where length and content begin, and the end."""
        position = start
        while position < end:
            self._fields_left -= 1
            if not self._fields_left:
                raise _NotPlainError
            tag, length_at = self._read_varint(position, end)
            wire_type = tag & 7
            if wire_type == _LENGTH_DELIMITED:
                length, content_at = self._read_varint(length_at, end)
                position = content_at + length
                if length >= LONG_TENSOR_BYTES and position <= end:
                    yield tag >> 3, length_at, content_at, position
            elif wire_type == _VARINT:
                _, position = self._read_varint(length_at, end)
            elif wire_type == _FIXED32:
                position = length_at + 4
            elif wire_type == _FIXED64:
                position = length_at + 8
            else:
                raise _NotPlainError
        if position != end:
            raise _NotPlainError

    def _read_varint(self, position: int, end: int) -> tuple[int, int]:
        """The number at `position`, and where it ends."""
        data = self._data
        value = shift = 0
        for at in range(position, min(position + _MAX_VARINT_BYTES, end)):
            byte = data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at + 1
            shift += 7
        raise _NotPlainError


@cache
def _interesting(kind: Descriptor) -> tuple[int | None, dict[int, Descriptor]]:
    """The number of the field that holds a tensor's bytes, and the fields that hold messages, by number."""
    raw_data = kind.fields_by_name["raw_data"].number if kind is TensorProto.DESCRIPTOR else None
    nested = {field.number: field.message_type for field in kind.fields if field.message_type is not None}
    return raw_data, nested
