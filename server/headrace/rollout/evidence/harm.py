"""Whether a canary's requests fail more often than its stable's, or than a limit; evidence either way.

`HarmTest` and `LimitTest` raise an alarm, `HarmlessTest` and `WithinLimitTest` prove that there is no need
for one. Each may be asked after every block: where its null is true, the chance that it is ever refuted at
`alpha` is at most `alpha`. What an event is (a failure, a slow answer, another answer than the stable's) is
the caller's business. Formulae and simulations: docs/rollout-statistics.md.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headrace.rollout.evidence.comparison import Comparison
from headrace.rollout.evidence.difference import Difference
from headrace.rollout.evidence.e_process import EProcess
from headrace.rollout.evidence.projection import Floats

# By how much a canary may be worse than it is allowed to be; each is an alternative of its own.
EFFECTS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
# How much better than the margin allows a canary may be, in margins; and than a limit allows, in limits.
MARGINS_BETTER = (0.5, 1.0, 1.5)
LIMITS_BETTER = (0.25, 0.5, 0.75)
# What the stable's rate is taken for before anything is known, with the weight of a few requests.
EXPECTED_RATE = 0.02
# A limit of none at all is taken for this one, of which a single event is proof enough.
LEAST_LIMIT = 1e-6


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one version over a stretch of time: its requests, and those of them that are events."""

    requests: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.events <= self.requests:
            raise ValueError(f"{self.events} events of {self.requests} requests")

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.requests + other.requests, self.events + other.events)

    @property
    def rate(self) -> float:
        """0 where there are no requests."""
        return self.events / self.requests if self.requests else 0.0


class HarmTest:
    """Of the null p_canary <= p_stable + `margin`.

    Rates may change from block to block, for both versions alike. Events are independent given the rates;
    where they come together (a batch fails as a whole), `add` is told how many do.
    """

    __slots__ = ("_comparison", "_difference", "_margin", "canary", "stable")

    def __init__(self, margin: float = 0.0) -> None:
        self._margin = _checked_margin(margin, least=0.0)
        self._comparison = Comparison(margin, [margin + effect for effect in EFFECTS], EXPECTED_RATE)
        self._difference = Difference()
        self.stable = Counts()
        self.canary = Counts()

    @property
    def evidence(self) -> float:
        """The decimal logarithm of the e-value now: 0 says nothing, 2 is a hundred to one for harm."""
        return self._comparison.process.evidence

    @property
    def p_value(self) -> float:
        """The most evidence so far as a p-value that is valid at every look."""
        return self._comparison.process.p_value

    @property
    def difference(self) -> float:
        """An estimate of p_canary - p_stable."""
        return float(self._difference.estimate)

    def interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """For p_canary - p_stable, at all looks at once; asymptotic, and takes `burst` to be right."""
        least, greatest = self._difference.interval(confidence)
        return float(least), float(greatest)

    def is_harm(self, alpha: float) -> bool:
        """True for ever once the null was refuted at `alpha`."""
        return self._comparison.process.has_reached(alpha)

    def add(self, stable: Counts, canary: Counts, burst: float = 1.0) -> None:
        """Told of a block: the requests of both that ended since the last one; either may have none.

        `burst` is how many requests say as much as one independent one, 1 or more: the design effect of
        failures that come together (Kish, "Survey Sampling", 1965, §8.2). Where it is known before the block,
        the likelihood ratio to the power 1/burst is an e-value (Jensen's inequality). ValueError below 1.
        """
        numbers = _numbers(stable, canary, burst)
        self._comparison.add(*numbers)
        self._difference.add(*numbers)
        self.stable += stable
        self.canary += canary

    def to_document(self) -> dict[str, Any]:
        """All of the test in plain types, for `from_document`."""
        return {
            "margin": self._margin,
            "stable": _plain(self.stable),
            "canary": _plain(self.canary),
            "comparison": self._comparison.to_document(),
            "difference": self._difference.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "HarmTest":
        """Goes on exactly as the test would have; ValueError where the document is of another version."""
        test = cls(document["margin"])
        test._comparison.restore(document["comparison"])
        test._difference = Difference.from_document(document["difference"])
        test.stable, test.canary = Counts(*document["stable"]), Counts(*document["canary"])
        return test


class HarmlessTest:
    """Of the null p_canary >= p_stable + `margin`: proves a canary worse by less than the margin, if at all.

    It takes events for independent, and speaks of the whole time since it was made: a canary that is harmless
    again is proven so only when that outweighs its past.
    """

    __slots__ = ("_comparison", "_margin", "canary", "stable")

    def __init__(self, margin: float) -> None:
        self._margin = _checked_margin(margin, least=1e-6)
        gaps = [margin - better * margin for better in MARGINS_BETTER]
        self._comparison = Comparison(margin, gaps, EXPECTED_RATE)
        self.stable = Counts()
        self.canary = Counts()

    @property
    def evidence(self) -> float:
        """The decimal logarithm of the e-value now: 2 is a hundred to one that there is no harm."""
        return self._comparison.process.evidence

    @property
    def p_value(self) -> float:
        """The most evidence so far as a p-value that is valid at every look."""
        return self._comparison.process.p_value

    def is_proven(self, alpha: float) -> bool:
        """True for ever once the null was refuted at `alpha`."""
        return self._comparison.process.has_reached(alpha)

    def add(self, stable: Counts, canary: Counts, burst: float = 1.0) -> None:
        """Told of a block: the requests of both that ended since the last one; either may have none.

        `burst` as in `HarmTest.add`.
        """
        self._comparison.add(*_numbers(stable, canary, burst))
        self.stable += stable
        self.canary += canary

    def to_document(self) -> dict[str, Any]:
        """All of the test in plain types, for `from_document`."""
        return {
            "margin": self._margin,
            "stable": _plain(self.stable),
            "canary": _plain(self.canary),
            "comparison": self._comparison.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "HarmlessTest":
        """Goes on exactly as the test would have; ValueError where the document is of another version."""
        test = cls(document["margin"])
        test._comparison.restore(document["comparison"])
        test.stable, test.canary = Counts(*document["stable"]), Counts(*document["canary"])
        return test


class _AgainstLimit:
    """A bet on a canary that is judged by itself: on one of `rates`, which all lie on one side of the limit.

    Of these the limit itself is the null that is nearest. Requests are independent.
    """

    __slots__ = ("_if_event", "_if_none", "_process", "canary", "limit")

    def __init__(self, limit: float, null: float, rates: Sequence[float], *, is_restarted: bool) -> None:
        self.limit = limit
        self.canary = Counts()
        self._if_event: Floats = np.log(rates) - np.log(null)
        self._if_none: Floats = np.log1p(np.negative(rates)) - np.log1p(-null)
        self._process = EProcess(len(rates), is_restarted=is_restarted)

    @property
    def evidence(self) -> float:
        """The decimal logarithm of the e-value now: 2 is a hundred to one against the null."""
        return self._process.evidence

    @property
    def p_value(self) -> float:
        """The most evidence so far as a p-value that is valid at every look."""
        return self._process.p_value

    def add(self, canary: Counts) -> None:
        """Told of a block."""
        log_ratios = canary.events * self._if_event + (canary.requests - canary.events) * self._if_none
        self._process.multiply(log_ratios, np.asarray(canary.requests, dtype=float))
        self.canary += canary

    def to_document(self) -> dict[str, Any]:
        """All of the test in plain types, for `restore`."""
        return {
            "limit": self.limit,
            "canary": _plain(self.canary),
            "process": self._process.to_document(),
        }

    def restore(self, document: Mapping[str, Any]) -> None:
        """Goes on exactly as the test would have; ValueError where the document is of another version."""
        self._process.restore(document["process"])
        self.canary = Counts(*document["canary"])


class LimitTest(_AgainstLimit):
    """Of the null p_canary <= `limit`."""

    __slots__ = ()

    def __init__(self, limit: float) -> None:
        if not 0 <= limit < 1:
            raise ValueError(f"limit is {limit:g}, expected 0 or more and less than 1")
        null = max(limit, LEAST_LIMIT)
        rates = [null + effect for effect in EFFECTS if null + effect < 1] or [(null + 1) / 2]
        super().__init__(limit, null, rates, is_restarted=True)

    def is_harm(self, alpha: float) -> bool:
        """True for ever once the null was refuted at `alpha`."""
        return self._process.has_reached(alpha)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "LimitTest":
        """See `restore`."""
        test = cls(document["limit"])
        test.restore(document)
        return test


class WithinLimitTest(_AgainstLimit):
    """Of the null p_canary >= `limit`: proves that a canary keeps to it, over the time since it was made."""

    __slots__ = ()

    def __init__(self, limit: float) -> None:
        if not 0 < limit < 1:
            raise ValueError(f"limit is {limit:g}, expected more than 0 and less than 1")
        super().__init__(limit, limit, [limit * share for share in LIMITS_BETTER], is_restarted=False)

    def is_proven(self, alpha: float) -> bool:
        """True for ever once the null was refuted at `alpha`."""
        return self._process.has_reached(alpha)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "WithinLimitTest":
        """See `restore`."""
        test = cls(document["limit"])
        test.restore(document)
        return test


def _checked_margin(margin: float, *, least: float) -> float:
    if not least <= margin < 1:
        raise ValueError(f"margin is {margin:g}, expected {least:g} or more and less than 1")
    return margin


def _numbers(stable: Counts, canary: Counts, burst: float) -> tuple[Floats, Floats, Floats, Floats]:
    """The counts of a block, less where failures come together; ValueError where `burst` is below 1."""
    if not burst >= 1:
        raise ValueError(f"burst is {burst:g}, expected 1 or more")
    return (
        np.asarray(stable.requests / burst, dtype=float),
        np.asarray(stable.events / burst, dtype=float),
        np.asarray(canary.requests / burst, dtype=float),
        np.asarray(canary.events / burst, dtype=float),
    )


def _plain(counts: Counts) -> list[int]:
    return [counts.requests, counts.events]
