"""Looks at the rollouts under way, again and again, and carries out what is decided."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from headrace.core.route import PREVIOUS
from headrace.errors import FailedPrecondition
from headrace.model.registry import Registry
from headrace.rollout import stages
from headrace.rollout.bringing import Bringing
from headrace.rollout.decision import Action, Decision
from headrace.rollout.ledger import Ledger
from headrace.rollout.record import SERVER, EventKind, Record, RolloutState
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import Run
from headrace.rollout.runs import Runs
from headrace.rollout.tasks import Tasks
from headrace.rollout.transitions import Transitions
from headrace.router.breaker import BreakerState
from headrace.router.router import Router

logger = logging.getLogger(__name__)

# Guard rails are looked at so often, and what was seen is kept so often.
LOOK_INTERVAL_S = 0.25
SAVE_INTERVAL_S = 1.0

# How long a stop waits for decisions that are being written.
STOP_TIMEOUT_S = 5.0


class Watch:
    """Ways back wait for nothing; what else is decided is carried out beside, a model at a time.

    `compare_anew(model)` forgets what was learned of its versions' answers.
    """

    def __init__(
        self,
        runs: Runs,
        registry: Registry,
        router: Router,
        bringing: Bringing,
        book: RouteBook,
        ledger: Ledger,
        transitions: Transitions,
        compare_anew: Callable[[str], None],
    ) -> None:
        self._runs = runs
        self._registry = registry
        self._router = router
        self._bringing = bringing
        self._book = book
        self._ledger = ledger
        self._transitions = transitions
        self._compare_anew = compare_anew
        self._work = Tasks()
        self._writing = Tasks()
        self._keeping: asyncio.Task[None] | None = None
        self._saved_at_s = 0.0

    async def look(self) -> None:
        """Looks at every rollout under way once, and carries out what follows.

        No rollout waits for another one, nor for what is only written: a look is over after its interval,
        and what then still waits for the disk goes on by itself.
        """
        now_s = self._runs.now_s()
        for run in self._runs.all():
            if self._runs.has(run):
                self._look_at(run, now_s)
            await asyncio.sleep(0)  # requests get their turn between two rollouts
        if self._keeping is None or self._keeping.done():
            self._keeping = self._writing.start(partial(self._keep, now_s))
        ends_at_s = asyncio.get_running_loop().time() + LOOK_INTERVAL_S
        await self._work.wait(LOOK_INTERVAL_S)
        await self._writing.wait(max(0.0, ends_at_s - asyncio.get_running_loop().time()))

    async def stop(self) -> None:
        """Keeps what was seen (ConfigError or OSError where that cannot be), and watches nothing any more."""
        try:
            await self._work.wait(STOP_TIMEOUT_S)  # decisions that are being written are carried out
            await self._writing.wait(STOP_TIMEOUT_S)
            await self._ledger.save_unsaved()
            await self._save_progress()
        finally:
            self._work.cancel()
            self._writing.cancel()
            self._runs.end()

    def _look_at(self, run: Run, now_s: float) -> None:
        try:
            self._follow(run)
            decision = run.look(now_s, self._trouble(run.record))
        except Exception:
            logger.exception("a look at a rollout failed: this is a bug")
            return
        match decision.action:
            case Action.ROLL_BACK:
                self._transitions.take_back(run, decision.reason, SERVER)
            case _ if self._runs.lock(run.record.model).locked():
                pass  # somebody's order comes first
            case Action.HOLD:
                run.enter(replace(run.record, reason=decision.reason))
            case _:
                self._work.start(partial(self._carry_out, run, run.record, decision))

    async def _carry_out(self, run: Run, decided_for: Record, decision: Decision) -> None:
        async with self._runs.lock(decided_for.model):
            if not self._runs.has(run) or run.record is not decided_for:
                return  # an order came first
            if decision.action is Action.PROMOTE:
                going = self._transitions.go_to(run, decided_for.step + 1, decision.reason, SERVER)
            elif decided_for.state is RolloutState.RUNNING:
                going = self._transitions.restate(
                    run, RolloutState.WAITING, EventKind.WAITING, decision.reason, SERVER
                )
            else:
                return
            try:
                await going
            except FailedPrecondition as error:
                logger.info("%s", error)

    def _follow(self, run: Run) -> None:
        """Watches the versions that are ready now."""
        record = run.record
        ready = self._registry.ready(record.model)
        stable, canary = ready.get(record.stable), ready.get(record.canary)
        if stable is not None and run.is_replaced(stable):
            evidence = run.evidence()
            run.begin_anew()
            self._compare_anew(record.model)
            self._work.start(partial(self._keep_anew, run, evidence))
        run.follow(stable, canary)

    async def _keep_anew(self, run: Run, evidence: dict[str, object]) -> None:
        stable = run.record.stable
        reason = f"version {stable}, the stable one, was replaced by other files: the step counts from zero"
        async with self._runs.lock(run.record.model):
            if self._runs.has(run):
                await self._transitions.begin_anew(run, reason, SERVER, evidence)

    def _trouble(self, record: Record) -> str:
        """What ends a rollout at once, besides its guard rails."""
        if self._router.breakers(record.model).get(record.canary) is BreakerState.OPEN:
            return f"the circuit breaker of version {record.canary} has opened"
        canary = self._registry.ready(record.model).get(record.canary)
        if canary is not None and canary.digest != record.digest:
            return f"version {record.canary} has been replaced by other files"
        return ""

    async def _keep(self, now_s: float) -> None:
        """Writes what is due to be written."""
        await self._ledger.save_unsaved()
        await self._let_previous_go()
        if now_s - self._saved_at_s >= SAVE_INTERVAL_S:
            self._saved_at_s = now_s
            await self._save_progress()

    async def _save_progress(self) -> None:
        await self._ledger.save_progress(
            [replace(run.record, progress=run.progress()) for run in self._runs.all()]
        )

    async def _let_previous_go(self) -> None:
        """Versions before are kept until their time is over."""
        now_s = self._ledger.now_s()
        for kept in self._book:
            route, lock = kept.route, self._runs.lock(kept.model)
            is_over = 0 < kept.previous_until_s <= now_s
            if is_over and route is not None and PREVIOUS in route.labels and not lock.locked():
                async with lock:
                    bare = self._book.following(kept.model, stages.without_previous(route), kept.set_by)
                    await self._transitions.set_route(bare)
                self._bringing.settle(kept.model)
