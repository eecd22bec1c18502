"""Control methods that ask who calls before they read a large message, and read none that is too large."""

from collections.abc import Awaitable
from dataclasses import replace

from headrace.errors import InvalidArgument
from headrace.security.control_guard import GuardedControl
from headrace.transport.grpc.calls import Call, ControlMethod
from headrace.transport.limits import MAX_CONTROL_BYTES, UNASKED_BYTES

# Files come with the order to load them.
_UNBOUNDED = "RepositoryModelLoad"


def asked_first(method: ControlMethod, control: GuardedControl) -> ControlMethod:
    """`method`, which to those who may do nothing at all says so before it reads a large message."""
    handle, name = method.handle, method.path.rpartition("/")[2]

    def handle_if_allowed(data: bytes, call: Call) -> bytes | Awaitable[bytes]:
        if len(data) > UNASKED_BYTES:
            control.of(call.caller).check_some(name)
            if len(data) > MAX_CONTROL_BYTES and name != _UNBOUNDED:
                raise InvalidArgument(
                    f"the request has {len(data)} bytes, but {name} takes at most {MAX_CONTROL_BYTES}"
                )
        return handle(data, call)

    return replace(method, handle=handle_if_allowed)
