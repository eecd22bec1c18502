"""What shadows cost those who are answered: live throughput with and without one, and the time to route."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, cast

import uvloop

from benchmarks import machine
from benchmarks.effort import Effort
from benchmarks.models import Network, convolution, repository, tiny
from benchmarks.report import Figure, Report, at_least, at_most, differences, ratios
from headrace.core.request import NO_PARAMETERS, InferenceRequest, InferenceResponse, Reply
from headrace.core.route import Route, Shadow, Weight
from headrace.core.tensor import DataType, Tensor
from headrace.errors import HeadraceError
from headrace.instance.planner import Machine
from headrace.model.lifecycle import Lifecycle
from headrace.model.loader import Loader
from headrace.model.registry import Registry
from headrace.repository.repository import Repository
from headrace.rollout.comparison.comparer import Comparer
from headrace.router.router import Router
from headrace.router.shadow.meter import Meter
from headrace.router.shadow.mirrors import Mirrors
from headrace.router.shadow.spare import SpareCapacity
from headrace.server import SWITCH_INTERVAL_S
from headrace.settings import ExecutionSettings

# Turns of each kind in a round, short ones because what else the machine does changes from second to second.
TURNS = 10
TURN_S = 0.4
SETTLE_S = 0.1

ROUTED_REQUESTS = 100_000
ROUTED_AT_ONCE = 500

STABLE = Route(weights=(Weight(1, 1000),))
MIRRORED = Route(weights=(Weight(1, 1000),), shadows=(Shadow(2),))
CANARY = Route(weights=(Weight(1, 950), Weight(2, 50)))
IDLE_SHADOW = Route(weights=(Weight(1, 950), Weight(2, 50)), shadows=(Shadow(3, 1),))


@dataclass(frozen=True, slots=True)
class Case:
    """So many callers, each with one request at a time; `goal` is for live throughput with ÷ without."""

    name: str
    network: Callable[[], Network]
    callers: int
    goal: float | None = None


def cases() -> tuple[Case, ...]:
    cores = machine.cores()
    return (
        Case("convolution, callers queue", convolution, 8 * cores, 0.95),
        Case("convolution, a caller a core", convolution, cores, 0.95),
        Case("tiny, callers queue", tiny, 32 * cores, 0.95),
        Case("convolution, one caller", convolution, 1),
    )


@dataclass(slots=True)
class Turns:
    """Turns of one kind, together: live requests, and of these the pairs that were compared."""

    seconds: float = 0.0
    requests: int = 0
    pairs: int = 0

    @property
    def rate(self) -> float:
        return self.requests / self.seconds

    @property
    def compared_percent(self) -> float:
        return 100 * self.pairs / max(1, self.requests)


@dataclass(slots=True)
class Round:
    """Turns without and with a shadow, one after the other."""

    without: Turns = field(default_factory=Turns)
    mirrored: Turns = field(default_factory=Turns)


def run(effort: Effort) -> Report:
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    figures: list[Figure] = []
    for case in cases():
        rounds = uvloop.run(_measure(case, effort))
        rates = ratios([each.mirrored.rate for each in rounds], [each.without.rate for each in rounds])
        goal = at_least(case.goal) if case.goal else None
        compared = tuple(each.mirrored.compared_percent for each in rounds)
        figures += [
            Figure(f"{case.name}: requests/s, shadow at 100% ÷ none", rates, goal=goal),
            Figure(f"{case.name}: without", tuple(each.without.rate for each in rounds), "1/s"),
            Figure(f"{case.name}: compared", compared, "%"),
        ]
    return Report((*figures, *uvloop.run(_route(effort))))


async def _measure(case: Case, effort: Effort) -> list[Round]:
    network, rounds = case.network(), [Round() for _ in range(effort.rounds)]
    with repository(network) as folder:
        _add_shadow(network, folder)
        async with _served(folder) as served:
            callers = [Caller(network, served.router) for _ in range(case.callers)]
            for caller in callers:
                caller.ask()
            for each in rounds:
                for number in range(effort.count(TURNS)):
                    for turns in (
                        (each.without, each.mirrored) if number % 2 else (each.mirrored, each.without)
                    ):
                        served.router.set_route(network.name, MIRRORED if turns is each.mirrored else STABLE)
                        await _take_turn(served, callers, turns)
            for caller in callers:
                await caller.leave()
    return rounds


async def _take_turn(served: "Served", callers: "list[Caller]", turns: Turns) -> None:
    await asyncio.sleep(SETTLE_S)
    pairs, requests = served.pairs, sum(caller.count for caller in callers)
    start_s = time.monotonic()
    await asyncio.sleep(TURN_S)
    turns.seconds += time.monotonic() - start_s
    turns.requests += sum(caller.count for caller in callers) - requests
    turns.pairs += served.pairs - pairs


class Served:
    """Two versions of a network, routed as the server does, without transports."""

    def __init__(self, router: Router, mirrors: Mirrors) -> None:
        self.router = router
        self._mirrors = mirrors

    @property
    def pairs(self) -> int:
        """Pairs of answers that were compared so far."""
        return sum(count for _, _, outcome, count in self._mirrors.counts() if outcome == "paired")


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[Served]:
    loop = asyncio.get_running_loop()
    executor, disk, registry = ThreadPoolExecutor(2), Repository(folder), Registry()
    cores = machine.cores()
    loader = Loader(disk, Machine(cores), ExecutionSettings(), executor, loop)
    lifecycle = Lifecycle(disk, registry, loader, executor, loop)
    await lifecycle.apply(await lifecycle.rescan())
    comparer = Comparer(loop)
    mirrors = Mirrors(
        lambda name, version: registry.ready(name).get(version),
        registry.models,
        SpareCapacity(Meter().read, cores),
        comparer,
        loop,
    )
    yield Served(Router(registry, loop, mirrors), mirrors)
    mirrors.stop()
    await comparer.stop()
    await lifecycle.stop(10)
    executor.shutdown()


def _add_shadow(network: Network, folder: Path) -> None:
    """Version 2, of the same file, beside version 1."""
    network.write(folder, 2)
    with (folder / network.name / "config.yaml").open("a") as config:
        config.write("version_policy: all\n")


class Caller:
    """Asks again as soon as it is answered."""

    def __init__(self, network: Network, router: Router) -> None:
        self.count = 0
        self.is_wanted = True
        self._name = network.name
        self._tensor = Tensor("x", DataType.FP32, (1, *network.input_dims), network.rows(1).tobytes())
        self._router = router
        self._gone: asyncio.Future[None] | None = None

    def ask(self) -> None:
        request = _request(self._name, [self._tensor])
        self._router.route(request).submit(request, self)

    def complete(self, response: InferenceResponse) -> None:
        self.count += 1
        if self._gone is None:
            self.ask()
        else:
            self._gone.set_result(None)

    def fail(self, error: HeadraceError) -> None:
        raise RuntimeError("a request failed") from error

    async def leave(self) -> None:
        """Returns once nothing is under way."""
        self._gone = asyncio.get_running_loop().create_future()
        await self._gone


async def _route(effort: Effort) -> tuple[Figure, ...]:
    """What routing a request takes with and without a canary and a shadow, against models that do nothing."""
    loop = asyncio.get_running_loop()
    registry = Registry()
    registry.publish("m", cast(Any, {version: _Nothing("m", version) for version in (1, 2, 3)}))
    mirrors = Mirrors(
        lambda name, version: registry.ready(name).get(version),
        registry.models,
        SpareCapacity(Meter().read, machine.cores()),
        _Forgetting(),
        loop,
    )
    times_us: dict[str, list[float]] = {"none": [], "canary": [], "shadow": []}
    routers = {name: Router(registry, loop, mirrors) for name in times_us}
    routers["canary"].set_route("m", CANARY)
    routers["shadow"].set_route("m", IDLE_SHADOW)
    for _ in range(effort.rounds):
        for name, us in _routing_us(routers, effort.count(ROUTED_REQUESTS)).items():
            times_us[name].append(us)
    mirrors.stop()
    return (
        Figure(
            "routing with a canary and an idle shadow, beyond none",
            differences(times_us["shadow"], times_us["none"]),
            "µs",
            at_most(1.0),
        ),
        Figure("routing with a canary, beyond none", differences(times_us["canary"], times_us["none"]), "µs"),
        Figure("routing without a route", tuple(times_us["none"]), "µs"),
    )


def _routing_us(routers: dict[str, Router], count: int) -> dict[str, float]:
    """The median over turns, each of which measures every router."""
    requests, reply = [_request("m", []) for _ in range(ROUTED_AT_ONCE)], _Silent()
    turns_ns: dict[str, list[int]] = {name: [] for name in routers}
    for _ in range(max(1, count // ROUTED_AT_ONCE)):
        for name, router in routers.items():
            start_ns = time.perf_counter_ns()
            for request in requests:
                router.route(request).submit(request, reply)
            turns_ns[name].append(time.perf_counter_ns() - start_ns)
    return {name: median(turns) / ROUTED_AT_ONCE / 1000 for name, turns in turns_ns.items()}


def _request(name: str, inputs: list[Tensor]) -> InferenceRequest:
    return InferenceRequest(name, "", "", inputs, [], NO_PARAMETERS, time.monotonic_ns())


class _Nothing:
    """A model that takes requests and forgets them."""

    queue_depth = 0

    def __init__(self, name: str, version: int) -> None:
        self.name = name
        self.version = version

    def watch_ability(self, changed: Callable[[], None]) -> None:
        """It never changes."""

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Never answered."""


class _Silent:
    """A caller who waits for nothing."""

    is_wanted = True

    def complete(self, response: InferenceResponse) -> None:
        """Never called."""

    def fail(self, error: HeadraceError) -> None:
        """Never called."""


class _Forgetting:
    """Compares nothing."""

    def take(self, pairs: Sequence[Any]) -> None:
        """Never called."""
