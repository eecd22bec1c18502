"""What happens to rollouts, written down: before it happens, but for ways back, which are written after."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headrace.errors import ConfigError
from headrace.rollout.journal import Journal
from headrace.rollout.record import Event, EventKind, Record
from headrace.rollout.store import KeptRoute

logger = logging.getLogger(__name__)


class Ledger:
    """Tells the journal, the log and the counters of every event; `counts` are by model and kind.

    A way back that cannot be kept waits until it can be. Nothing that comes later is kept before it: whoever
    keeps something calls `save_unsaved` first.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self._journal = journal
        self._clock = clock
        self._unsaved: list[tuple[Record, Event, KeptRoute | None]] = []
        self._saving = asyncio.Lock()

    def now_s(self) -> float:
        """In seconds since 1970."""
        return self._clock()

    async def commit(
        self,
        record: Record,
        kind: EventKind,
        reason: str,
        by: str,
        kept: KeptRoute | None,
        evidence: Mapping[str, Any],
    ) -> Record:
        """The record as it is kept; ConfigError or OSError where it cannot be."""
        record = replace(record, reason=reason)
        event = self._event(record, kind, by, evidence)
        record = await self._journal.commit(record, event, kept)
        self._tell(record, kind)
        return record

    def add_way_back(self, record: Record, by: str, kept: KeptRoute, evidence: Mapping[str, Any]) -> None:
        """What was taken back already; `save_unsaved` keeps it."""
        event = self._event(record, EventKind.ROLLED_BACK, by, evidence)
        self._unsaved.append((record, event, kept))
        self._tell(record, EventKind.ROLLED_BACK)

    async def save_unsaved(self) -> None:
        """Keeps the ways back that were taken, in their order; ConfigError or OSError names the first that
        cannot be kept.
        """
        async with self._saving:
            while self._unsaved:
                record, event, kept = self._unsaved[0]
                try:
                    await self._journal.commit(record, event, kept)
                except (ConfigError, OSError) as error:
                    raise type(error)(
                        f"'{record.model}' is rolled back, which cannot be kept yet: {error}"
                    ) from error
                del self._unsaved[0]

    async def save_route(self, kept: KeptRoute, declared: str | None = None) -> None:
        """A route that no rollout has made; `declared` as for the journal."""
        await asyncio.wrap_future(self._journal.save_route(kept, declared))

    async def save_progress(self, records: Sequence[Record]) -> None:
        """How far those are that are under way."""
        if records:
            await asyncio.wrap_future(self._journal.save_progress(records))

    def _event(self, record: Record, kind: EventKind, by: str, evidence: Mapping[str, Any]) -> Event:
        return Event(self._clock(), kind.value, record.step, record.reason, by, evidence)

    def _tell(self, record: Record, kind: EventKind) -> None:
        key = (record.model, kind.value)
        self.counts[key] = self.counts.get(key, 0) + 1
        level = logging.WARNING if kind is EventKind.ROLLED_BACK else logging.INFO
        text = "rollout of '%s' version %d: %s, step %d of %d: %s"
        steps = len(record.plan.steps)
        logger.log(
            level, text, record.model, record.canary, kind.value, record.step + 1, steps, record.reason
        )
