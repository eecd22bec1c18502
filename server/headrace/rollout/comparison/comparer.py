"""Takes pairs from the event loop, and compares them in a thread of its own."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

from headrace.rollout.comparison.comparison import Comparison
from headrace.rollout.comparison.differences import DEFAULT_TOLERANCE, Differences, compare
from headrace.router.shadow.pair import Pair

logger = logging.getLogger(__name__)

MAX_PAIRS = 1024
MAX_BYTES = 64 * 1024 * 1024
MAX_COMPARISONS = 64

# How long the first pair waits for others to be compared with, and how many are compared at once.
COLLECT_S = 0.5
BATCH_PAIRS = 128

# A model, its live version and its shadow.
Key: TypeAlias = tuple[str, int, int]

# Told of a key, how many pairs were compared, and how many of them disagree.
Compared: TypeAlias = Callable[[str, int, int, int, int], None]


def nobody(model: str, live: int, shadow: int, pairs: int, disagreeing: int) -> None:
    """Stands for whoever is told where nobody is."""


def never(model: str) -> bool:
    """Where nobody's payloads may be kept."""
    return False


class Comparer:
    """Implements the mirrors' `Sink`. Everything but the arithmetic happens on the event loop.

    Pairs above `max_pairs` or `max_bytes` that wait are dropped and counted; the comparison that has got
    nothing for the longest time is forgotten where there are too many. `keeps_inputs` says by a model's name
    whether the worst examples may have inputs; `compared` is called after each batch.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        compared: Compared = nobody,
        *,
        tolerance: float = DEFAULT_TOLERANCE,
        keeps_inputs: Callable[[str], bool] = never,
        max_pairs: int = MAX_PAIRS,
        max_bytes: int = MAX_BYTES,
        collect_s: float = COLLECT_S,
    ) -> None:
        self.dropped_count = 0
        self.failed_count = 0
        self._loop = loop
        self._compared = compared
        self._tolerance = tolerance
        self._keeps_inputs = keeps_inputs
        self._max_pairs = max_pairs
        self._max_bytes = max_bytes
        self._collect_s = collect_s
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="headrace comparer")
        self._comparisons: dict[Key, Comparison] = {}
        self._waiting: list[tuple[Pair, int]] = []
        self._byte_count = 0
        self._resets: Counter[str] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._is_stopped = False

    def take(self, pairs: Sequence[Pair]) -> None:
        """Compares `pairs` soon, as far as there is room for them."""
        if self._is_stopped:
            return
        for pair in pairs:
            byte_size = pair.byte_size
            if len(self._waiting) >= self._max_pairs or self._byte_count + byte_size > self._max_bytes:
                self.dropped_count += 1
                continue
            self._waiting.append((pair, byte_size))
            self._byte_count += byte_size
        if self._waiting and self._task is None:
            self._task = self._loop.create_task(self._compare_all())

    def of(self, model: str, live: int, shadow: int) -> Comparison | None:
        return self._comparisons.get((model, live, shadow))

    def all(self) -> list[Comparison]:
        return list(self._comparisons.values())

    def resume(self, comparison: Comparison) -> None:
        """Goes on with `comparison`, as it was written down before."""
        self._keep((comparison.model, comparison.live_version, comparison.shadow_version), comparison)

    def reset(self, model: str) -> None:
        """Forgets the comparisons of `model`, and pairs of it that are not compared yet."""
        self._resets[model] += 1
        self._byte_count -= sum(byte_size for pair, byte_size in self._waiting if pair.model == model)
        self._waiting = [each for each in self._waiting if each[0].model != model]
        for key in [key for key in self._comparisons if key[0] == model]:
            del self._comparisons[key]

    async def stop(self) -> None:
        """Compares no more."""
        self._is_stopped = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _compare_all(self) -> None:
        """Compares what waits, and what comes meanwhile."""
        await asyncio.sleep(self._collect_s)
        while self._waiting:
            batch, self._waiting = self._waiting[:BATCH_PAIRS], self._waiting[BATCH_PAIRS:]
            for key, pairs in _by_key(batch):
                await self._compare(key, pairs)
            self._byte_count -= sum(byte_size for _, byte_size in batch)
        self._task = None

    async def _compare(self, key: Key, pairs: Sequence[Pair]) -> None:
        model = key[0]
        resets = self._resets[model]
        try:
            differences = await self._loop.run_in_executor(
                self._executor, partial(compare, pairs, self._tolerance)
            )
            if self._resets[model] == resets:
                self._add(key, pairs, differences)
        except Exception:
            self.failed_count += len(pairs)
            logger.exception("comparing %d pairs of '%s' failed: this is a bug", len(pairs), model)

    def _add(self, key: Key, pairs: Sequence[Pair], differences: Differences) -> None:
        comparison = self._comparisons.pop(key, None)
        if comparison is None:
            keeps_inputs = self._keeps_inputs(key[0])
            comparison = Comparison(*key, tolerance=self._tolerance, keeps_inputs=keeps_inputs)
        self._keep(key, comparison)
        self._compared(*key, *comparison.add(pairs, differences))

    def _keep(self, key: Key, comparison: Comparison) -> None:
        """As the newest; where there are too many, the oldest is forgotten."""
        self._comparisons.pop(key, None)
        while len(self._comparisons) >= MAX_COMPARISONS:
            del self._comparisons[next(iter(self._comparisons))]
        self._comparisons[key] = comparison


def _by_key(batch: Sequence[tuple[Pair, int]]) -> Iterator[tuple[Key, Sequence[Pair]]]:
    groups: dict[Key, list[Pair]] = {}
    for pair, _ in batch:
        groups.setdefault((pair.model, pair.live_version, pair.shadow_version), []).append(pair)
    yield from groups.items()
