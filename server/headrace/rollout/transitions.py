"""From one stage of a rollout to the next: what is kept, which route comes into force, who watches on."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from headrace.core.route import Route
from headrace.errors import FailedPrecondition
from headrace.rollout import stages
from headrace.rollout.kept_route import KeptRoute, RouteOrigin
from headrace.rollout.ledger import Ledger
from headrace.rollout.record import SERVER, EventKind, Record, RolloutState
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import Run
from headrace.rollout.runs import Runs

logger = logging.getLogger(__name__)


class Transitions:
    """What is to happen next is kept before it happens, but for a way back, which is taken first.

    Ways back wait for nothing, not even for the model's lock, which callers of everything else hold. What
    waits to be kept when the rollout is taken back comes too late: FailedPrecondition. ConfigError or OSError
    where something cannot be kept; then nothing has happened. `settle(model)` loads and unloads, in time,
    what routes need or need no more; `compare_anew(model)` forgets what was learned of its versions' answers.
    """

    def __init__(
        self,
        runs: Runs,
        book: RouteBook,
        ledger: Ledger,
        settle: Callable[[str], None],
        compare_anew: Callable[[str], None],
    ) -> None:
        self._runs = runs
        self._book = book
        self._ledger = ledger
        self._settle = settle
        self._compare_anew = compare_anew

    async def begin(self, record: Record, by: str) -> Run:
        """The canary gets what the first step says."""
        kept = self._following(record, stages.under_way(record))
        reason = f"version {record.canary} is rolled out beside version {record.stable}"
        committed = await self._ledger.commit(
            record, EventKind.STARTED, reason, by, kept, {}, is_wanted=lambda: True
        )
        assert committed is not None
        self._book.take(kept)
        self._compare_anew(record.model)
        return self._runs.add(committed)

    async def go_to(self, run: Run, step: int, reason: str, by: str) -> Record:
        """The step with this number, or the end after the last one."""
        record = run.record
        if step >= len(record.plan.steps):
            return await self._finish(run, reason, by)
        entered = replace(
            record,
            step=step,
            state=RolloutState.RUNNING,
            step_started_at_s=self._ledger.now_s(),
            progress=run.progress(is_next_step=True),
        )
        kept = self._following(record, stages.under_way(entered))
        entered = await self._commit(run, entered, EventKind.PROMOTED, reason, by, kept, run.evidence())
        run.enter(entered)
        return entered

    async def restate(
        self,
        run: Run,
        state: RolloutState,
        kind: EventKind,
        reason: str,
        by: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> Record:
        """Goes on in the same step, in this state; without `evidence` that of the run."""
        restated = replace(run.record, state=state, progress=run.progress())
        known = run.evidence() if evidence is None else evidence
        record = await self._commit(run, restated, kind, reason, by, None, known)
        run.enter(record)
        return record

    def begin_anew(self, run: Run) -> None:
        """What was compared with other files of the stable version is forgotten; `keep_anew` keeps that."""
        run.begin_anew(self._ledger.now_s())
        self._compare_anew(run.record.model)

    async def keep_anew(self, run: Run) -> None:
        """Writes that the step has begun anew: an approval that was waited for would be one of nothing."""
        record = run.record
        is_paused = record.state is RolloutState.PAUSED
        state = RolloutState.PAUSED if is_paused else RolloutState.RUNNING
        reason = f"version {record.stable}, the stable one, has other files now: the step counts from zero"
        await self.restate(run, state, EventKind.BEGUN_ANEW, reason, SERVER, run.forgotten)
        run.forgotten = None

    async def abort(self, run: Run, reason: str, by: str) -> Record:
        """Requests go on being shared as they are."""
        kept = self._following(run.record, stages.aborted(run.record))
        ended = self._ended(run.record, RolloutState.ABORTED, run.progress())
        record = await self._commit(run, ended, EventKind.ABORTED, reason, by, kept, run.evidence())
        self._close(run, record)
        return record

    def take_back(self, run: Run, reason: str, by: str) -> Record:
        """All requests to the stable version, at once."""
        kept = self._taken_back(run.record)
        progress, evidence = _known(run)
        ended = replace(self._ended(run.record, RolloutState.ROLLED_BACK, progress), reason=reason)
        self._ledger.add_way_back(ended, by, kept, evidence)
        self._close(run, ended)
        return ended

    def take_back_after_end(self, record: Record, reason: str, by: str) -> Record:
        """The same for a rollout that is done, whose stable version is ready."""
        kept = self._taken_back(record)
        ended = replace(self._ended(record, RolloutState.ROLLED_BACK, record.progress), reason=reason)
        self._ledger.add_way_back(ended, by, kept, {})
        self._runs.remember([ended])
        self._settle(record.model)
        return ended

    async def keep_ways_back(self) -> None:
        """As far as that goes now; the rest is tried again at every look."""
        try:
            await self._ledger.save_unsaved()
        except Exception as error:
            logger.error("%s", error)

    async def set_route(self, kept: KeptRoute, declared: str | None = None) -> None:
        """A route that no rollout has made; `declared` as for the store."""
        await self._ledger.save_route(kept, declared)
        self._book.take(kept)
        self._settle(kept.model)

    def pin(self, model: str, version: int) -> None:
        """`version` goes on answering, at once; that is kept in time."""
        kept = self._book.following(model, stages.pinned(version), RouteOrigin.CONFIG)
        self._book.take(kept)
        self._ledger.add_route(kept)

    async def _finish(self, run: Run, reason: str, by: str) -> Record:
        record = run.record
        until_s = self._ledger.now_s() + record.plan.keep_previous_s
        kept = self._book.following(
            record.model, stages.done(record), RouteOrigin.ROLLOUT, previous_until_s=until_s
        )
        done = self._ended(record, RolloutState.DONE, run.progress())
        ended = await self._commit(run, done, EventKind.DONE, reason, by, kept, run.evidence())
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
        evidence: Mapping[str, Any],
    ) -> Record:
        committed = await self._ledger.commit(
            record, kind, reason, by, kept, evidence, is_wanted=lambda: self._runs.has(run)
        )
        if committed is None or not self._runs.has(run):
            last = self._runs.last(record.model)
            why = f": {last.reason}" if last else ""
            raise FailedPrecondition(f"the rollout of '{record.model}' was rolled back meanwhile{why}")
        if kept is not None:
            self._book.take(kept)
        return committed

    def _taken_back(self, record: Record) -> KeptRoute:
        """The route of the way back, in force."""
        kept = self._following(record, stages.rolled_back(record))
        self._book.take(kept)
        return kept

    def _following(self, record: Record, route: Route) -> KeptRoute:
        return self._book.following(record.model, route, RouteOrigin.ROLLOUT)

    def _ended(self, record: Record, state: RolloutState, progress: Mapping[str, Any]) -> Record:
        return replace(record, state=state, ended_at_s=self._ledger.now_s(), progress=progress)

    def _close(self, run: Run, record: Record) -> None:
        self._runs.close(run, record)
        self._settle(record.model)


def _known(run: Run) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The run's progress and evidence; a way back is taken whether or not they can be had."""
    try:
        return run.progress(), run.evidence()
    except Exception:
        logger.exception("what is known of a rollout cannot be told: this is a bug")
        return {}, {}
