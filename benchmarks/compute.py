"""What is left of the machine for networks of milliseconds a row: nothing should be lost to the server."""

from statistics import median

from benchmarks import h2load, in_process, servers
from benchmarks.effort import Effort
from benchmarks.h2load import Load, Outcome
from benchmarks.machine import cores
from benchmarks.models import Network, convolution, large_convolution, repository
from benchmarks.report import Figure, Report, at_least, at_most, ratios
from benchmarks.summary import percentile

IN_FLIGHT = 16
REQUESTS = {convolution: 1_000, large_convolution: 300}
WARMUP_REQUESTS = 64
BATCHES = (1, 2, 4, 8, 16)
SEARCH_S = 0.5
LOOP_S = 2.0

# A server cannot be faster than the same library without one.
BELIEVABLE = 1.05
DISTURBED = "NOT VALID: faster than in process cannot be, so something disturbed the baseline; take it again"


def run(effort: Effort) -> Report:
    reports = [_measure(make(), effort.count(requests), effort) for make, requests in REQUESTS.items()]
    figures = tuple(figure for report in reports for figure in report.figures)
    return Report(figures, tuple(note for report in reports for note in report.notes))


def _measure(network: Network, requests: int, effort: Effort) -> Report:
    row_us = in_process.run_us(network, 20)
    finalists = in_process.finalists(network, in_process.plans(cores(), BATCHES), effort.seconds(SEARCH_S))
    load = Load(network, requests, IN_FLIGHT)
    served: list[Outcome] = []
    with repository(network) as folder, servers.headrace(folder) as server:
        h2load.drive(server, Load(network, WARMUP_REQUESTS, IN_FLIGHT))
        for _ in range(effort.rounds):
            finalists.run(effort.seconds(LOOP_S))
            served.append(h2load.drive(server, load))
    note = f"best in process: {finalists.best}; one row alone takes {row_us / 1000:.1f} ms on one core"
    return _report(network.name, finalists.best_rows_per_s, served, note)


def _report(name: str, best_rates: tuple[float, ...], served: list[Outcome], note: str) -> Report:
    rates = tuple(outcome.rows_per_s for outcome in served)
    medians_ms = tuple(median(outcome.latencies_us) / 1000 for outcome in served)
    p99s_ms = tuple(percentile(outcome.latencies_us, 99) / 1000 for outcome in served)
    ideals_ms = tuple(IN_FLIGHT / rate * 1000 for rate in best_rates)
    share = Figure(f"{name}: rows/s ÷ best in process", ratios(rates, best_rates), goal=at_least(0.95))
    return Report(
        (
            share,
            Figure(f"{name}: median latency ÷ ideal", ratios(medians_ms, ideals_ms), goal=at_most(1.3)),
            Figure(f"{name}: p99 latency ÷ ideal", ratios(p99s_ms, ideals_ms)),
            Figure(f"{name}: rows/s", rates, "1/s"),
            Figure(f"{name}: rows/s, best in process", best_rates, "1/s"),
            Figure(f"{name}: median latency", medians_ms, "ms"),
            Figure(f"{name}: ideal latency", ideals_ms, "ms"),
            Figure(f"{name}: mean batch", tuple(outcome.mean_batch for outcome in served), "rows"),
        ),
        tuple(f"{name}: {each}" for each in (note, *([DISTURBED] if share.median > BELIEVABLE else []))),
    )
