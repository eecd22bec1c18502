"""What happens to rollouts, written down: before it happens, but for ways back, which are written after."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from headrace.errors import ConfigError
from headrace.rollout.journal import Journal
from headrace.rollout.kept_route import KeptRoute
from headrace.rollout.record import Event, EventKind, Record

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _WayBack:
    record: Record
    event: Event
    kept: KeptRoute


class Ledger:
    """Tells the journal, the log and the counters of every event; `counts` are by model and kind.

    What is in force already and could not be kept waits until it can be, and nothing that comes later is
    kept before it. ConfigError or OSError where something cannot be kept.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float] = time.time) -> None:
        self.counts: dict[tuple[str, str], int] = {}
        self._journal = journal
        self._clock = clock
        self._unsaved: list[_WayBack | KeptRoute] = []
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
        is_wanted: Callable[[], bool],
    ) -> Record | None:
        """The record as it is kept; None where nothing is, as `is_wanted()` says no just before."""
        await self.save_unsaved()
        record = replace(record, reason=_whole(reason))
        event = self._event(record, kind, by, evidence)
        committed = await self._journal.commit(record, event, kept, is_wanted)
        if committed is not None:
            self._tell(committed, kind)
        return committed

    def add_way_back(self, record: Record, by: str, kept: KeptRoute, evidence: Mapping[str, Any]) -> None:
        """What was taken back already; `save_unsaved` keeps it."""
        record = replace(record, reason=_whole(record.reason))
        event = self._event(record, EventKind.ROLLED_BACK, by, evidence)
        self._unsaved.append(_WayBack(record, event, kept))
        self._tell(record, EventKind.ROLLED_BACK)

    def add_route(self, kept: KeptRoute) -> None:
        """A route that is in force already; `save_unsaved` keeps it."""
        self._unsaved.append(kept)

    async def save_unsaved(self) -> None:
        """Keeps what is in force already, in the order in which it came there."""
        async with self._saving:
            while self._unsaved:
                await self._save(self._unsaved[0])
                del self._unsaved[0]

    async def save_route(self, kept: KeptRoute, declared: str | None = None) -> None:
        """A route that no rollout has made; `declared` as for the store."""
        await self.save_unsaved()
        await self._journal.ask(lambda: self._journal.store.save_route(kept, declared))

    async def forget_declared(self, model: str) -> None:
        """The configuration declares no route any more."""
        await self._journal.ask(lambda: self._journal.store.forget_declared(model))

    async def save_progress(self, records: Sequence[Record]) -> None:
        """How far those are that are under way."""
        if records:
            await self._journal.ask(lambda: self._journal.store.save_progress(records))

    async def _save(self, unsaved: _WayBack | KeptRoute) -> None:
        if isinstance(unsaved, KeptRoute):
            await self._journal.ask(lambda: self._journal.store.save_route(unsaved))
            return
        record, event, kept = unsaved.record, unsaved.event, unsaved.kept
        try:
            await self._journal.commit(record, event, kept, _always)
        except (ConfigError, OSError) as error:
            raise type(error)(
                f"'{record.model}' is rolled back, which cannot be kept yet: {error}"
            ) from error
        except Exception:
            # No detail is worth that the way back be lost, and others with it.
            logger.exception("what is known of a way back cannot be written: this is a bug")
            plain = replace(record, reason="rolled back", progress={})
            bare = replace(event, reason=plain.reason, evidence={})
            await self._journal.commit(plain, bare, kept, _always)

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


def _whole(text: str) -> str:
    """Without halves of characters, which neither a database nor a log takes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _always() -> bool:
    """What has happened already is wanted in any case."""
    return True
