"""The raw tensors of a large ModelInferRequest, taken from its bytes without parsing them."""

from headrace.core.tensor import Buffer, aligned

MAX_FIELDS = 1024

_RAW_INPUT_CONTENTS = 7 << 3 | 2
_WIRE_TYPE_AND_CONTINUATION = 0x87
_LENGTH_AND_BYTES = 2


def split(data: bytes) -> tuple[bytes, list[Buffer]] | None:
    """The message in `data` without its raw_input_contents, and these, as views of `data` where aligned.

    None where the message is not as clients write it: protobuf's own parser then says what it is. A message
    is no more than its fields one after the other, so without some of them it is still a message.
    """
    view, end = memoryview(data), len(data)
    rest: list[memoryview] = []
    raws: list[Buffer] = []
    rest_from = at = 0
    for _ in range(MAX_FIELDS):
        if at == end:
            rest.append(view[rest_from:])
            return b"".join(rest), raws
        tag_at, tag = at, data[at]
        if tag & _WIRE_TYPE_AND_CONTINUATION != _LENGTH_AND_BYTES:
            return None
        start, at = _field_at(data, at + 1)
        if at > end:
            return None
        if tag == _RAW_INPUT_CONTENTS:
            rest.append(view[rest_from:tag_at])
            raws.append(aligned(view[start:at], start))
            rest_from = at
    return None


def _field_at(data: bytes, at: int) -> tuple[int, int]:
    """Where the field whose length is at `at` starts and ends; past the end where the length breaks off."""
    length = shift = 0
    for byte in data[at : at + 5]:
        at += 1
        length |= (byte & 0x7F) << shift
        if byte < 0x80:
            return at, at + length
        shift += 7
    return at, len(data) + 1
