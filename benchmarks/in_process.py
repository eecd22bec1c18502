"""What ONNX Runtime does with a network where no server is in the way."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from statistics import median

import onnxruntime as ort

from benchmarks.models import Array, Network

PASSES = 3
FINALISTS = 3


@dataclass(frozen=True, slots=True)
class Plan:
    """`sessions` threads, each of which runs batches on a session of its own."""

    batch: int
    sessions: int
    intra_op_threads: int

    def __str__(self) -> str:
        return f"batch {self.batch}, {self.sessions} sessions of {self.intra_op_threads} threads"


def plans(cores: int, batches: Sequence[int]) -> list[Plan]:
    """Every way to share `cores` that may be the best; up to twice as many threads as cores."""
    counts = [count for count in (1, 2, 4, 8, 16, 32, 64, 128) if count < cores] + [cores]
    return [
        Plan(batch, sessions, threads)
        for batch, sessions, threads in product(batches, counts, counts)
        if sessions * threads <= 2 * cores
    ]


def finalists(network: Network, candidates: Sequence[Plan], seconds: float) -> "Finalists":
    """The fastest few of `candidates`, each tried in several passes.

    In passes, because what disturbs the machine for a while must not decide which of them is best.
    """
    rates = dict.fromkeys(candidates, 0.0)
    for _ in range(PASSES):
        for plan in candidates:
            rates[plan] = max(rates[plan], Loops(network, plan).rows_per_s(seconds))
    fastest = sorted(candidates, key=lambda plan: rates[plan], reverse=True)[:FINALISTS]
    return Finalists({plan: Loops(network, plan) for plan in fastest})


def run_us(network: Network, count: int) -> float:
    """The median time of one run of one row, one after the other on one thread."""
    session, rows = make_session(network, intra_op_threads=1), network.rows(1)
    times_ns = []
    for _ in range(count):
        start_ns = time.perf_counter_ns()
        session.run(None, {"x": rows})
        times_ns.append(time.perf_counter_ns() - start_ns)
    return median(times_ns) / 1000


class Loops:
    """Runs a network as `plan` says, as fast as it goes."""

    def __init__(self, network: Network, plan: Plan) -> None:
        self._plan = plan
        self._rows = network.rows(plan.batch)
        self._sessions = [make_session(network, plan.intra_op_threads) for _ in range(plan.sessions)]
        for session in self._sessions:
            session.run(None, {"x": self._rows})

    def rows_per_s(self, seconds: float) -> float:
        rates: list[float] = []
        threads = [
            threading.Thread(target=lambda session=session: rates.append(_loop(session, self._rows, seconds)))
            for session in self._sessions
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(rates)


class Finalists:
    """Plans that may be the best one: which it is shows only beside what they are compared with."""

    def __init__(self, loops: Mapping[Plan, Loops]) -> None:
        self._loops = loops
        self._rates: dict[Plan, list[float]] = {plan: [] for plan in loops}

    def run(self, seconds: float) -> None:
        """One more round: each of them for `seconds`."""
        for plan, loops in self._loops.items():
            self._rates[plan].append(loops.rows_per_s(seconds))

    @property
    def best(self) -> Plan:
        """The plan with the highest median rate."""
        return max(self._rates, key=lambda plan: median(self._rates[plan]))

    @property
    def best_rows_per_s(self) -> tuple[float, ...]:
        """What the best plan reached in each round.

        Always of one plan: the best of several in each round would be the luckiest.
        """
        return tuple(self._rates[self.best])


def make_session(network: Network, intra_op_threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra_op_threads
    return ort.InferenceSession(network.graph, options, providers=["CPUExecutionProvider"])


def _loop(session: ort.InferenceSession, rows: Array, seconds: float) -> float:
    start_s = time.perf_counter()
    runs = 0
    while (elapsed_s := time.perf_counter() - start_s) < seconds:
        session.run(None, {"x": rows})
        runs += 1
    return runs * len(rows) / elapsed_s
