"""How late the load generator itself was: what it adds to the latencies that it reports."""

from dataclasses import dataclass

LATE_S = 0.010
TOLERATED_SHARE = 0.01


@dataclass(slots=True)
class Lateness:
    """Counts requests by how long after their time they were sent."""

    sent_count: int = 0
    late_count: int = 0
    total_s: float = 0.0
    longest_s: float = 0.0

    def observe(self, late_s: float) -> None:
        self.sent_count += 1
        self.total_s += late_s
        self.late_count += late_s > LATE_S
        self.longest_s = max(self.longest_s, late_s)

    @property
    def is_tolerable(self) -> bool:
        return self.late_count <= TOLERATED_SHARE * self.sent_count

    def __str__(self) -> str:
        mean_s = self.total_s / max(1, self.sent_count)
        return (
            f"sent {self.sent_count} requests, {mean_s * 1e3:.1f} ms after their time on average and "
            f"{self.longest_s * 1e3:.0f} ms at most; {self.late_count} more than {LATE_S * 1e3:.0f} ms"
        )
