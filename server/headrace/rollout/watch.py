"""Looks at the rollouts under way, again and again, and carries out what is decided."""

import asyncio
import logging
from dataclasses import replace
from functools import partial

from headrace.errors import FailedPrecondition
from headrace.model.registry import Registry
from headrace.rollout.decision import Action, Decision
from headrace.rollout.record import SERVER, EventKind, Record, RolloutState
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import Run
from headrace.rollout.runs import Runs
from headrace.rollout.tasks import Tasks
from headrace.rollout.transitions import Transitions

logger = logging.getLogger(__name__)


class Watch:
    """Ways back wait for nothing; what else is decided is carried out beside, a model at a time."""

    def __init__(self, runs: Runs, registry: Registry, book: RouteBook, transitions: Transitions) -> None:
        self._runs = runs
        self._registry = registry
        self._book = book
        self._transitions = transitions
        self._work = Tasks()

    async def look(self) -> None:
        """Looks at every rollout under way once, and begins to carry out what follows."""
        now_s = self._runs.now_s()
        for run in self._runs.all():
            if self._runs.has(run):
                self._look_at(run, now_s)
            await asyncio.sleep(0)  # requests get their turn between two rollouts

    async def wait(self, timeout_s: float) -> None:
        """Until what was decided is carried out, or the time is over."""
        await self._work.wait(timeout_s)

    def stop(self) -> None:
        """What has not been carried out is given up."""
        self._work.cancel()

    def _look_at(self, run: Run, now_s: float) -> None:
        """No rollout's trouble is another one's."""
        try:
            self._follow(run)
            self._decide(run, run.look(now_s, self._trouble(run.record)))
        except Exception:
            logger.exception("a look at a rollout failed: this is a bug")

    def _decide(self, run: Run, decision: Decision) -> None:
        if decision.action is Action.ROLL_BACK:
            self._transitions.take_back(run, decision.reason, SERVER)
        elif self._runs.lock(run.record.model).locked():
            pass  # somebody's order comes first
        elif run.forgotten is not None:
            self._work.start(partial(self._keep_anew, run))
        elif decision.action is Action.HOLD:
            run.enter(replace(run.record, reason=decision.reason))
        else:
            self._work.start(partial(self._carry_out, run, run.record, decision))

    async def _carry_out(self, run: Run, decided_for: Record, decision: Decision) -> None:
        async with self._runs.lock(decided_for.model):
            if not self._runs.has(run) or run.record is not decided_for:
                return  # an order came first
            try:
                if decision.action is Action.PROMOTE:
                    step = decided_for.step + 1
                    await self._transitions.go_to(run, step, decision.reason, SERVER)
                elif decided_for.state is RolloutState.RUNNING:
                    await self._transitions.restate(
                        run, RolloutState.WAITING, EventKind.WAITING, decision.reason, SERVER
                    )
            except FailedPrecondition as error:
                logger.info("%s", error)

    async def _keep_anew(self, run: Run) -> None:
        async with self._runs.lock(run.record.model):
            if self._runs.has(run):
                await self._transitions.keep_anew(run)

    def _follow(self, run: Run) -> None:
        """Watches the versions that are ready now."""
        record = run.record
        ready = self._registry.ready(record.model)
        stable, canary = ready.get(record.stable), ready.get(record.canary)
        if stable is not None and run.is_replaced(stable):
            self._transitions.begin_anew(run)
        run.follow(stable, canary)

    def _trouble(self, record: Record) -> str:
        """What ends a rollout at once, besides its guard rails."""
        if self._book.is_broken(record.model, record.canary):
            return f"the circuit breaker of version {record.canary} has opened"
        canary = self._registry.ready(record.model).get(record.canary)
        if canary is not None and canary.digest != record.digest:
            return f"version {record.canary} has been replaced by other files"
        return ""
