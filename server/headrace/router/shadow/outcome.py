"""What can become of a request that a shadow was to get a copy of."""

from enum import StrEnum


class Outcome(StrEnum):
    """Each sampled request that the live version took on ends in one of these; the values label a metric."""

    # The shadow answered, failed or refused, and the pair went to whoever compares.
    PAIRED = "paired"
    # There was no capacity to spare, and enough copies waited already.
    BUSY = "dropped_busy"
    # Newer copies needed the place.
    FULL = "dropped_full"
    # It had waited for too long.
    LATE = "dropped_late"
    # The shadow's version was not ready.
    NOT_READY = "dropped_not_ready"
    # The live version was never asked: its caller had left, its time was over, its queue gave it up.
    NOT_ANSWERED = "live_not_answered"
    # The shadow's own version, or another model that stood in, gave the live answer.
    NOT_COMPARABLE = "live_not_comparable"
