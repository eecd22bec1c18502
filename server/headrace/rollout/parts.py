"""Builds the parts of rollouts, starts them in order and stops them in reverse order."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headrace.core.plan import Plan
from headrace.core.route import PER_MILLE
from headrace.metrics.routing import RolloutSample, RoutingSample
from headrace.model.lifecycle import Lifecycle
from headrace.model.model import Model
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
from headrace.rollout.record import Record
from headrace.rollout.rollouts import Rollouts
from headrace.rollout.route_book import RouteBook
from headrace.rollout.runs import Runs
from headrace.rollout.service import RolloutService
from headrace.rollout.transitions import Transitions
from headrace.rollout.watch import Watch
from headrace.router.router import Router
from headrace.router.shadow.meter import Meter
from headrace.router.shadow.mirrors import Mirrors
from headrace.router.shadow.pair import Pair
from headrace.router.shadow.spare import SpareCapacity
from headrace.settings import RolloutSettings


class RolloutParts:
    """Everything that routes and rolls out, around a router that does as it is told."""

    def __init__(
        self,
        settings: RolloutSettings,
        server_name: str,
        state_dir: Path,
        cores: float,
        registry: Registry,
        lifecycle: Lifecycle,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._settings = settings
        self.comparer = Comparer(loop, self._compared, keeps_inputs=self._captures_inputs)
        self.mirrors = Mirrors(
            _finder(registry),
            registry.models,
            SpareCapacity(Meter().read, cores),
            self,
            loop,
            self._captures_inputs,
        )
        self.router = Router(registry, loop, self.mirrors)
        self.news = News(settings, server_name)
        self._journal = Journal(state_dir, self.news.announce, settings.keep_rollouts)
        book = RouteBook(self.router)
        self._runs = runs = Runs()
        self._ledger = ledger = Ledger(self._journal)
        bringing = Bringing(registry, self.router, lifecycle)
        transitions = Transitions(runs, book, ledger, bringing.settle, self.comparer.reset)
        rollouts = Rollouts(runs, registry, bringing, book, ledger, transitions)
        declarations = Declarations(
            registry, book, self._journal, runs, rollouts, transitions, self._check_gates
        )
        comparisons = ComparisonKeeper(self.comparer, self._journal)
        self._prometheus = Prometheus(settings)
        self._functions = GateFunctions(settings.gate_functions)
        self._outside = outside = OutsideGates(self._prometheus, self._functions)
        self._controller = RolloutController(
            self._journal,
            book,
            runs,
            Watch(runs, registry, book, transitions),
            Keeping(runs, book, ledger, transitions, comparisons),
            bringing,
            declarations,
            outside,
            self.news,
        )
        self.service = RolloutService(
            self._controller,
            runs,
            rollouts,
            declarations,
            book,
            self._journal,
            self.router,
            lifecycle,
            self._comparison,
            self._check_gates,
        )
        lifecycle.needed = lambda name: bringing.needed(name) | declarations.needed(name)
        lifecycle.declared = declarations.take

    async def start(self) -> None:
        """Before any model is loaded, so that routes are in force from the first request on.

        ConfigError tells what is wrong with the settings.
        """
        if not self._settings.enabled:
            return
        await asyncio.to_thread(self._prometheus.check)
        await asyncio.to_thread(self.news.check)
        await asyncio.to_thread(self._functions.load)
        await self._controller.start()

    def run(self) -> None:
        """The models of the start are loaded: rollouts go on."""
        if self._settings.enabled:
            self._controller.run()

    async def stop(self) -> None:
        """What was seen is kept."""
        await self._controller.stop()
        self.mirrors.stop()
        await self.comparer.stop()

    def sample(self) -> RoutingSample:
        """Routes, shadows and rollouts as they are now, for a scrape."""
        return RoutingSample(
            routed={(model, version, why): count for model, version, why, count in self.router.counts()},
            shadowed={(model, version, what): count for model, version, what, count in self.mirrors.counts()},
            uncompared={"dropped": self.comparer.dropped_count, "failed": self.comparer.failed_count},
            breakers={
                (model, str(version)): state.value
                for model in self.router.routed_names()
                for version, state in self.router.breakers(model).items()
            },
            rollouts=[_sample(run.record) for run in self._runs.all()],
            events=self._ledger.counts,
            webhooks=self.news.counts,
        )

    def take(self, pairs: Sequence[Pair]) -> None:
        """What shadows have executed: for the rollouts, and to be compared."""
        self._runs.paired(pairs)
        self.comparer.take(pairs)

    def _check_gates(self, plan: Plan) -> None:
        self._outside.check(plan)

    def _compared(self, model: str, live: int, shadow: int, pairs: int, disagreeing: int) -> None:
        self._runs.compared(model, live, shadow, pairs, disagreeing)

    def _captures_inputs(self, model: str) -> bool:
        return self._settings.capture_inputs

    def _comparison(self, model: str, live: int, shadow: int) -> Mapping[str, Any] | None:
        comparison = self.comparer.of(model, live, shadow)
        return comparison.to_document() if comparison else None


def _sample(record: Record) -> RolloutSample:
    return RolloutSample(
        record.model,
        str(record.canary),
        record.state.value,
        record.step + 1,
        len(record.plan.steps),
        record.current.weight / PER_MILLE,
    )


def _finder(registry: Registry) -> Callable[[str, int], Model | None]:
    return lambda model, version: registry.ready(model).get(version)
