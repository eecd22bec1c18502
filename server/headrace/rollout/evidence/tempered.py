"""A comparison for events that come in bursts, where requests say less than as many independent ones."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.rollout.evidence.comparison import Comparison
from headrace.rollout.evidence.dispersion import Dispersion
from headrace.rollout.evidence.e_process import EProcess
from headrace.rollout.evidence.projection import Floats

# Nothing is concluded before the stable's bursts have been watched for so many blocks, 10 s at four a second,
# and so many of its requests.
WATCHED_BLOCKS = 40
WATCHED_REQUESTS = 200
# A burst that hits the canary alone may look like harm; alternatives farther above the stable than this would
# let its first few requests decide.
GREATEST_EFFECT = 0.2
# What is kept, from a block to the next, of the numbers that tell which share the canary gets.
KEPT = 0.95


class TemperedComparison:
    """As `Comparison`, of p_canary <= p_stable + margin, but requests count for less the more they burst.

    Of independent requests the likelihood ratio to the power 1/factor is still an e-value (Jensen's
    inequality, version by version): nothing but power is lost. Of correlated ones the factor, the stable's
    dispersion in earlier blocks, brings the chance of a false alarm near to the stated one. A canary that
    gets few of the requests gets fewer of a burst: what its factor has above 1 is multiplied by the square
    root of its requests over the stable's.
    """

    __slots__ = (
        "_blocks",
        "_canary_requests",
        "_comparison",
        "_dispersion",
        "_requests",
        "_stable_requests",
    )

    def __init__(
        self,
        margin: float,
        effects: Sequence[float],
        expected_rate: float,
        shape: tuple[int, ...] = (),
    ) -> None:
        gaps = [margin + effect for effect in effects if effect <= GREATEST_EFFECT]
        self._comparison = Comparison(margin, gaps, expected_rate, shape)
        self._dispersion = Dispersion(shape)
        # Of the stable: all that was seen. Of both: lately.
        self._blocks = 0
        self._requests: Floats = np.zeros(shape)
        self._stable_requests: Floats = np.zeros(shape)
        self._canary_requests: Floats = np.zeros(shape)

    @property
    def process(self) -> EProcess:
        return self._comparison.process

    @property
    def is_ready(self) -> bool:
        """Whether the stable was watched for long enough; for one pair."""
        return self._blocks >= WATCHED_BLOCKS and bool(self._requests >= WATCHED_REQUESTS)

    @property
    def factor(self) -> Floats:
        """How many of the stable's requests say as much as one independent request."""
        return self._dispersion.factor

    def add(
        self, stable_requests: Floats, stable_events: Floats, canary_requests: Floats, canary_events: Floats
    ) -> None:
        """Told of a block."""
        is_watched = (self._requests >= WATCHED_REQUESTS) & (self._blocks >= WATCHED_BLOCKS)
        self._see_share(stable_requests, canary_requests)
        of_stable, of_canary = 1 / self.factor, is_watched / self._canary_factor()
        rate = self._comparison.stable_rate
        self._comparison.add(
            stable_requests * of_stable,
            stable_events * of_stable,
            canary_requests * of_canary,
            canary_events * of_canary,
        )
        self._dispersion.add(stable_requests, stable_events, rate)
        self._blocks += 1
        self._requests = self._requests + stable_requests

    def to_document(self) -> dict[str, Any]:
        return {
            "comparison": self._comparison.to_document(),
            "dispersion": self._dispersion.to_document(),
            "blocks": self._blocks,
            "requests": float(self._requests),
            "lately": [float(self._stable_requests), float(self._canary_requests)],
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Goes on where `to_document` was called; ValueError where that was with other alternatives."""
        self._comparison.restore(document["comparison"])
        self._dispersion.restore(document["dispersion"])
        self._blocks = int(document["blocks"])
        self._requests = np.array(document["requests"], dtype=float)
        stable_requests, canary_requests = document["lately"]
        self._stable_requests = np.array(stable_requests, dtype=float)
        self._canary_requests = np.array(canary_requests, dtype=float)

    def _see_share(self, stable_requests: Floats, canary_requests: Floats) -> None:
        self._stable_requests = self._stable_requests * KEPT + stable_requests
        self._canary_requests = self._canary_requests * KEPT + canary_requests

    def _canary_factor(self) -> Floats:
        share = self._canary_requests / np.maximum(self._stable_requests, 1e-9)
        return 1 + (self.factor - 1) * np.sqrt(np.minimum(share, 1.0))
