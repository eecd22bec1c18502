"""When is a batch due, and how large: pure decisions over what waits."""

from typing import NamedTuple

from headrace.repository.config import ModelConfig
from headrace.scheduler.history import ClosedBecause
from headrace.scheduler.queue import Line, RequestQueue


class Due(NamedTuple):
    """A batch to take now: from `line`, at most `row_limit` rows and `entry_limit` requests."""

    line: Line
    row_limit: int
    entry_limit: int
    because: ClosedBecause


class NotBefore(NamedTuple):
    """Nothing is due before the point `at_ns`, unless more requests come."""

    at_ns: int


class SingleBatcher:
    """For models whose requests are not joined: each request is a batch."""

    lingers = False

    def decide(self, queue: RequestQueue, now_ns: int) -> Due | NotBefore | None:
        line = queue.head()
        if line is None:
            return None
        return Due(line, line.entries[0].rows, 1, ClosedBecause.NOT_BATCHED)


class DynamicBatcher:
    """Closes a batch when it is large enough, has waited long enough, or need not wait.

    The sizes count rows. Where preferred sizes are given, a batch takes the largest one that the waiting rows
    reach; fewer rows than the smallest wait for the queue delay (Triton's rules for its dynamic batcher).
    """

    def __init__(
        self,
        max_rows: int,
        efficient_rows: int,
        preferred_rows: tuple[int, ...],
        delay_ns: int,
        entry_limit: int,
    ) -> None:
        self._max_rows = max_rows
        self._efficient_rows = efficient_rows
        self._preferred_rows = sorted(preferred_rows, reverse=True)
        self._delay_ns = delay_ns
        self._entry_limit = entry_limit
        self.lingers = efficient_rows > 1

    def decide(self, queue: RequestQueue, now_ns: int) -> Due | NotBefore | None:
        if not self._delay_ns:
            line = queue.head()
            return None if line is None else self._close(line, now_ns)
        return self._first_due(queue, now_ns)

    def _first_due(self, queue: RequestQueue, now_ns: int) -> Due | NotBefore | None:
        """The first line that is due, so that one that waits for its delay holds up no other."""
        soonest: NotBefore | None = None
        for line in queue.lines():
            decision = self._close(line, now_ns)
            if isinstance(decision, Due):
                return decision
            if soonest is None or decision.at_ns < soonest.at_ns:
                soonest = decision
        return soonest

    def _close(self, line: Line, now_ns: int) -> Due | NotBefore:
        if self._efficient_rows <= line.rows and self._efficient_rows < self._max_rows:
            rows = max(self._efficient_rows, line.entries[0].rows)
            return self._due(line, rows, ClosedBecause.EFFICIENT_SIZE)
        if line.rows >= self._max_rows or len(line.entries) >= self._entry_limit:
            return self._due(line, self._max_rows, ClosedBecause.FULL)
        for rows in self._preferred_rows:
            if line.rows >= rows:
                return self._due(line, max(rows, line.entries[0].rows), ClosedBecause.PREFERRED_SIZE)
        if not self._delay_ns:
            return self._due(line, self._max_rows, ClosedBecause.NO_MORE_WAITING)
        at_ns = line.entries[0].queued_ns + self._delay_ns
        if now_ns >= at_ns:
            return self._due(line, self._max_rows, ClosedBecause.DELAY)
        return NotBefore(at_ns)

    def _due(self, line: Line, row_limit: int, because: ClosedBecause) -> Due:
        return Due(line, row_limit, self._entry_limit, because)


Batcher = SingleBatcher | DynamicBatcher

MAX_REQUESTS_PER_BATCH = 4096


def batcher_for(config: ModelConfig, efficient_rows: int) -> Batcher:
    """The batcher that `config` asks for; `efficient_rows` is the size beyond which batches do not pay."""
    batching = config.dynamic_batching
    if batching is None or config.max_batch_size < 1:
        return SingleBatcher()
    return DynamicBatcher(
        config.max_batch_size,
        efficient_rows,
        batching.preferred_batch_sizes,
        batching.max_queue_delay_us * 1000,
        MAX_REQUESTS_PER_BATCH,
    )
