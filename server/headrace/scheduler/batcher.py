"""When is a batch due, and how large: pure decisions over what waits."""

from math import ceil
from typing import NamedTuple

from headrace.repository.config import ModelConfig
from headrace.scheduler.history import ClosedBecause
from headrace.scheduler.line import Line
from headrace.scheduler.queue import RequestQueue


class Due(NamedTuple):
    """A batch to take now: from `line`, at most `row_limit` rows and `entry_limit` requests."""

    line: Line
    row_limit: int
    entry_limit: int
    because: ClosedBecause


class NotBefore(NamedTuple):
    """Nothing is due before the point `at_ns`, unless more requests come."""

    at_ns: int


class CheapSizes(NamedTuple):
    """Sizes of batches, in rows: below `least` a row costs clearly more, beyond `most` hardly less."""

    least: int
    most: int


class SingleBatcher:
    """For models whose requests are not joined: each request is a batch.

    `linger_limit` tells up to how many rows a batch is worth keeping open.
    """

    linger_limit = 1

    def decide(self, queue: RequestQueue, executing_rows: int, now_ns: int) -> Due | NotBefore | None:
        line = queue.head()
        if line is None:
            return None
        return Due(line, line.first.rows, 1, ClosedBecause.NOT_BATCHED)


class DynamicBatcher:
    """Closes a batch when it is large enough, has waited long enough, or need not wait.

    The sizes count rows. Where preferred sizes are given, a batch takes the largest one that the waiting rows
    reach; fewer rows than the smallest wait for the queue delay (Triton's rules for its dynamic batcher).
    Within the `sizes` that are cheap, a batch takes no more than its share: `instances` that execute, and as
    much waiting for the first of them to finish, keep all of them busy.
    """

    def __init__(
        self,
        max_rows: int,
        sizes: CheapSizes,
        instances: int,
        preferred_rows: tuple[int, ...],
        delay_ns: int,
        entry_limit: int,
    ) -> None:
        self._max_rows = max_rows
        self._sizes = sizes
        self._shares = instances + 1
        self._preferred_rows = sorted(preferred_rows, reverse=True)
        self._delay_ns = delay_ns
        self._entry_limit = entry_limit
        self.linger_limit = sizes.least

    def decide(self, queue: RequestQueue, executing_rows: int, now_ns: int) -> Due | NotBefore | None:
        """What to do with the rows that wait, while `executing_rows` execute."""
        if not self._delay_ns:
            line = queue.head()
            return None if line is None else self._close(line, executing_rows, now_ns)
        return self._first_due(queue, executing_rows, now_ns)

    def _first_due(self, queue: RequestQueue, executing_rows: int, now_ns: int) -> Due | NotBefore | None:
        """The first line that is due, so that one that waits for its delay holds up no other."""
        soonest: NotBefore | None = None
        for line in queue.lines():
            decision = self._close(line, executing_rows, now_ns)
            if isinstance(decision, Due):
                return decision
            if soonest is None or decision.at_ns < soonest.at_ns:
                soonest = decision
        return soonest

    def _close(self, line: Line, executing_rows: int, now_ns: int) -> Due | NotBefore:
        efficient_rows = self._efficient_rows(line.rows + executing_rows)
        if line.rows >= efficient_rows and efficient_rows < self._max_rows:
            return self._due(line, max(efficient_rows, line.first.rows), ClosedBecause.EFFICIENT_SIZE)
        if line.rows >= self._max_rows or line.size >= self._entry_limit:
            return self._due(line, self._max_rows, ClosedBecause.FULL)
        for rows in self._preferred_rows:
            if line.rows >= rows:
                return self._due(line, max(rows, line.first.rows), ClosedBecause.PREFERRED_SIZE)
        if not self._delay_ns:
            return self._due(line, self._max_rows, ClosedBecause.NO_MORE_WAITING)
        at_ns = line.oldest_ns + self._delay_ns
        if now_ns >= at_ns:
            return self._due(line, self._max_rows, ClosedBecause.DELAY)
        return NotBefore(at_ns)

    def _efficient_rows(self, known_rows: int) -> int:
        share = ceil(known_rows / self._shares)
        return min(max(share, self._sizes.least), self._sizes.most)

    def _due(self, line: Line, row_limit: int, because: ClosedBecause) -> Due:
        return Due(line, row_limit, self._entry_limit, because)


Batcher = SingleBatcher | DynamicBatcher

MAX_REQUESTS_PER_BATCH = 4096


def batcher_for(config: ModelConfig, sizes: CheapSizes, instances: int) -> Batcher:
    """The batcher that `config` asks for; `instances` execute its batches, and `sizes` of them are cheap."""
    batching = config.dynamic_batching
    if batching is None or config.max_batch_size < 1:
        return SingleBatcher()
    return DynamicBatcher(
        config.max_batch_size,
        sizes,
        instances,
        batching.preferred_batch_sizes,
        batching.max_queue_delay_us * 1000,
        MAX_REQUESTS_PER_BATCH,
    )
