"""What is to be posted to a receiver, and where that is kept until it has arrived."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to one URL. Times are in seconds since 1970; it is not tried before `next_at_s`."""

    event_id: str
    kind: str
    url: str
    body: str
    created_at_s: float
    attempts: int
    next_at_s: float


class Outbox(Protocol):
    """Keeps deliveries over restarts; every method blocks, and one thread at a time calls."""

    def pending(self, url: str) -> Delivery | None:
        """The oldest that has not arrived at `url`, nor been given up."""

    def delivered(self, event_id: str, url: str, now_s: float) -> None:
        """It has arrived."""

    def failed(self, event_id: str, url: str, next_at_s: float, reason: str) -> None:
        """It has not, and is tried again at `next_at_s`."""

    def given_up(self, event_id: str, url: str, reason: str, now_s: float) -> None:
        """It has not, and is not tried again."""

    def keep_only(self, urls: Sequence[str], now_s: float) -> None:
        """Gives up what is for other URLs."""
