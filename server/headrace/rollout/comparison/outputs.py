"""How one output differs, over all pairs that have it, in constant memory."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from headrace.rollout.comparison.differences import Kind, OutputDifferences
from headrace.rollout.comparison.spread import DIFFERENCE, Spread


class OutputStatistics:
    """Counts pairs. The figures are over pairs that can be compared by numbers, unlike and textual ones count
    as 0: `mean_absolute` is the mean over pairs of each one's mean over elements, and so on.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.total_absolute = 0.0
        self.total_relative = 0.0
        self.max_absolute = 0.0
        self.max_relative = 0.0
        self.spread = Spread(DIFFERENCE)

    def add(self, differences: OutputDifferences) -> None:
        count = len(differences.places)
        self.kinds[differences.kind.value] += count
        self.counts["pairs"] += count
        self.counts["disagreeing"] += int(differences.disagrees.sum())
        self.counts["argmax_differs"] += int(differences.argmax_differs.sum())
        self.counts["label_differs"] += int(differences.label_differs.sum())
        self.counts["broken"] += int(differences.is_broken.sum())
        self.counts["unlike"] += count if differences.kind is Kind.UNLIKE else 0
        self.total_absolute += float(differences.mean_absolute.sum())
        self.total_relative += float(differences.mean_relative.sum())
        self.max_absolute = max(self.max_absolute, float(differences.max_absolute.max(initial=0.0)))
        self.max_relative = max(self.max_relative, float(differences.max_relative.max(initial=0.0)))
        self.spread.add(differences.max_absolute)

    def to_document(self) -> dict[str, Any]:
        pairs = max(1, self.counts["pairs"])
        return {
            "kinds": dict(self.kinds),
            "counts": dict(self.counts),
            "total_absolute": self.total_absolute,
            "total_relative": self.total_relative,
            "mean_absolute": self.total_absolute / pairs,
            "mean_relative": self.total_relative / pairs,
            "max_absolute": self.max_absolute,
            "max_relative": self.max_relative,
            "spread": self.spread.to_document(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> "OutputStatistics":
        statistics = cls()
        statistics.kinds.update(document["kinds"])
        statistics.counts.update(document["counts"])
        statistics.total_absolute = document["total_absolute"]
        statistics.total_relative = document["total_relative"]
        statistics.max_absolute = document["max_absolute"]
        statistics.max_relative = document["max_relative"]
        statistics.spread = Spread.from_document(document["spread"])
        return statistics
