"""What is seen at one look: both versions over the same stretch of time."""

from dataclasses import dataclass, field

from headrace.rollout.evidence.harm import Counts
from headrace.rollout.evidence.latency import LatencyWindow
from headrace.rollout.tally import Block

NOTHING = Block()
NONE = Counts()


@dataclass(frozen=True, slots=True)
class Both:
    """Requests of the two versions; the windows hold the latencies of the blocks."""

    stable: Block
    canary: Block
    stable_window: LatencyWindow
    canary_window: LatencyWindow

    @classmethod
    def of(cls, stable: Block = NOTHING, canary: Block = NOTHING) -> "Both":
        return cls(stable, canary, _window(stable), _window(canary))

    @property
    def stable_counts(self) -> Counts:
        """Requests, and those of them that failed."""
        return Counts(self.stable.requests, self.stable.failures)

    @property
    def failures(self) -> Counts:
        """Of both together: the squares of the incidents' sizes, and failures."""
        failures = self.stable.failures + self.canary.failures
        return Counts(max(failures, self.stable.squares + self.canary.squares), failures)

    @property
    def canary_counts(self) -> Counts:
        return Counts(self.canary.requests, self.canary.failures)


@dataclass(frozen=True, slots=True)
class Look:
    """`live` has the requests that callers wait for, `copied` those that both versions have executed, with
    the times of the executions alone; `pairs` counts compared answers, and those that differ.
    """

    live: Both
    copied: Both = field(default_factory=Both.of)
    pairs: Counts = NONE


def _window(block: Block) -> LatencyWindow:
    window = LatencyWindow()
    if block.latencies_ns:
        window.add(block.latencies_ns)
    return window
