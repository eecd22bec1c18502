"""What a shadow's version has under way, and what a copy costs it."""

from headrace.router.shadow.mirror import Mirror

# Copies that one shadow has taken on and not answered.
MAX_IN_FLIGHT = 16
# The weight of the newest copy in the moving average of what one costs.
AVERAGE_WEIGHT = 0.2


class ShadowLoad:
    """Of the shadow whose copies `mirror` holds; `cost_s` is not known before one was answered."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.in_flight = 0
        self.cost_s: float | None = None

    def has_place(self, max_queue_size: int) -> bool:
        """Whether one more may be submitted; until it is known what one costs, one at a time."""
        if self.cost_s is None:
            return not self.in_flight
        return self.in_flight < min(MAX_IN_FLIGHT, max(1, max_queue_size // 2))

    def note_cost(self, cost_s: float) -> None:
        """A copy has cost so many seconds of execution."""
        before = self.cost_s
        self.cost_s = cost_s if before is None else before + (cost_s - before) * AVERAGE_WEIGHT
