"""Messages from bytes, with the status that the gRPC specification gives to those that cannot be read."""

from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from headrace.errors import Internal

MessageT = TypeVar("MessageT", bound=Message)


def parse(message: type[MessageT], data: bytes) -> MessageT:
    """The message in `data`; Internal where it is none (statuscodes.md of the gRPC specification)."""
    try:
        return message.FromString(data)
    except DecodeError:
        raise Internal(f"the request is not a valid {message.DESCRIPTOR.full_name} message") from None
