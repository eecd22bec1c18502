"""What a live version and a shadow have made of the same request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from headrace.core.request import InferenceResponse, Timings
from headrace.core.tensor import Tensor
from headrace.errors import HeadraceError, Internal, InvalidArgument, WorkerLost

Answer: TypeAlias = InferenceResponse | HeadraceError

# What says something about a version, not about load or time. InvalidArgument among them: a version that
# refuses inputs which the other one takes differs from it.
EXECUTION_ERRORS = (Internal, WorkerLost, InvalidArgument)


@dataclass(frozen=True, slots=True)
class Pair:
    """One request, answered by both. `at_ns` is when the live answer was given, in nanoseconds since 1970.

    `live_ns` is the time from the request's arrival to its answer, `shadow_ns` from the copy's submission to
    its answer: each with the wait in its own queue. The timings tell how long the batches executed, where
    they did. `batches` says whether the first dimension of outputs is the batch; `classified` names the
    outputs that are results of classification. `inputs` are there where payloads may be captured.
    """

    model: str
    live_version: int
    shadow_version: int
    request_id: str
    at_ns: int
    live: Answer
    shadow: Answer
    live_ns: int
    shadow_ns: int
    live_timings: Timings | None = None
    shadow_timings: Timings | None = None
    batches: bool = True
    classified: frozenset[str] = frozenset()
    inputs: Sequence[Tensor] | None = None

    @property
    def byte_size(self) -> int:
        """What its tensors keep in memory, at most."""
        answers = [answer for answer in (self.live, self.shadow) if isinstance(answer, InferenceResponse)]
        tensors = [tensor for answer in answers for tensor in answer.outputs]
        return held_bytes([*tensors, *(self.inputs or ())])


class Sink(Protocol):
    """Whoever compares; called on the event loop, and does not make it wait."""

    def take(self, pairs: Sequence[Pair]) -> None: ...


def held_bytes(tensors: Iterable[Tensor]) -> int:
    """What `tensors` keep in memory, at most.

    A view of a few bytes keeps all that it is a view of: the message that a request came in, or the outputs
    of a whole batch, which other tensors may share.
    """
    buffers: dict[int, int] = {}
    for tensor in tensors:
        data = tensor.data
        if isinstance(data, memoryview):
            buffers[id(data.obj)] = memoryview(data.obj).nbytes
        else:
            buffers[id(data)] = len(data)
    return sum(buffers.values())
