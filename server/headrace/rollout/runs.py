"""The rollouts under way, and each model's last one."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakValueDictionary

from headrace.rollout.record import Record
from headrace.rollout.run import Run
from headrace.router.shadow.pair import Pair

logger = logging.getLogger(__name__)


class Runs:
    """A model has one rollout under way, and whoever gives it an order holds its lock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.now_s = clock
        self._running: dict[str, Run] = {}
        self._last: dict[str, Record] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, model: str) -> asyncio.Lock:
        """Whoever changes the model's route or rollout holds it; ways back alone do not wait for it."""
        lock = self._locks.get(model)
        if lock is None:
            lock = self._locks[model] = asyncio.Lock()
        return lock

    def remember(self, records: Iterable[Record]) -> None:
        """What the state database holds, for those who ask."""
        self._last.update({record.model: record for record in records})

    def resume(self, records: Iterable[Record]) -> None:
        """Goes on with what the state database holds."""
        for record in records:
            self._last[record.model] = record
            if record.state.is_open and record.model not in self._running:
                self.add(record)
                logger.info("rollout of '%s' version %d goes on", record.model, record.canary)

    def begin(self) -> None:
        """The models of the start are loaded: time passes from now on."""
        for run in self._running.values():
            run.begin(self.now_s())

    def add(self, record: Record) -> Run:
        """It is under way from now on."""
        run = self._running[record.model] = Run(record, self.now_s())
        return run

    def close(self, run: Run, record: Record) -> None:
        """It has ended so."""
        run.end()
        self._running.pop(record.model, None)
        self._last[record.model] = record

    def end(self) -> None:
        """Watches nothing any more; what is under way goes on at the next start."""
        for run in self._running.values():
            run.end()

    def all(self) -> Sequence[Run]:
        """Those under way."""
        return list(self._running.values())

    def running(self, model: str) -> Run | None:
        """The one under way."""
        return self._running.get(model)

    def has(self, run: Run) -> bool:
        """Whether it is still under way."""
        return self._running.get(run.record.model) is run

    def last(self, model: str) -> Record | None:
        """The model's last rollout, under way or not."""
        run = self._running.get(model)
        return run.record if run else self._last.get(model)

    def models(self) -> Sequence[str]:
        """Those that ever had a rollout."""
        return sorted({*self._last, *self._running})

    def compared(self, model: str, live: int, shadow: int, pairs: int, disagreeing: int) -> None:
        """Told of compared answers of two versions."""
        run = self._of(model, live, shadow)
        if run is not None:
            run.compared(pairs, disagreeing)

    def paired(self, pairs: Sequence[Pair]) -> None:
        """Told of requests that a live version and a shadow have executed."""
        by_run: dict[Run, list[Pair]] = {}
        for pair in pairs:
            run = self._of(pair.model, pair.live_version, pair.shadow_version)
            if run is not None:
                by_run.setdefault(run, []).append(pair)
        for run, its_pairs in by_run.items():
            run.paired(its_pairs)

    def _of(self, model: str, stable: int, canary: int) -> Run | None:
        run = self._running.get(model)
        return run if run and (run.record.stable, run.record.canary) == (stable, canary) else None
