"""The few copies that are executed though nothing is to spare, so that a comparison never starves."""

# One copy for so many live requests, and at most this part of the time of one core; what is done around a
# copy is taken to cost OVERHEAD_NS.
LIVE_REQUESTS = 100
TIME_SHARE = 0.02
OVERHEAD_NS = 1_000_000


class Trickle:
    """Of all shadows together; one copy at a time."""

    def __init__(self) -> None:
        self._is_open = True
        self._next_ns = 0
        self._asked: dict[object, int] = {}

    def is_due(self, shadow: object, asked_count: int, now_ns: int) -> bool:
        """Whether `shadow`, which was asked `asked_count` times so far, may have one."""
        if not self._is_open or now_ns < self._next_ns:
            return False
        return asked_count - self._asked.get(shadow, 0) >= LIVE_REQUESTS

    def begin(self, shadow: object, asked_count: int) -> None:
        """Its copy is executed now."""
        self._is_open = False
        self._asked[shadow] = asked_count

    def end(self, took_ns: int, now_ns: int) -> None:
        """It was answered after `took_ns`."""
        self._is_open = True
        self._next_ns = now_ns + int((took_ns + OVERHEAD_NS) / TIME_SHARE)
