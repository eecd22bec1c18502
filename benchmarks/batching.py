"""What batches bring to a network that profits from them, with requests of one row and of eight."""

from benchmarks import h2load, in_process, servers
from benchmarks.effort import Effort
from benchmarks.h2load import Load, Outcome
from benchmarks.in_process import Loops, Plan
from benchmarks.machine import cores
from benchmarks.models import repository, wide
from benchmarks.report import Figure, Report, ratios

IN_FLIGHT = 64
REQUESTS = 20_000
WARMUP_REQUESTS = 500
LARGE_ROWS = 8
BATCHES = (1, 8, 16, 32, 64, 128)
SEARCH_S = 0.4
LOOP_S = 1.5


def run(effort: Effort) -> Report:
    network = wide()
    finalists = in_process.finalists(network, in_process.plans(cores(), BATCHES), effort.seconds(SEARCH_S))
    single = Loops(network, Plan(1, sessions=cores(), intra_op_threads=1))
    seconds = effort.seconds(LOOP_S)
    small = Load(network, effort.count(REQUESTS), IN_FLIGHT)
    large = Load(network, effort.count(REQUESTS // LARGE_ROWS), IN_FLIGHT, LARGE_ROWS)
    single_rates: list[float] = []
    of_small: list[Outcome] = []
    of_large: list[Outcome] = []
    with repository(network) as folder, servers.headrace(folder) as server:
        h2load.drive(server, Load(network, WARMUP_REQUESTS, IN_FLIGHT))
        h2load.drive(server, Load(network, WARMUP_REQUESTS, IN_FLIGHT, LARGE_ROWS))
        for _ in range(effort.rounds):
            finalists.run(seconds)
            of_small.append(h2load.drive(server, small))
            of_large.append(h2load.drive(server, large))
            single_rates.append(single.rows_per_s(seconds))
    best_rates = finalists.best_rows_per_s
    return Report(
        (
            Figure("rows/s ÷ best in process", ratios(_rates(of_small), best_rates)),
            Figure(f"rows/s ÷ best, {LARGE_ROWS} rows a request", ratios(_rates(of_large), best_rates)),
            Figure("rows/s ÷ in process, batch 1", ratios(_rates(of_small), single_rates)),
            Figure("rows/s", _rates(of_small), "1/s"),
            Figure(f"rows/s, {LARGE_ROWS} rows a request", _rates(of_large), "1/s"),
            Figure("rows/s, best in process", best_rates, "1/s"),
            Figure("rows/s, in process, batch 1", tuple(single_rates), "1/s"),
            Figure("mean batch", _batches(of_small), "rows"),
            Figure(f"mean batch, {LARGE_ROWS} rows a request", _batches(of_large), "rows"),
        ),
        (f"best in process: {finalists.best}",),
    )


def _rates(outcomes: list[Outcome]) -> tuple[float, ...]:
    return tuple(outcome.rows_per_s for outcome in outcomes)


def _batches(outcomes: list[Outcome]) -> tuple[float, ...]:
    return tuple(outcome.mean_batch for outcome in outcomes)
