"""From one stage of a rollout to the next: what is kept, which route comes into force, who watches on."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.core.route import Route
from headrace.errors import FailedPrecondition
from headrace.rollout import stages
from headrace.rollout.ledger import Ledger
from headrace.rollout.record import EventKind, Record, RolloutState
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import Run
from headrace.rollout.runs import Runs
from headrace.rollout.store import KeptRoute

SET_BY_ROLLOUT = "rollout"


class Transitions:
    """What is to happen next is kept before it happens, but for a way back, which is taken first.

    But for ways back, the caller holds the model's lock. Whatever waits to be kept while the rollout is taken
    back comes too late: FailedPrecondition. ConfigError or OSError where something cannot be kept; then
    nothing has happened. `settle(model)` loads and unloads, in time, what routes need or need no more.
    """

    def __init__(self, runs: Runs, book: RouteBook, ledger: Ledger, settle: Callable[[str], None]) -> None:
        self._runs = runs
        self._book = book
        self._ledger = ledger
        self._settle = settle

    async def begin(self, record: Record, by: str) -> Run:
        """The canary gets what the first step says."""
        kept = self._following(record, stages.under_way(record))
        reason = f"version {record.canary} is rolled out beside version {record.stable}"
        await self._ledger.save_unsaved()
        record = await self._ledger.commit(record, EventKind.STARTED, reason, by, kept, {})
        self._book.take(kept)
        return self._runs.add(record)

    async def go_to(self, run: Run, step: int, reason: str, by: str) -> Record:
        """The step with this number, or the end after the last one."""
        record, now_s = run.record, self._ledger.now_s()
        if step >= len(record.plan.steps):
            return await self._finish(run, reason, by)
        entered = replace(
            record,
            step=step,
            state=RolloutState.RUNNING,
            step_started_at_s=now_s,
            progress=run.progress(is_next_step=True),
        )
        kept = self._following(record, stages.under_way(entered))
        entered = await self._commit(run, entered, EventKind.PROMOTED, reason, by, kept)
        run.enter(entered)
        return entered

    async def restate(self, run: Run, state: RolloutState, kind: EventKind, reason: str, by: str) -> Record:
        """Goes on in the same step, in this state."""
        restated = replace(run.record, state=state, progress=run.progress())
        record = await self._commit(run, restated, kind, reason, by, None)
        run.enter(record)
        return record

    async def begin_anew(self, run: Run, reason: str, by: str, evidence: Mapping[str, Any]) -> None:
        """The step counts from zero; `evidence` is what was forgotten."""
        restated = replace(run.record, progress=run.progress())
        run.enter(await self._commit(run, restated, EventKind.BEGUN_ANEW, reason, by, None, evidence))

    async def abort(self, run: Run, reason: str, by: str) -> Record:
        """Requests go on being shared as they are."""
        kept = self._following(run.record, stages.aborted(stages.under_way(run.record)))
        ended = self._ended(run, RolloutState.ABORTED)
        record = await self._commit(run, ended, EventKind.ABORTED, reason, by, kept)
        self._close(run, record)
        return record

    def take_back(self, run: Run, reason: str, by: str) -> Record:
        """All requests to the stable version, at once, whatever waits to be kept."""
        evidence = run.evidence()
        ended = replace(self._ended(run, RolloutState.ROLLED_BACK), reason=reason)
        self._way_back(ended, by, evidence)
        self._close(run, ended)
        return ended

    def take_back_after_end(self, record: Record, reason: str, by: str) -> Record:
        """The same for a rollout that is done, whose stable version is ready."""
        ended_at_s = self._ledger.now_s()
        ended = replace(record, state=RolloutState.ROLLED_BACK, ended_at_s=ended_at_s, reason=reason)
        self._way_back(ended, by, {})
        self._runs.remember([ended])
        self._settle(record.model)
        return ended

    async def set_route(self, kept: KeptRoute, declared: str | None = None) -> None:
        """A route that no rollout has made; `declared` as for the journal."""
        await self._ledger.save_unsaved()
        await self._ledger.save_route(kept, declared)
        self._book.take(kept)

    async def _finish(self, run: Run, reason: str, by: str) -> Record:
        until_s = self._ledger.now_s() + run.record.plan.keep_previous_s
        kept = self._book.following(run.record.model, stages.done(run.record), SET_BY_ROLLOUT, until_s)
        ended = await self._commit(run, self._ended(run, RolloutState.DONE), EventKind.DONE, reason, by, kept)
        self._close(run, ended)
        return ended

    async def _commit(
        self,
        run: Run,
        record: Record,
        kind: EventKind,
        reason: str,
        by: str,
        kept: KeptRoute | None,
        evidence: Mapping[str, Any] | None = None,
    ) -> Record:
        evidence = run.evidence() if evidence is None else evidence
        await self._ledger.save_unsaved()
        self._check_under_way(run)
        record = await self._ledger.commit(record, kind, reason, by, kept, evidence)
        self._check_under_way(run)
        if kept is not None:
            self._book.take(kept)
        return record

    def _check_under_way(self, run: Run) -> None:
        if not self._runs.has(run):
            model = run.record.model
            last = self._runs.last(model)
            why = f": {last.reason}" if last else ""
            raise FailedPrecondition(f"the rollout of '{model}' was rolled back meanwhile{why}")

    def _way_back(self, ended: Record, by: str, evidence: Mapping[str, Any]) -> None:
        kept = self._following(ended, stages.rolled_back(ended))
        self._book.take(kept)
        self._ledger.add_way_back(ended, by, kept, evidence)

    def _following(self, record: Record, route: Route) -> KeptRoute:
        return self._book.following(record.model, route, SET_BY_ROLLOUT)

    def _ended(self, run: Run, state: RolloutState) -> Record:
        return replace(run.record, state=state, ended_at_s=self._ledger.now_s(), progress=run.progress())

    def _close(self, run: Run, record: Record) -> None:
        self._runs.close(run, record)
        self._settle(record.model)
