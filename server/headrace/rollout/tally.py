"""What became of one version's requests since the last look."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import Cancelled, DeadlineExceeded, HeadraceError, QueueFull, QueueTimeout

# What many requests meet together because of the load.
LOAD_ERRORS = (QueueFull, QueueTimeout, DeadlineExceeded)


@dataclass(frozen=True, slots=True)
class Block:
    """Requests between two looks: the time each good answer took, in nanoseconds, and how many failed.

    `squares` is the sum, over incidents, of the square of how many requests each failed: equal to `failures`
    where each failed by itself.
    """

    latencies_ns: Sequence[int] = ()
    failures: int = 0
    squares: int = 0

    @property
    def requests(self) -> int:
        return len(self.latencies_ns) + self.failures


class Incidents:
    """Counts failures by what has caused them.

    A batch that fails as a whole gives all its requests the same error, and is one incident. So is a queue
    that is full, or too slow, for as long as nobody looks.
    """

    def __init__(self) -> None:
        self._sizes: dict[object, int] = {}

    def add(self, error: HeadraceError) -> None:
        # By identity: an error kept would keep its traceback, and with it requests and tensors.
        cause: object = type(error) if isinstance(error, LOAD_ERRORS) else id(error)
        self._sizes[cause] = self._sizes.get(cause, 0) + 1

    def take(self) -> tuple[int, int]:
        """Failures since the last call, and the sum of the squares of the incidents' sizes."""
        sizes = self._sizes.values()
        counted = sum(sizes), sum(size * size for size in sizes)
        self._sizes = {}
        return counted


class Tally:
    """Follows a version: told of every batch, asked at every look.

    Refusals of bad requests count as failures, too: a canary that refuses what the stable version takes is
    worse, and what both refuse counts alike. Callers who leave say nothing of the version.
    """

    # Who names a version in requests must not decide what becomes of it.
    only_shared = True

    def __init__(self) -> None:
        self._latencies_ns: list[int] = []
        self._incidents = Incidents()

    def answered(self, total_ns: Sequence[int]) -> None:
        self._latencies_ns += total_ns

    def failed(self, error: HeadraceError) -> None:
        if not isinstance(error, Cancelled):
            self._incidents.add(error)

    def take(self) -> Block:
        """What came since the last call."""
        latencies_ns, self._latencies_ns = self._latencies_ns, []
        return Block(latencies_ns, *self._incidents.take())
