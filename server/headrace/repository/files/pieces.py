"""Large files read and written in pieces.

Most kernels of servers interrupt no system call for another thread: one that copies tens of megabytes keeps
a core for many milliseconds, and what waits for that core waits as long (measured by benchmarks/reload).
"""

import os
from io import RawIOBase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PIECE_BYTES = 1 << 18


class InPieces(RawIOBase):
    """A raw file for io.BufferedReader that reads no more than a piece at a time; it owns `descriptor`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        return os.readv(self._descriptor, [memoryview(buffer)[:PIECE_BYTES]])

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def write(descriptor: int, data: bytes) -> None:
    """Writes all of `data` at the descriptor's position."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest[:PIECE_BYTES]) :]
