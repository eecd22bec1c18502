"""When each of many simulated rollouts has raised an alarm, if ever."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.rollouts.traffic import LOOKS_A_SECOND, Floats

ALPHAS = (0.05, 0.01)


@dataclass(frozen=True, slots=True)
class Row:
    """What a test did in `runs` rollouts of a scenario.

    `share` of them raised an alarm, or had a proof; the numbers are of these: after how many requests of the
    canary and how many seconds half of them had, and nine of ten. `is_null` says that there was nothing to
    find, `breaks` that the scenario breaks what the test assumes.
    """

    group: str
    scenario: str
    test: str
    alpha: float
    runs: int
    is_null: bool
    share: float
    median_requests: float | None
    late_requests: float | None
    median_s: float | None
    late_s: float | None
    breaks: bool = False


class Alarms:
    """Fed with what was reached at each look; one alpha."""

    def __init__(self, runs: int) -> None:
        self._requests = np.full(runs, np.nan)
        self._looks = np.full(runs, np.nan)

    @property
    def has_all(self) -> bool:
        return not np.isnan(self._looks).any()

    def see(self, look: int, is_reached: npt.NDArray[np.bool_], canary_requests: Floats) -> None:
        is_new = is_reached & np.isnan(self._looks)
        self._looks[is_new] = look + 1
        self._requests[is_new] = canary_requests[is_new]

    def see_one(self, run: int, look: int, canary_requests: int) -> None:
        if np.isnan(self._looks[run]):
            self._looks[run] = look + 1
            self._requests[run] = canary_requests

    def row(
        self,
        group: str,
        scenario: str,
        test: str,
        alpha: float,
        *,
        is_null: bool,
        since_requests: float = 0.0,
        since_s: float = 0.0,
    ) -> Row:
        """`since_requests` and `since_s` are taken off: what there was to find began only then."""
        raised = ~np.isnan(self._looks)
        requests = self._requests[raised] - since_requests
        seconds = self._looks[raised] / LOOKS_A_SECOND - since_s
        return Row(
            group,
            scenario,
            test,
            alpha,
            len(raised),
            is_null,
            float(raised.mean()),
            _percentile(requests, 50),
            _percentile(requests, 90),
            _percentile(seconds, 50),
            _percentile(seconds, 90),
        )

    def share_by_second(self, seconds: int) -> list[float]:
        """The share of runs with an alarm after 1, 2, ... seconds."""
        ends = np.arange(1, seconds + 1) * LOOKS_A_SECOND
        return [float(np.mean(self._looks <= end)) for end in ends]


def _percentile(numbers: Floats, percent: float) -> float | None:
    return round(float(np.percentile(numbers, percent)), 2) if len(numbers) else None
