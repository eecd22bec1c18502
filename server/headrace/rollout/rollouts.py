"""Rolls new versions out: takes orders, looks at every rollout under way, and carries out what is decided."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakValueDictionary

from headrace.core.plan import Plan
from headrace.core.route import PREVIOUS, Route
from headrace.errors import ConfigError, FailedPrecondition, HeadraceError, NotFound, Unavailable
from headrace.model.lifecycle import Lifecycle
from headrace.model.registry import Registry
from headrace.rollout import stages
from headrace.rollout.bringing import Bringing
from headrace.rollout.decision import Action, Decision
from headrace.rollout.journal import Journal
from headrace.rollout.ledger import Ledger
from headrace.rollout.record import (
    FROM_COMMAND,
    SERVER,
    EventKind,
    Record,
    RolloutState,
)
from headrace.rollout.route_book import RouteBook
from headrace.rollout.run import Run
from headrace.rollout.store import KeptRoute
from headrace.router.breaker import BreakerState
from headrace.router.router import Router
from headrace.router.shadow.pair import Pair

logger = logging.getLogger(__name__)

# Guard rails are looked at so often, and what was seen is kept so often.
LOOK_INTERVAL_S = 0.25
SAVE_INTERVAL_S = 1.0

SET_BY_ROLLOUT = "rollout"

# How long a stop waits for decisions that are being written.
STOP_TIMEOUT_S = 5.0


class Rollouts:
    """Owns the rollouts under way; all on the event loop, one order or decision per model at a time.

    What is to happen next is kept before it happens, but for a way back, which is taken first.
    `compare_anew(model)` forgets what was learned of its versions' answers.
    """

    def __init__(
        self,
        registry: Registry,
        router: Router,
        lifecycle: Lifecycle,
        book: RouteBook,
        journal: Journal,
        compare_anew: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = Ledger(journal, wall_clock)
        self._registry = registry
        self._router = router
        self._lifecycle = lifecycle
        self._bringing = Bringing(registry, router, lifecycle)
        self._book = book
        self._journal = journal
        self._compare_anew = compare_anew
        self._clock = clock
        self._runs: dict[str, Run] = {}
        self._last: dict[str, Record] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._settling: set[asyncio.Task[None]] = set()
        self._looking: set[asyncio.Task[None]] = set()
        self._keeping: asyncio.Task[None] | None = None
        self._saved_at_s = 0.0

    def needed(self, model: str) -> Set[int]:
        """The versions that routes and orders under way need."""
        return self._bringing.needed(model)

    def remember(self, records: Iterable[Record]) -> None:
        """What the state database holds, for those who ask."""
        self._last.update({record.model: record for record in records})

    def resume(self, records: Iterable[Record]) -> None:
        """Goes on with what the state database holds."""
        for record in records:
            self._last[record.model] = record
            if record.state.is_open and record.model not in self._runs:
                self._runs[record.model] = Run(record, self._clock())
                logger.info("rollout of '%s' version %d goes on", record.model, record.canary)

    def begin(self) -> None:
        """The models of the start are loaded: time passes from now on."""
        for run in self._runs.values():
            run.begin(self._clock())

    def now_s(self) -> float:
        """On the clock by which the steps are timed."""
        return self._clock()

    def running(self, model: str) -> Run | None:
        return self._runs.get(model)

    def runs(self) -> Sequence[Run]:
        return list(self._runs.values())

    def last(self, model: str) -> Record | None:
        """The model's last rollout, under way or not."""
        run = self._runs.get(model)
        return run.record if run else self._last.get(model)

    def models(self) -> Sequence[str]:
        """Those that ever had a rollout."""
        return sorted({*self._last, *self._runs})

    def lock(self, model: str) -> asyncio.Lock:
        """Whoever changes the model's route or rollout holds it."""
        lock = self._locks.get(model)
        if lock is None:
            lock = self._locks[model] = asyncio.Lock()
        return lock

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
        async with self.lock(model):
            if model in self._runs:
                raise FailedPrecondition(
                    f"version {self._runs[model].record.canary} of '{model}' is being rolled out already"
                )
            stable = stable or self._default(model)
            canary = canary or self._newest(model)
            if canary == stable:
                raise FailedPrecondition(
                    f"version {canary} of '{model}' answers already: expected another version to roll out"
                )
            now_s = self.ledger.now_s()
            earlier = self._router.route_of(model)
            record = Record(model, stable, canary, "", plan, origin, by, now_s, now_s, earlier=earlier)
            if dry_run:
                self._bringing.check(model, {stable, canary})
                return record
            async with self._bringing.brought(model, {stable, canary}):
                digest = self._registry.ready(model)[canary].digest
                record = replace(record, digest=digest)
                kept = self._book.following(model, stages.under_way(record), SET_BY_ROLLOUT)
                reason = f"version {canary} is rolled out beside version {stable}"
                record = await self.ledger.commit(record, EventKind.STARTED, reason, by, kept, {})
                self._compare_anew(model)
                self._book.take(kept)
                self._runs[model] = Run(record, self._clock())
                self._follow(self._runs[model])
                return record

    async def pause(self, model: str, reason: str, by: str) -> Record:
        async with self._ordered(model) as run:
            if run.record.state is RolloutState.PAUSED:
                raise FailedPrecondition(f"the rollout of '{model}' is paused already")
            return await self._restate(run, RolloutState.PAUSED, EventKind.PAUSED, reason or "by order", by)

    async def resume_paused(self, model: str, reason: str, by: str) -> Record:
        async with self._ordered(model) as run:
            if run.record.state is not RolloutState.PAUSED:
                raise FailedPrecondition(f"the rollout of '{model}' is not paused: it is {run.record.state}")
            return await self._restate(run, RolloutState.RUNNING, EventKind.RESUMED, reason or "by order", by)

    async def promote(self, model: str, reason: str, by: str, *, full: bool) -> Record:
        """To the next step, or with `full` to the last; at the last step it is done."""
        async with self._ordered(model) as run:
            last = len(run.record.plan.steps) - 1
            step = last if full and not run.record.is_at_last_step else run.record.step + 1
            return await self._go_to(run, step, reason or "by order", by)

    async def roll_back(self, model: str, reason: str, by: str) -> Record:
        """All requests to the version before; also after the end, where that is still to be had."""
        async with self.lock(model):
            run = self._runs.get(model)
            if run is not None:
                return await self._go_back(run, reason or "by order", by)
            record = self._done_record(model)
            async with self._bringing.brought(model, {record.stable}):
                return await self._take_back(record, {}, reason or "by order", by)

    async def abort(self, model: str, reason: str, by: str) -> Record:
        """Ends the rollout; requests go on being shared as they are."""
        async with self._ordered(model) as run:
            ended = replace(run.record, state=RolloutState.ABORTED, ended_at_s=self.ledger.now_s())
            ended = replace(ended, progress=run.progress())
            route = stages.aborted(stages.under_way(run.record))
            kept = self._book.following(model, route, SET_BY_ROLLOUT)
            evidence = run.evidence()
            record = await self.ledger.commit(
                ended, EventKind.ABORTED, reason or "by order", by, kept, evidence
            )
            self._book.take(kept)
            self._end(run, record)
            return record

    async def set_route(self, model: str, route: Route | None, by: str, declared: str | None = None) -> None:
        """A route that no rollout has made; None: the newest version answers."""
        async with self.lock(model):
            if model in self._runs:
                raise FailedPrecondition(
                    f"a rollout of '{model}' is under way: end it before the route is set"
                )
            if route is None:
                await self._keep_route(self._book.following(model, None, by), declared)
            else:
                async with self._bringing.brought(model, route.versions):
                    await self._keep_route(self._book.following(model, route, by), declared)
        self.settle(model)

    async def look(self) -> None:
        """Looks at every rollout under way once, and carries out what follows.

        No rollout waits for another one, nor for what is only written: a look is over after its interval,
        and what then still waits for the disk goes on by itself.
        """
        now_s = self._clock()
        for model, run in list(self._runs.items()):
            if not self.lock(model).locked():
                self._own(self._looking, partial(self._look_locked, model, run, now_s))
                await asyncio.sleep(0)  # requests get their turn between two rollouts
        if self._keeping is None or self._keeping.done():
            self._keeping = self._own(self._looking, partial(self._keep, now_s))
        if self._looking:
            await asyncio.wait(self._looking, timeout=LOOK_INTERVAL_S)

    def compared(self, model: str, live: int, shadow: int, pairs: int, disagreeing: int) -> None:
        """Told of compared answers of two versions."""
        run = self._runs.get(model)
        if run is not None and (run.record.stable, run.record.canary) == (live, shadow):
            run.compared(pairs, disagreeing)

    def paired(self, pairs: Sequence[Pair]) -> None:
        """Told of requests that a live version and a shadow have executed."""
        for pair in pairs:
            run = self._runs.get(pair.model)
            if run is not None and (run.record.stable, run.record.canary) == (
                pair.live_version,
                pair.shadow_version,
            ):
                run.paired(pair)

    def settle(self, model: str) -> None:
        """Loads and unloads, in time, what routes need or need no more."""
        self._own(self._settling, partial(self._lifecycle.follow, model))

    async def stop(self) -> None:
        """Keeps what was seen (ConfigError or OSError where that cannot be), and watches nothing any more."""
        for task in list(self._settling):
            task.cancel()
        try:
            if self._looking:  # decisions that are being written are carried out
                await asyncio.wait(self._looking, timeout=STOP_TIMEOUT_S)
            if self._journal.has_lock:
                await self.ledger.save_unsaved()
                await self._save_progress()
        finally:
            for task in list(self._looking):
                task.cancel()
            for run in self._runs.values():
                run.end()

    async def _look_locked(self, model: str, run: Run, now_s: float) -> None:
        async with self.lock(model):
            if self._runs.get(model) is run:
                await self._look_at(run, now_s)

    async def _keep(self, now_s: float) -> None:
        """Writes what is due to be written."""
        await self.ledger.save_unsaved()
        await self._let_previous_go()
        if now_s - self._saved_at_s >= SAVE_INTERVAL_S and self._runs:
            self._saved_at_s = now_s
            await self._save_progress()

    async def _save_progress(self) -> None:
        records = [replace(run.record, progress=run.progress()) for run in self._runs.values()]
        await self.ledger.save_progress(records)

    async def _keep_route(self, kept: KeptRoute, declared: str | None = None) -> None:
        """Kept first, then in force."""
        await self.ledger.save_route(kept, declared)
        self._book.take(kept)

    def _own(self, tasks: set[asyncio.Task[None]], work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """A task that is in `tasks` until it ends; what goes wrong in it is told."""
        task = asyncio.get_running_loop().create_task(self._told(work))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task

    async def _told(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except (HeadraceError, OSError) as error:
            logger.error("rollouts: %s", error)
        except Exception:
            logger.exception("a look at a rollout failed: this is a bug")

    async def _look_at(self, run: Run, now_s: float) -> None:
        self._follow(run)
        decision = run.look(now_s, self._trouble(run))
        try:
            await self._carry_out(run, decision)
        except (ConfigError, OSError) as error:
            logger.error("rollout of '%s' waits: it cannot be kept: %s", run.record.model, error)

    async def _carry_out(self, run: Run, decision: Decision) -> None:
        record = run.record
        match decision.action:
            case Action.ROLL_BACK:
                await self._go_back(run, decision.reason, SERVER)
            case Action.PROMOTE:
                await self._go_to(run, record.step + 1, decision.reason, SERVER)
            case Action.AWAIT_APPROVAL if record.state is RolloutState.RUNNING:
                await self._restate(run, RolloutState.WAITING, EventKind.WAITING, decision.reason, SERVER)
            case Action.HOLD:
                run.enter(replace(record, reason=decision.reason))

    async def _go_to(self, run: Run, step: int, reason: str, by: str) -> Record:
        """The next step, or the end after the last one."""
        record, evidence, now_s = run.record, run.evidence(), self.ledger.now_s()
        if step < len(record.plan.steps):
            entered = replace(
                record,
                step=step,
                state=RolloutState.RUNNING,
                step_started_at_s=now_s,
                progress=run.progress(is_next_step=True),
            )
            kept = self._book.following(record.model, stages.under_way(entered), SET_BY_ROLLOUT)
            entered = await self.ledger.commit(entered, EventKind.PROMOTED, reason, by, kept, evidence)
            self._book.take(kept)
            run.enter(entered)
            return entered
        ended = replace(record, state=RolloutState.DONE, ended_at_s=now_s, progress=run.progress())
        until_s = now_s + record.plan.keep_previous_s
        kept = self._book.following(record.model, stages.done(record), SET_BY_ROLLOUT, until_s)
        ended = await self.ledger.commit(ended, EventKind.DONE, reason, by, kept, evidence)
        self._book.take(kept)
        self._end(run, ended)
        return ended

    async def _go_back(self, run: Run, reason: str, by: str) -> Record:
        evidence = run.evidence()
        record = replace(run.record, progress=run.progress())
        run.end()
        return await self._take_back(record, evidence, reason, by)

    async def _take_back(self, record: Record, evidence: dict[str, Any], reason: str, by: str) -> Record:
        """Requests go back at once; that this is so is kept as soon as it can be."""
        kept = self._book.following(record.model, stages.rolled_back(record), SET_BY_ROLLOUT)
        self._book.take(kept)
        now_s = self.ledger.now_s()
        ended = replace(record, state=RolloutState.ROLLED_BACK, ended_at_s=now_s, reason=reason)
        self._close(ended)
        await self.ledger.commit_way_back(ended, by, kept, evidence)
        return ended

    async def _restate(self, run: Run, state: RolloutState, kind: EventKind, reason: str, by: str) -> Record:
        restated = replace(run.record, state=state, progress=run.progress())
        record = await self.ledger.commit(restated, kind, reason, by, None, run.evidence())
        run.enter(record)
        return record

    def _end(self, run: Run, record: Record) -> None:
        run.end()
        self._close(record)

    def _close(self, record: Record) -> None:
        self._runs.pop(record.model, None)
        self._last[record.model] = record
        self.settle(record.model)

    def _follow(self, run: Run) -> None:
        ready = self._registry.ready(run.record.model)
        run.follow(ready.get(run.record.stable), ready.get(run.record.canary))

    def _trouble(self, run: Run) -> str:
        record = run.record
        if self._router.breakers(record.model).get(record.canary) is BreakerState.OPEN:
            return f"the circuit breaker of version {record.canary} has opened"
        canary = self._registry.ready(record.model).get(record.canary)
        if canary is not None and canary.digest != record.digest:
            return f"version {record.canary} has been replaced by other files"
        return ""

    async def _let_previous_go(self) -> None:
        """Versions before are kept until their time is over."""
        now_s = self.ledger.now_s()
        for kept in self._book:
            route = kept.route
            if not kept.previous_until_s or kept.previous_until_s > now_s or route is None:
                continue
            if PREVIOUS in route.labels and not self.lock(kept.model).locked():
                async with self.lock(kept.model):
                    bare = self._book.following(kept.model, stages.without_previous(route), kept.set_by)
                    await self._keep_route(bare)
                self.settle(kept.model)

    @asynccontextmanager
    async def _ordered(self, model: str) -> AsyncIterator[Run]:
        """The model's rollout under way, for one who gives an order."""
        async with self.lock(model):
            run = self._runs.get(model)
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
        record = self._last.get(model)
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
