"""The last batches that a model executed, for those who ask why a batch was what it was."""

from collections import deque
from enum import Enum
from typing import NamedTuple

KEPT_BATCHES = 256


class ClosedBecause(Enum):
    """Why a batch was closed when it was."""

    FULL = "full"
    EFFICIENT_SIZE = "efficient_size"
    PREFERRED_SIZE = "preferred_size"
    DELAY = "delay"
    NO_MORE_WAITING = "no_more_waiting"
    NOT_BATCHED = "not_batched"


class BatchRecord(NamedTuple):
    """One executed batch. Times in microseconds; `waited_us` is its oldest request's time in the queue."""

    model_version: str
    closed_at_ns: int
    requests: int
    rows: int
    padding_rows: int
    waited_us: int
    closed_because: ClosedBecause
    instance: str
    executed_us: int
    compute_input_us: int
    compute_infer_us: int
    compute_output_us: int
    error: str


class History:
    """A ring of the last batches."""

    def __init__(self, size: int = KEPT_BATCHES) -> None:
        self._records: deque[BatchRecord] = deque(maxlen=size)

    def add(self, record: BatchRecord) -> None:
        self._records.append(record)

    def last(self, limit: int = 0) -> list[BatchRecord]:
        """The last `limit` batches, or all that are kept where it is 0; newest last."""
        records = list(self._records)
        return records[-limit:] if limit else records
