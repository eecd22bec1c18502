"""Whether a peer keeps up: enough bytes move, on average, from when it began to be waited for."""

# Slower than this, on average, is too slow.
LEAST_BYTES_PER_S = 4096


class Progress:
    """Counts bytes against time; `patience_s` is allowed on top of what the bytes take at the least rate."""

    __slots__ = ("_began_bytes", "_began_s", "_patience_s")

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._began_s: float | None = None
        self._began_bytes = 0

    def begin(self, now_s: float, moved_bytes: int) -> None:
        """The peer is waited for from now on."""
        self._began_s, self._began_bytes = now_s, moved_bytes

    def end(self) -> None:
        """Nothing is waited for."""
        self._began_s = None

    def is_too_slow(self, now_s: float, moved_bytes: int) -> bool:
        """True where the peer is waited for since too long; `moved_bytes` is all that has moved ever."""
        if self._began_s is None:
            self.begin(now_s, moved_bytes)
            return False
        allowed_s = self._patience_s + (moved_bytes - self._began_bytes) / LEAST_BYTES_PER_S
        return now_s - self._began_s > allowed_s
