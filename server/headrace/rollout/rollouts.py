"""Rolls new versions out as it is ordered, by callers and by the configuration."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from headrace.core.plan import Plan
from headrace.core.route import Route
from headrace.errors import ConfigError, FailedPrecondition, NotFound, Unavailable
from headrace.model.registry import Registry
from headrace.rollout.bringing import Bringing
from headrace.rollout.ledger import Ledger
from headrace.rollout.record import FROM_COMMAND, EventKind, Record, RolloutState
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import Run
from headrace.rollout.runs import Runs
from headrace.rollout.transitions import SET_BY_ROLLOUT, Transitions
from headrace.router.router import Router

logger = logging.getLogger(__name__)

BY_ORDER = "by order"


class Rollouts:
    """Takes orders, one per model at a time; all on the event loop.

    FailedPrecondition says why an order cannot be carried out as things are; ConfigError or OSError that it
    cannot be kept. `compare_anew(model)` forgets what was learned of its versions' answers.
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

    async def start(
        self,
        model: str,
        canary: int,
        stable: int,
        plan: Plan,
        by: str,
        origin: str = FROM_COMMAND,
        *,
        dry_run: bool,
    ) -> Record:
        """Starts to roll `canary` out (0: the newest), beside `stable` (0: what answers now)."""
        async with self._runs.lock(model):
            running = self._runs.running(model)
            if running is not None:
                raise FailedPrecondition(
                    f"version {running.record.canary} of '{model}' is being rolled out already"
                )
            stable = stable or self._default(model)
            canary = canary or self._newest(model)
            if canary == stable:
                raise FailedPrecondition(
                    f"version {canary} of '{model}' answers already: expected another version to roll out"
                )
            now_s, earlier = self._ledger.now_s(), self._router.route_of(model)
            record = Record(model, stable, canary, "", plan, origin, by, now_s, now_s, earlier=earlier)
            if dry_run:
                self._bringing.check(model, {stable, canary})
                return record
            async with self._bringing.brought(model, {stable, canary}):
                ready = self._registry.ready(model)
                record = replace(record, digest=ready[canary].digest)
                run = await self._transitions.begin(record, by)
                self._compare_anew(model)
                run.follow(ready[stable], ready[canary])
                return run.record

    async def pause(self, model: str, reason: str, by: str) -> Record:
        async with self._ordered(model) as run:
            if run.record.state is RolloutState.PAUSED:
                raise FailedPrecondition(f"the rollout of '{model}' is paused already")
            return await self._restate(run, RolloutState.PAUSED, EventKind.PAUSED, reason, by)

    async def resume(self, model: str, reason: str, by: str) -> Record:
        async with self._ordered(model) as run:
            if run.record.state is not RolloutState.PAUSED:
                raise FailedPrecondition(f"the rollout of '{model}' is not paused: it is {run.record.state}")
            return await self._restate(run, RolloutState.RUNNING, EventKind.RESUMED, reason, by)

    async def promote(self, model: str, reason: str, by: str, *, full: bool) -> Record:
        """To the next step, or with `full` to the last; at the last step it is done. One that is paused goes
        on by it, which its reason says.
        """
        async with self._ordered(model) as run:
            record = run.record
            step = record.step + 1
            if full and not record.is_at_last_step:
                step = len(record.plan.steps) - 1
            resumed = " (it was paused, and goes on)" if record.state is RolloutState.PAUSED else ""
            return await self._transitions.go_to(run, step, (reason or BY_ORDER) + resumed, by)

    async def roll_back(self, model: str, reason: str, by: str) -> Record:
        """All requests to the version before; also after the end, where that is still to be had."""
        async with self._runs.lock(model):
            run = self._runs.running(model)
            if run is not None:
                record = self._transitions.take_back(run, reason or BY_ORDER, by)
            else:
                done = self._done_record(model)
                async with self._bringing.brought(model, {done.stable}):
                    record = self._transitions.take_back_after_end(done, reason or BY_ORDER, by)
            try:
                await self._ledger.save_unsaved()
            except (ConfigError, OSError) as error:  # it is tried again at every look
                logger.error("%s", error)
            return record

    async def abort(self, model: str, reason: str, by: str) -> Record:
        """Ends the rollout; requests go on being shared as they are."""
        async with self._ordered(model) as run:
            return await self._transitions.abort(run, reason or BY_ORDER, by)

    async def set_route(self, model: str, route: Route | None, by: str, declared: str | None = None) -> None:
        """A route that no rollout has made; None: the newest version answers."""
        async with self._runs.lock(model):
            if self._runs.running(model) is not None:
                raise FailedPrecondition(
                    f"a rollout of '{model}' is under way: end it before the route is set"
                )
            if route is None:
                await self._set_route(model, None, by, declared)
            else:
                async with self._bringing.brought(model, route.versions):
                    await self._set_route(model, route, by, declared)
        self._bringing.settle(model)

    async def _set_route(self, model: str, route: Route | None, by: str, declared: str | None) -> None:
        await self._transitions.set_route(self._book.following(model, route, by), declared)

    async def _restate(self, run: Run, state: RolloutState, kind: EventKind, reason: str, by: str) -> Record:
        return await self._transitions.restate(run, state, kind, reason or BY_ORDER, by)

    @asynccontextmanager
    async def _ordered(self, model: str) -> AsyncIterator[Run]:
        """The model's rollout under way, for one who gives an order."""
        async with self._runs.lock(model):
            run = self._runs.running(model)
            if run is None:
                raise FailedPrecondition(f"no rollout of '{model}' is under way")
            yield run

    def _default(self, model: str) -> int:
        found = self._router.default(model)
        if found is None:
            self._registry.find(model, "")
            raise Unavailable(f"'{model}' has no version at ready state that its route calls stable")
        return found.version

    def _newest(self, model: str) -> int:
        newest = self._registry.newest(model)
        assert newest is not None
        return newest.version

    def _done_record(self, model: str) -> Record:
        """The rollout that has brought the version which answers now."""
        record = self._runs.last(model)
        if record is None:
            raise NotFound(f"there has been no rollout of '{model}'")
        kept = self._book.get(model)
        is_last = kept is not None and kept.route is not None and kept.set_by == SET_BY_ROLLOUT
        if record.state is not RolloutState.DONE or not is_last:
            raise FailedPrecondition(
                f"the last rollout of '{model}' is {record.state.value}, or its route was set since: "
                "there is nothing to roll back"
            )
        return record
