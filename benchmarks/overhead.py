"""What headrace costs over gRPC itself: a tiny network, beside an echo that computes nothing."""

from benchmarks import h2load, servers
from benchmarks.effort import Effort
from benchmarks.h2load import Load, Outcome
from benchmarks.models import repository, tiny
from benchmarks.report import Figure, Report, at_least, ratios

REQUESTS = 20_000
WARMUP_REQUESTS = 2_000
IN_FLIGHT = 64


def run(effort: Effort) -> Report:
    network = tiny()
    warmup = Load(network, WARMUP_REQUESTS, IN_FLIGHT)
    load = Load(network, effort.count(REQUESTS), IN_FLIGHT)
    served: list[Outcome] = []
    echoed: list[Outcome] = []
    with (
        repository(network) as folder,
        servers.headrace(folder) as headrace,
        servers.echo(network.answer_bytes()) as echo,
    ):
        h2load.drive(headrace, warmup)
        h2load.drive(echo, warmup)
        for _ in range(effort.rounds):
            served.append(h2load.drive(headrace, load))
            echoed.append(h2load.drive(echo, load))
    return _report(served, echoed)


def _report(served: list[Outcome], echoed: list[Outcome]) -> Report:
    rates, costs = _rates(served), _costs(served)
    echo_rates, echo_costs = _rates(echoed), _costs(echoed)
    return Report(
        (
            Figure("requests/s ÷ bare grpc.aio echo", ratios(rates, echo_rates), goal=at_least(0.75)),
            Figure("CPU a request ÷ bare grpc.aio echo", ratios(costs, echo_costs)),
            Figure("requests/s", rates, "1/s"),
            Figure("requests/s, echo", echo_rates, "1/s"),
            Figure("CPU a request", costs, "µs"),
            Figure("CPU a request, echo", echo_costs, "µs"),
            Figure("mean batch", tuple(outcome.mean_batch for outcome in served), "rows"),
        ),
    )


def _rates(outcomes: list[Outcome]) -> tuple[float, ...]:
    return tuple(outcome.requests_per_s for outcome in outcomes)


def _costs(outcomes: list[Outcome]) -> tuple[float, ...]:
    return tuple(outcome.cpu_us_per_request for outcome in outcomes)
