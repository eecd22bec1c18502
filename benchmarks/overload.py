"""What happens when more is asked than the machine can do: useful work goes on, the rest is told at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import uvloop
from grpc import StatusCode

from benchmarks import h2load, servers
from benchmarks.clients import OpenLoop
from benchmarks.effort import Effort
from benchmarks.h2load import Load
from benchmarks.models import Network, convolution, repository
from benchmarks.report import Figure, Report, at_most, ratios
from benchmarks.servers import RunningServer
from benchmarks.summary import percentile

PEAK_REQUESTS = 600
WARMUP_REQUESTS = 64
IN_FLIGHT = 16
OVERLOADS = (2, 4)
OVERLOAD_S = 6.0
MAX_QUEUE_SIZE = 32


@dataclass(frozen=True, slots=True)
class Overload:
    """One period in which too many requests came; `goodput` is right answers a second."""

    goodput: float
    refused_share: float
    refusal_p99_ms: float
    answer_p99_ms: float


def run(effort: Effort) -> Report:
    network = replace(convolution(), max_queue_size=MAX_QUEUE_SIZE)
    load = Load(network, effort.count(PEAK_REQUESTS), IN_FLIGHT)
    seconds = effort.seconds(OVERLOAD_S)
    peaks: list[float] = []
    resident: list[int] = []
    overloads: dict[int, list[Overload]] = {factor: [] for factor in OVERLOADS}
    with repository(network) as folder, servers.headrace(folder) as server:
        h2load.drive(server, Load(network, WARMUP_REQUESTS, IN_FLIGHT))
        for _ in range(effort.rounds):
            peaks.append(h2load.drive(server, load).requests_per_s)
            for factor, periods in overloads.items():
                periods.append(uvloop.run(_overload(server, network, peaks[-1] * factor, seconds)))
            resident.append(server.resident_bytes())
    figures = [figure for factor in OVERLOADS for figure in _figures(factor, overloads[factor], peaks)]
    return Report(
        (
            *figures,
            Figure(f"peak, {IN_FLIGHT} in flight", tuple(peaks), "1/s"),
            Figure("resident memory, last round ÷ first", (resident[-1] / resident[0],), goal=at_most(1.1)),
        ),
        (f"{MAX_QUEUE_SIZE} requests may wait; load at fixed times",),
    )


def _figures(factor: int, overloads: Sequence[Overload], peaks: Sequence[float]) -> tuple[Figure, ...]:
    name = f"{factor} x the peak"
    return (
        Figure(f"{name}: goodput ÷ peak", ratios([each.goodput for each in overloads], peaks)),
        Figure(f"{name}: refused", tuple(each.refused_share * 100 for each in overloads), "%"),
        Figure(f"{name}: p99 of refusals", tuple(each.refusal_p99_ms for each in overloads), "ms"),
        Figure(f"{name}: p99 of answers", tuple(each.answer_p99_ms for each in overloads), "ms"),
    )


async def _overload(server: RunningServer, network: Network, rate: float, seconds: float) -> Overload:
    """Sends `rate` requests a second; goodput counts what is answered meanwhile, not what comes later."""
    expected = server.control.infer(network.request()).raw_output_contents[0]
    async with OpenLoop(server.port, network.request(), expected, rate) as traffic:
        await asyncio.sleep(seconds)
        in_time = traffic.take()
    answers = in_time + traffic.take()
    answered_ms = [answer.latency_ms for answer in answers if answer.code is None]
    refused_ms = [answer.latency_ms for answer in answers if answer.code is StatusCode.UNAVAILABLE]
    if len(answered_ms) + len(refused_ms) < len(answers):
        raise RuntimeError(f"neither answered nor refused: { {answer.code for answer in answers} }")
    return Overload(
        goodput=sum(answer.code is None for answer in in_time) / seconds,
        refused_share=len(refused_ms) / len(answers),
        refusal_p99_ms=percentile(refused_ms, 99) if refused_ms else 0.0,
        answer_p99_ms=percentile(answered_ms, 99) if answered_ms else 0.0,
    )
