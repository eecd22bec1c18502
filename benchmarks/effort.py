"""How long to measure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """`rounds` repetitions, each of `share` of its full size.

    Within a round everything that is compared is measured once, one after the other: what disturbs one
    disturbs its neighbours.
    """

    rounds: int
    share: float

    def count(self, full: int) -> int:
        return max(1, round(full * self.share))

    def seconds(self, full: float) -> float:
        return full * self.share


FULL = Effort(rounds=5, share=1.0)
QUICK = Effort(rounds=2, share=0.2)
