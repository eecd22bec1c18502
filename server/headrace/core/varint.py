"""Numbers as protobuf writes them, seven bits a byte, lowest first (its guide, "Base 128 Varints")."""

_ONE_BYTE = [bytes([value]) for value in range(0x80)]


def varint(value: int) -> bytes:
    """The base-128 form of `value`, which is 0 or more."""
    if value < 0x80:
        return _ONE_BYTE[value]
    groups = bytearray()
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    groups.append(value)
    return bytes(groups)
