"""What became of one version's requests since the last look."""

from collections import Counter
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
        self._failures = self._squares = 0
        self._by_load: Counter[type[HeadraceError]] = Counter()

    def add(self, errors: Sequence[HeadraceError]) -> None:
        """Of requests that failed together."""
        # By identity, which says something only while all of them are there.
        sizes = Counter(id(error) for error in errors if not isinstance(error, LOAD_ERRORS))
        self._failures += sizes.total()
        self._squares += sum(size * size for size in sizes.values())
        self._by_load.update(type(error) for error in errors if isinstance(error, LOAD_ERRORS))

    def take(self) -> tuple[int, int]:
        """Failures since the last call, and the sum of the squares of the incidents' sizes."""
        failures = self._failures + self._by_load.total()
        squares = self._squares + sum(size * size for size in self._by_load.values())
        self._failures = self._squares = 0
        self._by_load.clear()
        return failures, squares


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

    def failed(self, errors: Sequence[HeadraceError]) -> None:
        self._incidents.add([error for error in errors if not isinstance(error, Cancelled)])

    def take(self) -> Block:
        """What came since the last call."""
        latencies_ns, self._latencies_ns = self._latencies_ns, []
        return Block(latencies_ns, *self._incidents.take())
