"""One shadow: which requests it gets copies of, and how they are taken from the live path."""

import logging
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

from headrace.core.request import InferenceRequest, InferenceResponse, Reply, Timings
from headrace.core.route import PER_MILLE
from headrace.errors import HeadraceError
from headrace.model.model import Model
from headrace.router.shadow.outcome import Outcome
from headrace.router.shadow.pair import EXECUTION_ERRORS, Answer, held_bytes
from headrace.router.shadow.waiting import Copy, WaitingCopies

logger = logging.getLogger(__name__)

# How many copies wait while nothing is to spare: enough for the trickle. No more are taken then.
BUSY_COUNT = 8
_UNLIMITED = 1 << 62

# By how many places the samples of a cycle are shifted against the last cycle's; prime to a thousand.
_SHIFT = 617

# What a finished reply leaves behind, made into copies once per turn of the event loop: the request, who
# answered (a model's name and version), the answer, its timings, and when.
_Answered: TypeAlias = tuple[InferenceRequest, str, int, Answer, Timings | None, int]


class Mirror:
    """Implements the router's `Listener`. Copies wait in `waiting`; who executes them calls `settle`.

    Of every thousand requests exactly `per_mille` are sampled, evenly spread: an error that is carried on, no
    chance. In each thousand they lie at other places, so that of a route or a caller with a rhythm not always
    the same requests are sampled.
    """

    def __init__(
        self,
        model: str,
        version: int,
        wake: Callable[[], None],
        clock_ns: Callable[[], int],
        waiting: WaitingCopies | None = None,
    ) -> None:
        """`wake` is called when there is something to settle."""
        self.model = model
        self.version = version
        self.waiting = WaitingCopies() if waiting is None else waiting
        self.counts: Counter[Outcome] = Counter()
        self.is_stopped = False
        self._wake = wake
        self._clock_ns = clock_ns
        self._per_mille = 0
        self._samples = _samples(0, 0)
        self._cycle = 0
        self._asked_in_cycle = 0
        self._room = _UNLIMITED
        self._not_taken = 0
        self._answered: list[_Answered] = []

    @property
    def asked_count(self) -> int:
        """The requests so far, sampled or not."""
        return self._cycle * PER_MILLE + self._asked_in_cycle

    def sample(self, per_mille: int) -> None:
        """From the next request on, so many of a thousand are sampled."""
        if not self.is_stopped and per_mille != self._per_mille:
            self._per_mille = per_mille
            self._samples = _samples(per_mille, self._cycle)

    def is_next(self) -> bool:
        """Whether the shadow gets a copy of this request; asked once per request (benchmarks/shadow)."""
        place = self._asked_in_cycle
        if place == PER_MILLE:
            place = self._next_cycle()
        self._asked_in_cycle = place + 1
        if not self._samples[place]:
            return False
        if self._room > 0:
            self._room -= 1
            return True
        self._not_taken += 1
        return False

    def listen(self, request: InferenceRequest, reply: Reply, live: Model) -> Reply:
        """The reply to give to the model `live` instead of `reply`."""
        return _MirroredReply(self, request, reply, live)

    def answered(
        self, request: InferenceRequest, model: str, version: int, answer: Answer, timings: Timings | None
    ) -> None:
        """`version` of `model` has given the live answer. Never raises."""
        if self.is_stopped:
            return
        try:
            self._answered.append((request, model, version, answer, timings, self._clock_ns()))
            if len(self._answered) == 1:
                self._wake()
        except Exception:
            self._answered.clear()
            logger.exception("a shadow could not be told of an answer: this is a bug")

    def settle(self, now_ns: int, *, is_busy: bool) -> None:
        """Makes copies of what was answered, and drops those that are too many or too old."""
        answered, self._answered = self._answered, []
        for each in answered:
            self._put(*each)
        self.counts[Outcome.LATE] += self.waiting.drop_late(now_ns)
        if is_busy:
            self.counts[Outcome.BUSY] += self.waiting.keep(BUSY_COUNT)
        self.counts[Outcome.BUSY] += self._not_taken
        self._not_taken = 0
        self._room = BUSY_COUNT - len(self.waiting) if is_busy else _UNLIMITED

    def drop_all(self, outcome: Outcome) -> None:
        """Drops what waits."""
        self.counts[outcome] += self.waiting.keep(0)

    def count(self, outcome: Outcome) -> int:
        """How many requests ended so."""
        return self.counts[outcome] + (self._not_taken if outcome is Outcome.BUSY else 0)

    def stop(self) -> None:
        """Takes no more."""
        self.sample(0)
        self.is_stopped = True
        self._answered.clear()
        self.waiting.keep(0)

    def _next_cycle(self) -> int:
        self._cycle += 1
        self._samples = _samples(self._per_mille, self._cycle)
        return 0

    def _put(
        self,
        request: InferenceRequest,
        model: str,
        version: int,
        answer: Answer,
        timings: Timings | None,
        answered_ns: int,
    ) -> None:
        if model != self.model or version == self.version:
            self.counts[Outcome.NOT_COMPARABLE] += 1
            return
        outputs = answer.outputs if isinstance(answer, InferenceResponse) else []
        byte_size = held_bytes([*request.inputs, *outputs])
        copy = Copy(request, version, answer, timings, answered_ns, byte_size)
        self.counts[Outcome.FULL] += self.waiting.put(copy)


@lru_cache
def _even(per_mille: int) -> bytes:
    """A thousand places, 1 where a request is sampled."""
    return bytes(
        (place + 1) * per_mille // PER_MILLE > place * per_mille // PER_MILLE for place in range(PER_MILLE)
    )


def _samples(per_mille: int, cycle: int) -> bytes:
    """The places of the thousand that is called `cycle`."""
    shift = cycle * _SHIFT % PER_MILLE
    even = _even(per_mille)
    return even[shift:] + even[:shift]


class _MirroredReply:
    """The caller's reply, then the shadow is told.

    Asks for the answer's timings and takes them out again where the caller does not want them.
    """

    __slots__ = ("_hides_timings", "_live", "_mirror", "_reply", "_request")

    def __init__(self, mirror: Mirror, request: InferenceRequest, reply: Reply, live: Model) -> None:
        self._mirror = mirror
        self._request = request
        self._reply = reply
        self._live = live
        self._hides_timings = not request.wants_timings
        request.wants_timings = True

    @property
    def is_wanted(self) -> bool:
        return self._reply.is_wanted

    def complete(self, response: InferenceResponse) -> None:
        timings = response.timings
        if self._hides_timings:
            response.timings = None
        self._reply.complete(response)
        name, version = response.model_name, int(response.model_version)
        self._mirror.answered(self._request, name, version, response, timings)

    def fail(self, error: HeadraceError) -> None:
        self._reply.fail(error)
        if isinstance(error, EXECUTION_ERRORS):
            self._mirror.answered(self._request, self._live.name, self._live.version, error, None)
        else:
            self._mirror.counts[Outcome.NOT_ANSWERED] += 1
