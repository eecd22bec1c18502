"""Whether memory stays flat over many reloads and many requests; `benchmarks.soak` is the long form."""

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import h2load, servers
from benchmarks.effort import Effort
from benchmarks.h2load import Load
from benchmarks.models import repository, tiny, wide
from benchmarks.report import Figure, Report, at_most
from benchmarks.summary import slope

RELOADS = 150
REQUESTS = 100_000
STEPS = 50
WARMUP_SHARE = 0.1
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
                f"memory after {reloaded[-1].done} reloads", (growth(reloaded),), goal=at_most(GROWTH_LIMIT)
            ),
            Figure(
                f"memory after {requested[-1].done:,} requests",
                (growth(requested),),
                goal=at_most(GROWTH_LIMIT),
            ),
            Figure("growth a request", (bytes_per_step(requested),), "bytes"),
        ),
        (f"memory at the end ÷ memory after the first {WARMUP_SHARE:.0%}",),
    )


def reloads(count: int) -> Iterator[Point]:
    """Loads a model of 25 MB, asks it once and unloads it, `count` times; memory after each time."""
    network = wide()
    with repository(network) as folder, servers.headrace(folder, *EXPLICIT) as server:
        for done in range(1, count + 1):
            server.control.load(network.name)
            server.control.infer(network.request())
            server.control.unload(network.name)
            yield Point(done, server.resident_bytes())


def requests(count: int) -> Iterator[Point]:
    """Sends `count` requests in `STEPS` steps; memory after each."""
    network = tiny()
    with repository(network) as folder, servers.headrace(folder) as server:
        for step in range(STEPS):
            done, next_done = count * step // STEPS, count * (step + 1) // STEPS
            h2load.drive(server, Load(network, next_done - done, IN_FLIGHT))
            yield Point(next_done, server.resident_bytes())


def growth(points: list[Point]) -> float:
    """Memory at the end by memory after the warm-up."""
    return points[-1].resident_bytes / after_warmup(points)[0].resident_bytes


def bytes_per_step(points: list[Point]) -> float:
    """How much memory one more request, or load and unload, takes for good."""
    return slope([(point.done, point.resident_bytes) for point in after_warmup(points)])


def after_warmup(points: list[Point]) -> list[Point]:
    """The points from the end of the warm-up, which is the first tenth, on."""
    start = points[-1].done * WARMUP_SHARE
    return [point for point in points if point.done >= start]
