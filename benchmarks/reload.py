"""What callers notice of reloads: requests keep coming while versions come and go."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count

import uvloop

from benchmarks import servers
from benchmarks.clients import Answer, OpenLoop
from benchmarks.effort import Effort
from benchmarks.models import Network, repository, tiny, wide
from benchmarks.report import Figure, Report, at_most, ratios
from benchmarks.servers import RunningServer
from benchmarks.summary import percentile

REQUESTS_PER_S = 400.0
WINDOW_S = 6.0
WARMUP_S = 2.0
CALL_INTERVAL_S = 0.25
LOOK_INTERVAL_S = 0.1
VERSION_TIMEOUT_S = 15.0

POLL = ("--repository-poll-interval-s", "0.5", "--repository-settle-time-s", "0.3")
EXPLICIT = ("--model-control-mode", "explicit", "--load-model", "tiny")

Change = Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Windows:
    """Answers of quiet windows and of those with reloads, round by round."""

    quiet: list[list[Answer]] = field(default_factory=list)
    busy: list[list[Answer]] = field(default_factory=list)
    changes: int = 0

    @property
    def failed(self) -> int:
        return sum(answer.code is not None for window in self.quiet + self.busy for answer in window)


def run(effort: Effort) -> Report:
    window_s = effort.seconds(WINDOW_S)
    return Report(
        (
            *_figures("versions copied in", _while_versions_are_copied(effort)),
            *_figures("load and unload calls", _while_models_are_loaded(effort)),
        ),
        (f"{REQUESTS_PER_S:g} requests/s at fixed times; windows of {window_s:g} s, quiet and busy in turn",),
    )


def _figures(name: str, windows: Windows) -> tuple[Figure, ...]:
    quiet_ms = tuple(_p99_ms(answers) for answers in windows.quiet)
    busy_ms = tuple(_p99_ms(answers) for answers in windows.busy)
    return (
        Figure(f"{name}: failed requests", (windows.failed,), goal=at_most(0)),
        Figure(f"{name}: p99 ÷ p99 before", ratios(busy_ms, quiet_ms), goal=at_most(2.0)),
        Figure(f"{name}: p99 before", quiet_ms, "ms"),
        Figure(f"{name}: p99", busy_ms, "ms"),
        Figure(f"{name}: how many", (windows.changes,)),
    )


def _p99_ms(answers: list[Answer]) -> float:
    return percentile([answer.latency_ms for answer in answers], 99)


def _while_versions_are_copied(effort: Effort) -> Windows:
    """In poll mode: each copy is the newest version, and so replaces the one before."""
    network, versions = tiny(), count(2)
    with repository(network) as folder, servers.headrace(folder, *POLL) as server:

        async def copy() -> None:
            version = next(versions)
            network.write(folder, version)
            await asyncio.to_thread(_wait_for_version, server, network, version)

        return uvloop.run(_observe(server, effort, copy))


def _wait_for_version(server: RunningServer, network: Network, version: int) -> None:
    """Returns once `version` answers."""
    deadline_s = time.monotonic() + VERSION_TIMEOUT_S
    while server.control.infer(network.request()).model_version != str(version):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"version {version} does not answer {VERSION_TIMEOUT_S:g} s after its copy")
        time.sleep(LOOK_INTERVAL_S)


def _while_models_are_loaded(effort: Effort) -> Windows:
    """In explicit mode: the model that answers is loaded anew, and a bigger one comes and goes."""
    with repository(tiny(), wide()) as folder, servers.headrace(folder, *EXPLICIT) as server:
        control = server.control
        calls = [(control.load, "tiny"), (control.load, "wide"), (control.unload, "wide")]

        async def call() -> None:
            order, model = calls[0]
            calls.append(calls.pop(0))
            await asyncio.to_thread(order, model)
            await asyncio.sleep(CALL_INTERVAL_S)

        return uvloop.run(_observe(server, effort, call))


async def _observe(server: RunningServer, effort: Effort, change: Change) -> Windows:
    """Steady traffic on the tiny network, with one `change` after the other in every busy window."""
    network, windows = tiny(), Windows()
    clock = asyncio.get_running_loop().time
    expected = server.control.infer(network.request()).raw_output_contents[0]
    async with OpenLoop(server.port, network.request(), expected, REQUESTS_PER_S) as traffic:
        await asyncio.sleep(WARMUP_S)
        traffic.take()
        for _ in range(effort.rounds):
            await asyncio.sleep(effort.seconds(WINDOW_S))
            windows.quiet.append(traffic.take())
            end_s = clock() + effort.seconds(WINDOW_S)
            while clock() < end_s:
                await change()
                windows.changes += 1
            windows.busy.append(traffic.take())
    windows.busy[-1] += traffic.take()
    return windows
