"""Everything of rollouts but what executes, on clocks that stand still, and disks that are full or slow."""

import asyncio
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

from headrace.core.plan import (
    DisagreementGate,
    ErrorRateGate,
    Gates,
    LatencyGate,
    Plan,
    Step,
)
from headrace.core.request import InferenceResponse, Timings
from headrace.errors import (
    ExecutionFailed,
)
from headrace.model.registry import Registry
from headrace.rollout.bringing import Bringing
from headrace.rollout.comparison.comparer import Comparer
from headrace.rollout.comparison_keeper import ComparisonKeeper
from headrace.rollout.controller import RolloutController
from headrace.rollout.declarations import Declarations
from headrace.rollout.journal import Journal
from headrace.rollout.keeping import Keeping
from headrace.rollout.ledger import Ledger
from headrace.rollout.news import News
from headrace.rollout.outside.functions import GateFunctions
from headrace.rollout.outside.prometheus import Prometheus
from headrace.rollout.outside_gates import OutsideGates
from headrace.rollout.rollouts import Rollouts
from headrace.rollout.route_book import RouteBook
from headrace.rollout.runs import Runs
from headrace.rollout.service import RolloutService
from headrace.rollout.transitions import Transitions
from headrace.rollout.watch import Watch
from headrace.router.router import Router
from headrace.router.shadow.pair import Pair
from headrace.settings import RolloutSettings
from support.loops import run
from support.routing import FakeModel, a_request

GATES = Gates(ErrorRateGate(), (), DisagreementGate())
ALL_GATES = replace(GATES, latency=(LatencyGate(),))
STEPS = (
    Step(0, 1000, min_duration_s=5, min_requests=20),
    Step(50, min_duration_s=5, min_requests=20),
    Step(500, min_duration_s=5, min_requests=20),
    Step(1000, min_duration_s=0, min_requests=0),
)
PLAN = Plan(steps=STEPS, gates=GATES, keep_previous_s=100)


class RoutedModel(FakeModel):
    """A version with files of its own."""

    def __init__(self, version, digest="a"):
        super().__init__(version)
        self.digest = f"{version}{digest}"

    def answer(self, count, ms=1.0, failed=0):
        for watch in list(self.watches):
            watch.answered([int(ms * 1e6)] * count)
            for _ in range(failed):
                watch.failed([ExecutionFailed("no")])


class FakeLifecycle:
    """Loads what is needed of what is on disk."""

    def __init__(self, registry, *on_disk):
        self.registry = registry
        self.on_disk = set(on_disk)
        self.needed = lambda name: frozenset()
        self.known_names = ["m"]

    def loadable(self, name):
        return self.on_disk

    async def follow(self, name):
        ready = dict(self.registry.ready(name))
        for version in self.needed(name) & self.on_disk:
            ready.setdefault(version, RoutedModel(version))
        self.registry.publish(name, ready)


class House:
    """Everything of rollouts but what executes, with clocks that stand still."""

    def __init__(self, folder, *versions, on_disk=(), keep_rollouts=100):
        self.time_s = 1000.0
        self.registry = Registry()
        loop = asyncio.get_running_loop()
        self.router = Router(self.registry, loop)
        self.lifecycle = FakeLifecycle(self.registry, *versions, *on_disk)
        settings = RolloutSettings()
        self.comparer = Comparer(loop)
        self.news = News(settings, "test")
        self.journal = Journal(folder, self.news.announce, keep_rollouts)
        self.book = book = RouteBook(self.router)
        clock = lambda: self.time_s  # noqa: E731
        self.runs = runs = Runs(clock)
        self.bringing = bringing = Bringing(self.registry, self.router, self.lifecycle)
        self.lifecycle.needed = bringing.needed
        self.ledger = ledger = Ledger(self.journal, clock)
        transitions = Transitions(runs, book, ledger, bringing.settle, self.comparer.reset)
        self.rollouts = Rollouts(runs, self.registry, bringing, book, ledger, transitions)
        self.watch = Watch(runs, self.registry, book, transitions)
        self.keeping = Keeping(runs, book, ledger, transitions, ComparisonKeeper(self.comparer, self.journal))
        outside = OutsideGates(Prometheus(settings), GateFunctions(()))
        self.declarations = Declarations(
            self.registry, book, self.journal, runs, self.rollouts, transitions, outside.check
        )
        self.controller = RolloutController(
            self.journal,
            book,
            runs,
            self.watch,
            self.keeping,
            bringing,
            self.declarations,
            outside,
            self.news,
        )
        self.service = RolloutService(
            self.controller,
            runs,
            self.rollouts,
            self.declarations,
            book,
            self.journal,
            self.router,
            self.lifecycle,
            lambda *_: None,
            outside.check,
        )
        self.publish(*versions)

    def publish(self, *versions, digest="a"):
        self.registry.publish("m", {version: RoutedModel(version, digest) for version in versions})

    def model(self, version):
        return self.registry.ready("m")[version]

    def shares(self, count=1000):
        before = {version: len(model.requests) for version, model in self.registry.ready("m").items()}
        for _ in range(count):
            self.router.route(a_request()).submit(a_request(), None)
        after = {version: len(model.requests) for version, model in self.registry.ready("m").items()}
        return {
            version: after[version] - before[version] for version in after if after[version] > before[version]
        }

    async def start(self, plan=PLAN, canary=2, stable=1):
        return await self.service.start_rollout("m", canary, stable, plan, "alice", dry_run=False)

    async def pass_time(self, seconds=1.0, stable=0, canary=0, pairs=0, disagreeing=0, failed=0, ms=1.0):
        """In looks of a quarter of a second; the requests come in each of them."""
        for _ in range(int(seconds / 0.25)):
            self.time_s += 0.25
            if 1 in self.registry.ready("m"):
                self.model(1).answer(stable)
            if 2 in self.registry.ready("m"):
                self.model(2).answer(canary, ms, failed)
            if pairs:
                self.runs.compared("m", 1, 2, pairs, disagreeing)
            await self.look()

    async def look(self, timeout_s=5.0):
        """What the controller does four times a second, and what follows from it."""
        await self.controller.look()
        await self.watch.wait(timeout_s)
        await self.keeping.wait(timeout_s)

    async def declare(self, serving=None):
        """What the configuration says from now on, or still says; a look later."""
        if serving is not None:
            self.declarations.take("m", serving)
        self.declarations.look()
        await asyncio.gather(*self.declarations._working.values())

    @property
    def state(self):
        return self.service.status("m")[0]


@asynccontextmanager
async def house(folder, *versions, **options):
    built = House(folder, *versions, **options)
    await built.controller.start()
    try:
        yield built
    finally:
        await built.controller.stop()
        await built.comparer.stop()


def played(folder, scene, *versions, **options):
    """Runs `scene(house)` with these versions ready."""

    async def main():
        async with house(folder, *versions, **options) as built:
            await scene(built)

    run(main())


def a_pair(live_ms=1.0, shadow_ms=1.0, error=None):
    """A request that both versions have executed."""

    def timings(ms):
        return Timings(compute_infer_ns=int(ms * 1e6))

    answer = InferenceResponse("m", "1", "", [])
    return Pair("m", 1, 2, "", 0, answer, error or answer, 0, 0, timings(live_ms), timings(shadow_ms))


class FullDisk:
    """A store whose commits fail for as long as `is_full`."""

    def __init__(self, store):
        self.is_full = True
        self._store = store

    def __getattr__(self, name):
        wanted = getattr(self._store, name)
        if self.is_full and name in ("commit", "save_route", "save_progress"):

            def refuse(*_):
                raise OSError("disk full")

            return refuse
        return wanted


class SlowDisk:
    """A store whose commits wait until they are let through."""

    def __init__(self, store):
        self.through = threading.Event()
        self.entered = threading.Event()
        self._store = store

    def __getattr__(self, name):
        wanted = getattr(self._store, name)
        if name != "commit":
            return wanted

        def wait(*arguments):
            self.entered.set()
            assert self.through.wait(30)
            return wanted(*arguments)

        return wait


def slow_disk(on):
    disk = SlowDisk(on.journal._store)
    on.journal._store = disk
    return disk


def fill_disk(on):
    disk = FullDisk(on.journal._store)
    on.journal._store = disk
    return disk
