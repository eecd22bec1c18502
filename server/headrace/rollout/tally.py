"""What became of one version's requests since the last look."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.errors import Cancelled, HeadraceError


@dataclass(frozen=True, slots=True)
class Block:
    """Requests between two looks: the time each good answer took, in nanoseconds, and how many failed."""

    latencies_ns: Sequence[int] = ()
    failures: int = 0

    @property
    def requests(self) -> int:
        return len(self.latencies_ns) + self.failures


class Tally:
    """Follows a version: told of every batch, asked at every look.

    Refusals of bad requests count as failures, too: a canary that refuses what the stable version takes is
    worse, and what both refuse counts alike. Callers who leave say nothing of the version.
    """

    def __init__(self) -> None:
        self._latencies_ns: list[int] = []
        self._failures = 0

    def answered(self, total_ns: Sequence[int]) -> None:
        self._latencies_ns += total_ns

    def failed(self, error: HeadraceError) -> None:
        if not isinstance(error, Cancelled):
            self._failures += 1

    def take(self) -> Block:
        """What came since the last call."""
        block = Block(self._latencies_ns, self._failures)
        self._latencies_ns, self._failures = [], 0
        return block
