"""The shared memory methods, which this server knows and does not do."""

from headrace.errors import Unimplemented
from headrace.transport.grpc.calls import Call, ControlMethod, Method
from headrace.transport.grpc.server_methods import SERVICE
from headrace.transport.parameters import SHARED_MEMORY_DISABLED

NAMES = tuple(
    f"{kind}SharedMemory{action}"
    for kind in ("System", "Cuda")
    for action in ("Status", "Register", "Unregister")
)


class SharedMemoryMethods:
    def methods(self) -> list[Method]:
        return [ControlMethod(SERVICE + name, self.refuse) for name in NAMES]

    def refuse(self, data: bytes, call: Call) -> bytes:
        raise Unimplemented(SHARED_MEMORY_DISABLED)
