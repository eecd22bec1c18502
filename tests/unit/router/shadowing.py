"""Mirrors around models, a clock and capacity of the test's own."""

import heapq
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from headrace.core.request import InferenceResponse, Timings
from headrace.core.route import Shadow
from headrace.router.shadow.mirrors import Mirrors
from headrace.router.shadow.spare import INTERVAL_S
from support.scheduling import RecordedReply, config, request, tensor

X = np.zeros((1, 2), np.float32)
MS = 1_000_000


class FakeLoop:
    """Runs callbacks when the test says; `now_ns` is its clock."""

    def __init__(self):
        self.now_ns = 0
        self._order = count()
        self._timers = []

    def call_soon(self, callback, *arguments):
        return self.call_later(0, callback, *arguments)

    def call_later(self, delay_s, callback, *arguments):
        timer = FakeTimer(self.now_ns + round(delay_s * 1e9), callback, arguments)
        heapq.heappush(self._timers, (timer.at_ns, next(self._order), timer))
        return timer

    def advance(self, seconds=0.0):
        """Lets so much time pass, and runs what is due."""
        end_ns = self.now_ns + round(seconds * 1e9)
        while self._timers and self._timers[0][0] <= end_ns:
            at_ns, _, timer = heapq.heappop(self._timers)
            self.now_ns = max(self.now_ns, at_ns)
            if not timer.is_cancelled:
                timer.callback(*timer.arguments)
        self.now_ns = end_ns

    @property
    def pending(self):
        return [timer for _, _, timer in self._timers if not timer.is_cancelled]


@dataclass
class FakeTimer:
    at_ns: int
    callback: object
    arguments: tuple
    is_cancelled: bool = False

    def cancel(self):
        self.is_cancelled = True


@dataclass
class FakeModel:
    """Takes requests, and answers them when told; raises `refusal` where there is one."""

    name: str = "m"
    version: int = 1
    backlog: int = 0
    max_queue_size: int = 1024
    refusal: Exception | None = None
    taken: list = field(default_factory=list)
    config: object = field(default_factory=config)

    def submit(self, asked, reply):
        if self.refusal is not None:
            raise self.refusal
        self.taken.append((asked, reply))

    def answer(self, executed_ns=MS):
        """Answers the oldest."""
        _, reply = self.taken.pop(0)
        timings = Timings(compute_infer_ns=executed_ns, batch_rows=1)
        reply.complete(InferenceResponse(self.name, str(self.version), "", [tensor("y", X)], timings=timings))

    def fail(self, error):
        _, reply = self.taken.pop(0)
        reply.fail(error)


class FakeCapacity:
    """Gives what the test says."""

    def __init__(self):
        self.has_any = True
        self.is_busy = False
        self.spent_s = 0.0
        self.looks = []
        self.begins = 0

    def begin(self):
        self.begins += 1

    def rest(self):
        self.is_busy = False

    def look(self, *, live_waits):
        self.looks.append(live_waits)

    def spend(self, seconds):
        self.spent_s += seconds


class Rig:
    """One live version, and the shadow 2."""

    def __init__(self, per_mille=1000, captures_inputs=lambda model: False):
        self.loop = FakeLoop()
        self.live = FakeModel(version=1)
        self.shadow = FakeModel(version=2)
        self.ready = {1: self.live, 2: self.shadow}
        self.capacity = FakeCapacity()
        self.lots = []
        self.mirrors = Mirrors(
            lambda name, version: self.ready.get(version),
            lambda: list(self.ready.values()),
            self.capacity,
            self,
            self.loop,
            captures_inputs,
            clock_ns=lambda: self.loop.now_ns,
        )
        (self.mirror,) = self.mirrors.of("m", [Shadow(2, per_mille)])

    def take(self, pairs):
        self.lots.append(list(pairs))

    @property
    def pairs(self):
        return [pair for lot in self.lots for pair in lot]

    def ask(self, **changes):
        """A live request, as the router passes it on."""
        asked, reply = request(X, **{"arrived_ns": self.loop.now_ns, **changes}), RecordedReply()
        listening = self.mirror.listen(asked, reply, self.live) if self.mirror.is_next() else reply
        self.live.submit(asked, listening)
        return asked, reply

    def answered(self, times=1, **changes):
        """So many live requests, answered in one turn of the loop, which then ends."""
        for _ in range(times):
            self.ask(**changes)
        for _ in range(times):
            self.live.answer()
        self.loop.advance()

    def counts(self):
        return {outcome: number for _, _, outcome, number in self.mirrors.counts() if number}

    def interval(self, times=1):
        for _ in range(times):
            self.loop.advance(INTERVAL_S)
