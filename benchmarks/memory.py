"""Whether memory stays flat over many reloads and many requests; `benchmarks.soak` is the long form."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks import h2load, servers
from benchmarks.effort import Effort
from benchmarks.h2load import Load
from benchmarks.models import repository, tiny, wide
from benchmarks.report import Figure, Report, at_most
from benchmarks.servers import RunningServer
from benchmarks.summary import slope

RELOADS = 150
REQUESTS = 100_000
STEPS = 50
SETTLE_S = 0.3
IN_FLIGHT = 64
GROWTH_LIMIT = 1.10

EXPLICIT = ("--model-control-mode", "explicit")


@dataclass(frozen=True, slots=True)
class Point:
    """Resident memory after so many requests, or loads and unloads."""

    done: int
    resident_bytes: int


def run(effort: Effort) -> Report:
    reloaded = list(reloads(effort.count(RELOADS)))
    requested = list(requests(effort.count(REQUESTS)))
    return Report(
        (
            Figure(
                f"growth over {reloaded[-1].done} reloads", (growth(reloaded),), goal=at_most(GROWTH_LIMIT)
            ),
            Figure("growth a reload", (bytes_each(reloaded) / 1000,), "kB"),
            Figure(
                f"growth over {requested[-1].done:,} requests",
                (growth(requested),),
                goal=at_most(GROWTH_LIMIT),
            ),
            Figure("growth a request", (bytes_each(requested),), "bytes"),
        ),
        ("the most resident memory in the last tenth ÷ the most in the second tenth",),
    )


def reloads(count: int) -> Iterator[Point]:
    """Loads a model of 25 MB, asks it once and unloads it, `count` times in `STEPS` steps."""
    network = wide()
    with repository(network) as folder, servers.headrace(folder, *EXPLICIT) as server:
        for done, step in _steps(count):
            for _ in range(step):
                server.control.load(network.name)
                server.control.infer(network.request())
                server.control.unload(network.name)
            yield _point(server, done)


def requests(count: int) -> Iterator[Point]:
    """Sends `count` requests in `STEPS` steps."""
    network = tiny()
    with repository(network) as folder, servers.headrace(folder) as server:
        for done, step in _steps(count):
            h2load.drive(server, Load(network, step, IN_FLIGHT))
            yield _point(server, done)


def growth(points: Sequence[Point]) -> float:
    """The most memory in the last tenth of the run by the most in the second; the first is the warm-up.

    The most, because the server gives free pages back every few seconds: in between they go up and down.
    """
    end = points[-1].done
    early = [point.resident_bytes for point in points if 0.1 * end < point.done <= 0.2 * end]
    late = [point.resident_bytes for point in points if 0.9 * end < point.done]
    return max(late) / max(early)


def bytes_each(points: Sequence[Point]) -> float:
    """How much memory one more request, or load and unload, takes for good."""
    end = points[-1].done
    return slope([(point.done, point.resident_bytes) for point in points if point.done > 0.1 * end])


def _steps(count: int) -> Iterator[tuple[int, int]]:
    """How many are done after each step, and how many of them within it."""
    steps = min(STEPS, count)
    for index in range(steps):
        done = count * (index + 1) // steps
        yield done, done - count * index // steps


def _point(server: RunningServer, done: int) -> Point:
    time.sleep(SETTLE_S)
    return Point(done, server.resident_bytes())
