"""What a caller alone waits for beyond the network itself: one request at a time, tiny network."""

from statistics import median

from benchmarks import h2load, in_process, servers
from benchmarks.effort import Effort
from benchmarks.h2load import Load
from benchmarks.models import repository, tiny
from benchmarks.report import Figure, Report, differences

REQUESTS = 3_000
WARMUP_REQUESTS = 200


def run(effort: Effort) -> Report:
    network = tiny()
    load = Load(network, effort.count(REQUESTS), in_flight=1)
    served_us: list[float] = []
    echoed_us: list[float] = []
    run_us: list[float] = []
    with (
        repository(network) as folder,
        servers.headrace(folder) as headrace,
        servers.echo(network.answer_bytes()) as echo,
    ):
        for server in (headrace, echo):
            h2load.drive(server, Load(network, WARMUP_REQUESTS, in_flight=1))
        for _ in range(effort.rounds):
            served_us.append(median(h2load.drive(headrace, load).latencies_us))
            echoed_us.append(median(h2load.drive(echo, load).latencies_us))
            run_us.append(in_process.run_us(network, load.requests))
    return Report(
        (
            Figure("median latency - session.run", differences(served_us, run_us), "µs"),
            Figure("median latency - bare grpc.aio echo", differences(served_us, echoed_us), "µs"),
            Figure("median latency", tuple(served_us), "µs"),
            Figure("median latency, echo", tuple(echoed_us), "µs"),
            Figure("session.run", tuple(run_us), "µs"),
        )
    )
