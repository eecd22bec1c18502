"""Executes copies on their shadows while there is capacity to spare, and hands on what comes of it."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

from headrace.core.request import InferenceRequest, InferenceResponse
from headrace.errors import ExecutionFailed, HeadraceError
from headrace.model.model import Model
from headrace.router.shadow.copying import copied
from headrace.router.shadow.load import ShadowLoad
from headrace.router.shadow.mirror import Mirror
from headrace.router.shadow.outcome import Outcome
from headrace.router.shadow.pair import Answer, Pair, Sink
from headrace.router.shadow.spare import INTERVAL_S, SpareCapacity
from headrace.router.shadow.trickle import Trickle
from headrace.router.shadow.waiting import Copy

logger = logging.getLogger(__name__)

# After so many intervals without copies the timer rests.
IDLE_INTERVALS = 10


class Pump:
    """Lives on the event loop: woken by answers, live ones and those of shadows, and by a timer while copies
    wait or execute. Nothing runs while there are none.
    """

    def __init__(
        self,
        find: Callable[[str, int], Model | None],
        models: Callable[[], Iterable[Model]],
        capacity: SpareCapacity,
        sink: Sink,
        loop: asyncio.AbstractEventLoop,
        captures_inputs: Callable[[str], bool],
        clock_ns: Callable[[], int],
    ) -> None:
        self.is_stopped = False
        self._find = find
        self._models = models
        self._capacity = capacity
        self._sink = sink
        self._loop = loop
        self._captures_inputs = captures_inputs
        self._clock_ns = clock_ns
        self._trickle = Trickle()
        self._loads: dict[tuple[str, int], ShadowLoad] = {}
        self._pairs: list[Pair] = []
        self._is_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._idle_intervals = IDLE_INTERVALS
        self._run_count = 0

    def add(self, mirror: Mirror) -> None:
        """From now on its copies are executed."""
        self._loads[mirror.model, mirror.version] = ShadowLoad(mirror)

    def wake(self) -> None:
        """There are new answers: looks at them once this turn of the loop is over."""
        if not self._is_due and not self.is_stopped:
            self._is_due = True
            self._loop.call_soon(self._run)

    def stop(self) -> None:
        """Submits nothing any more; what executes is answered to nobody."""
        self.is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deliver()

    def answered(self, reply: "_ShadowReply", answer: Answer) -> None:
        """A copy's submission has ended so."""
        load, copy, now_ns = reply.load, reply.copy, self._clock_ns()
        took_ns = now_ns - reply.submitted_ns
        executed_s = _executed_s(copy.request, answer)
        load.in_flight -= 1
        load.mirror.waiting.release(copy)
        if executed_s is not None:
            load.note_cost(executed_s)
        cost_s = took_ns / 1e9 if executed_s is None else executed_s
        self._capacity.spend(cost_s - reply.expected_s)
        if reply.is_trickle:
            self._trickle.end(took_ns, now_ns)
        if self.is_stopped:
            return
        load.mirror.counts[Outcome.PAIRED] += 1
        self._pairs.append(self._pair(reply, answer, took_ns, now_ns))
        self.wake()

    def _run(self) -> None:
        self._is_due = False
        if self.is_stopped:
            return
        self._deliver()
        now_ns = self._clock_ns()
        for load in self._loads.values():
            load.mirror.settle(now_ns, is_busy=self._capacity.is_busy)
        self._keep_time()
        ready = self._ready()
        if ready:
            self._submit(ready, now_ns)

    def _ready(self) -> "deque[tuple[ShadowLoad, Model]]":
        """The shadows with copies and their models, another one first each time."""
        ready: deque[tuple[ShadowLoad, Model]] = deque()
        for (name, version), load in self._loads.items():
            if load.mirror.waiting:
                model = self._find(name, version)
                if model is None:
                    load.mirror.drop_all(Outcome.NOT_READY)
                else:
                    ready.append((load, model))
        self._run_count += 1
        ready.rotate(self._run_count)
        return ready

    def _submit(self, ready: "deque[tuple[ShadowLoad, Model]]", now_ns: int) -> None:
        """Submits what may execute now, in turns; ends where a model refuses."""
        if self._live_waits() or self._capacity.is_busy:
            self._submit_trickle(ready, now_ns)
            return
        while ready and self._capacity.has_any:
            load, model = ready.popleft()
            if load.mirror.waiting and load.has_place(model.max_queue_size):
                if not self._submit_copy(load, model, now_ns):
                    return
                ready.append((load, model))

    def _submit_trickle(self, ready: "deque[tuple[ShadowLoad, Model]]", now_ns: int) -> None:
        for load, model in ready:
            asked_count = load.mirror.asked_count
            if not load.in_flight and self._trickle.is_due(load, asked_count, now_ns):
                self._trickle.begin(load, asked_count)
                self._submit_copy(load, model, now_ns, is_trickle=True)
                return

    def _submit_copy(self, load: ShadowLoad, model: Model, now_ns: int, *, is_trickle: bool = False) -> bool:
        """False where it was refused; that is data for the pair, too."""
        copy = load.mirror.waiting.take()
        expected_s = load.cost_s or 0.0
        load.in_flight += 1
        self._capacity.spend(expected_s)
        reply = _ShadowReply(self, load, copy, model, now_ns, expected_s, is_trickle=is_trickle)
        try:
            model.submit(copied(copy.request, model, now_ns), reply)
        except HeadraceError as error:
            reply.fail(error)
            return False
        except Exception as error:
            logger.exception("submitting a copy failed: this is a bug")
            reply.fail(ExecutionFailed(f"{type(error).__name__}: {error}"))
            return False
        return True

    def _pair(self, reply: "_ShadowReply", answer: Answer, took_ns: int, now_ns: int) -> Pair:
        copy, model = reply.copy, reply.model
        request = copy.request
        return Pair(
            model=request.model_name,
            live_version=copy.live_version,
            shadow_version=model.version,
            request_id=request.id,
            at_ns=time.time_ns() - (now_ns - copy.answered_ns),
            live=copy.live,
            shadow=answer,
            live_ns=copy.answered_ns - request.arrived_ns,
            shadow_ns=took_ns,
            live_timings=copy.live_timings,
            shadow_timings=answer.timings if isinstance(answer, InferenceResponse) else None,
            batches=model.config.max_batch_size > 0,
            classified=frozenset(output.name for output in request.outputs if output.class_count),
            inputs=request.inputs if self._captures_inputs(request.model_name) else None,
        )

    def _deliver(self) -> None:
        if not self._pairs:
            return
        pairs, self._pairs = self._pairs, []
        try:
            self._sink.take(pairs)
        except Exception:
            logger.exception("comparing %d pairs failed: this is a bug", len(pairs))

    def _live_waits(self) -> bool:
        """Whether requests wait for an instance that are not our copies."""
        for model in self._models():
            backlog = model.backlog
            if backlog:
                load = self._loads.get((model.name, model.version))
                if load is None or backlog > load.in_flight:
                    return True
        return False

    def _keep_time(self) -> None:
        """Sees to it that the capacity is looked at while copies wait or execute, and some time longer."""
        if any(load.in_flight or load.mirror.waiting for load in self._loads.values()):
            self._idle_intervals = 0
        if self._timer is None and self._idle_intervals < IDLE_INTERVALS:
            self._capacity.begin()
            self._timer = self._loop.call_later(INTERVAL_S, self._tick)

    def _tick(self) -> None:
        self._idle_intervals += 1
        self._capacity.look(live_waits=self._live_waits())
        if self._idle_intervals < IDLE_INTERVALS:
            self._timer = self._loop.call_later(INTERVAL_S, self._tick)
        else:
            self._timer = None
            self._capacity.rest()
        self._run()


class _ShadowReply:
    """Waits for the shadow's answer to one copy."""

    __slots__ = ("_pump", "copy", "expected_s", "is_trickle", "load", "model", "submitted_ns")

    def __init__(
        self,
        pump: Pump,
        load: ShadowLoad,
        copy: Copy,
        model: Model,
        submitted_ns: int,
        expected_s: float,
        *,
        is_trickle: bool,
    ) -> None:
        self.load = load
        self.copy = copy
        self.model = model
        self.submitted_ns = submitted_ns
        self.expected_s = expected_s
        self.is_trickle = is_trickle
        self._pump = pump

    @property
    def is_wanted(self) -> bool:
        return not self._pump.is_stopped

    def complete(self, response: InferenceResponse) -> None:
        self._pump.answered(self, response)

    def fail(self, error: HeadraceError) -> None:
        self._pump.answered(self, error)


def _executed_s(request: InferenceRequest, answer: Answer) -> float | None:
    """The copy's part, by rows, of the time that its batch executed; None where it did not, or failed."""
    timings = answer.timings if isinstance(answer, InferenceResponse) else None
    if timings is None or not timings.batch_rows:
        return None
    executed_ns = timings.compute_input_ns + timings.compute_infer_ns + timings.compute_output_ns
    shape = request.inputs[0].shape if request.inputs else ()
    rows = min(shape[0], timings.batch_rows) if shape else 1
    return executed_ns * rows / timings.batch_rows / 1e9
