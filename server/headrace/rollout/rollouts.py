"""Rolls new versions out as it is ordered, by callers and by the configuration."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from headrace.core.plan import Plan
from headrace.core.route import Route
from headrace.errors import FailedPrecondition, NotFound, Unavailable
from headrace.model.registry import Registry
from headrace.rollout import stages
from headrace.rollout.bringing import Bringing
from headrace.rollout.kept_route import RouteOrigin
from headrace.rollout.ledger import Ledger
from headrace.rollout.record import (
    FROM_COMMAND,
    FROM_CONFIG,
    SERVER,
    EventKind,
    Record,
    RolloutState,
)
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import Run
from headrace.rollout.runs import Runs
from headrace.rollout.transitions import Transitions

BY_ORDER = "by order"


class Rollouts:
    """Takes orders, one per model at a time, but for ways back; all on the event loop.

    FailedPrecondition says why an order cannot be carried out as things are; ConfigError or OSError that it
    cannot be kept.
    """

    def __init__(
        self,
        runs: Runs,
        registry: Registry,
        bringing: Bringing,
        book: RouteBook,
        ledger: Ledger,
        transitions: Transitions,
    ) -> None:
        self._runs = runs
        self._registry = registry
        self._bringing = bringing
        self._book = book
        self._ledger = ledger
        self._transitions = transitions

    async def start(
        self, model: str, canary: int, stable: int, plan: Plan, by: str, *, dry_run: bool
    ) -> Record:
        """Starts to roll `canary` out (0: the newest), beside `stable` (0: what answers now)."""
        async with self._runs.lock(model):
            record = self._planned(model, canary, stable, plan, by, FROM_COMMAND)
            if dry_run:
                self._bringing.check(model, {record.stable, record.canary})
                return record
            return await self._begin(record)

    async def start_declared(self, model: str, plan: Plan, due: Callable[[], int | None]) -> None:
        """Starts to roll out the version that `due` names, asked once nobody else changes the model."""
        async with self._runs.lock(model):
            canary = due()
            if canary is not None:
                await self._begin(self._planned(model, canary, 0, plan, SERVER, FROM_CONFIG))

    async def pause(self, model: str, reason: str, by: str) -> Record:
        async with self._ordered(model) as run:
            if run.record.state is RolloutState.PAUSED:
                raise FailedPrecondition(f"the rollout of '{model}' is paused already")
            return await self._transitions.restate(
                run, RolloutState.PAUSED, EventKind.PAUSED, reason or BY_ORDER, by
            )

    async def resume(self, model: str, reason: str, by: str) -> Record:
        async with self._ordered(model) as run:
            if run.record.state is not RolloutState.PAUSED:
                raise FailedPrecondition(f"the rollout of '{model}' is not paused: it is {run.record.state}")
            return await self._transitions.restate(
                run, RolloutState.RUNNING, EventKind.RESUMED, reason or BY_ORDER, by
            )

    async def promote(self, model: str, reason: str, by: str, *, full: bool) -> Record:
        """To the next step, or with `full` to the last; at the last step it is done. One that is paused goes
        on by it, which its reason says.
        """
        async with self._ordered(model) as run:
            record = run.record
            self._bringing.check_ready(model, {record.canary})
            step = record.step + 1
            if full and not record.is_at_last_step:
                step = len(record.plan.steps) - 1
            resumed = " (it was paused, and goes on)" if record.state is RolloutState.PAUSED else ""
            return await self._transitions.go_to(run, step, (reason or BY_ORDER) + resumed, by)

    async def roll_back(self, model: str, reason: str, by: str) -> Record:
        """All requests to the version before, whatever is being written; also after the end, where that
        version is still to be had.
        """
        reason = reason or BY_ORDER
        run = self._runs.running(model)
        record = (
            self._transitions.take_back(run, reason, by)
            if run is not None
            else await self._roll_back_after_end(model, reason, by)
        )
        await self._transitions.keep_ways_back()
        return record

    async def abort(self, model: str, reason: str, by: str) -> Record:
        """Ends the rollout; requests go on being shared as they are."""
        async with self._ordered(model) as run:
            return await self._transitions.abort(run, reason or BY_ORDER, by)

    async def set_route(self, model: str, route: Route, by: str) -> None:
        """A route by order."""
        await self._bring_route(model, route, RouteOrigin.ORDER, by)

    async def clear_route(self, model: str, by: str, *, has_plan: bool) -> None:
        """The newest version answers; where the configuration has a plan, the one that answers goes on until
        a newer one is rolled out.
        """
        async with self._runs.lock(model):
            self._check_idle(model)
            default = self._book.default(model)
            if has_plan and default is not None:
                kept = self._book.following(model, stages.pinned(default), RouteOrigin.CONFIG)
            else:
                kept = self._book.following(model, None, RouteOrigin.ORDER, by)
            await self._transitions.set_route(kept)

    async def take_declared_route(self, model: str, route: Route, declared: str) -> None:
        """That of the configuration, whose text is `declared`."""
        await self._bring_route(model, route, RouteOrigin.CONFIG, declared=declared)

    async def forget_declared_route(self, model: str, *, has_plan: bool) -> None:
        """The configuration declares none any more: where it is in force, and no plan, the newest answers."""
        async with self._runs.lock(model):
            kept = self._book.get(model)
            if kept is not None and kept.origin is RouteOrigin.CONFIG and not has_plan:
                self._check_idle(model)
                await self._transitions.set_route(
                    self._book.following(model, None, RouteOrigin.CONFIG), declared=""
                )
            else:
                await self._ledger.forget_declared(model)

    async def _bring_route(
        self, model: str, route: Route, origin: RouteOrigin, by: str = "", declared: str | None = None
    ) -> None:
        """In force once its versions are ready; `declared` as for the store."""
        async with self._runs.lock(model):
            self._check_idle(model)
            self._bringing.check_stand_in(model, route.fallback)
            async with self._bringing.brought(model, route.versions):
                await self._transitions.set_route(self._book.following(model, route, origin, by), declared)

    def _planned(self, model: str, canary: int, stable: int, plan: Plan, by: str, origin: str) -> Record:
        running = self._runs.running(model)
        if running is not None:
            raise FailedPrecondition(
                f"version {running.record.canary} of '{model}' is being rolled out already"
            )
        stable = stable or self._default(model)
        canary = canary or self._newest(model)
        if canary == stable:
            raise FailedPrecondition(
                f"version {canary} of '{model}' answers already: expected another version to roll out, or "
                "another one to begin with"
            )
        self._bringing.check_stand_in(model, plan.fallback)
        now_s, earlier = self._ledger.now_s(), self._book.in_force(model)
        return Record(model, stable, canary, "", plan, origin, by, now_s, now_s, earlier=earlier)

    async def _begin(self, record: Record) -> Record:
        model, stable, canary = record.model, record.stable, record.canary
        async with self._bringing.brought(model, {stable, canary}):
            ready = self._registry.ready(model)
            record = replace(record, digest=ready[canary].digest)
            run = await self._transitions.begin(record, record.started_by)
            run.follow(ready[stable], ready[canary])
            return run.record

    async def _roll_back_after_end(self, model: str, reason: str, by: str) -> Record:
        async with self._runs.lock(model):
            run = self._runs.running(model)
            if run is not None:  # one has begun meanwhile
                return self._transitions.take_back(run, reason, by)
            done = self._done_record(model)
            async with self._bringing.brought(model, {done.stable}):
                return self._transitions.take_back_after_end(done, reason, by)

    def _check_idle(self, model: str) -> None:
        if self._runs.running(model) is not None:
            raise FailedPrecondition(f"a rollout of '{model}' is under way: end it before the route is set")

    @asynccontextmanager
    async def _ordered(self, model: str) -> AsyncIterator[Run]:
        """The model's rollout under way, for one who gives an order."""
        async with self._runs.lock(model):
            run = self._runs.running(model)
            if run is None:
                raise FailedPrecondition(f"no rollout of '{model}' is under way")
            yield run

    def _default(self, model: str) -> int:
        default = self._book.default(model)
        if default is None:
            self._registry.find(model, "")
            raise Unavailable(f"'{model}' has no version at ready state that its route calls stable")
        return default

    def _newest(self, model: str) -> int:
        newest = self._registry.newest(model)
        assert newest is not None
        return newest.version

    def _done_record(self, model: str) -> Record:
        """The rollout that has brought the versions which answer now."""
        record = self._runs.last(model)
        if record is None:
            raise NotFound(f"there has been no rollout of '{model}'")
        kept = self._book.get(model)
        is_last = kept is not None and kept.route is not None and kept.origin is RouteOrigin.ROLLOUT
        if record.state not in (RolloutState.DONE, RolloutState.ABORTED) or not is_last:
            raise FailedPrecondition(
                f"the last rollout of '{model}' is {record.state.value}, or its route was set since: "
                "there is nothing to roll back"
            )
        return record
