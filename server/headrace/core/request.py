"""What a caller asks and what it gets: requests, responses and how long each stage took."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol, TypeAlias

from headrace.core.caller import STRANGER, Caller
from headrace.core.tensor import Tensor
from headrace.errors import HeadraceError

Parameter: TypeAlias = bool | int | float | str
Parameters: TypeAlias = Mapping[str, Parameter]

# How much of a request's id a message shows, in characters.
SHOWN_ID = 128

NO_PARAMETERS: Parameters = MappingProxyType({})


def no_metadata(name: str) -> None:
    """Where the caller sent nothing along."""


@dataclass(slots=True)
class RequestedOutput:
    """An output asked for; a `class_count` above 0 asks for its best classes instead of its numbers."""

    name: str
    class_count: int = 0


@dataclass(slots=True)
class InferenceRequest:
    """One request, decoded but not yet held against a model.

    `model_version` is as the caller wrote it, "" for the server's choice. `deadline_ns` is a point on
    `time.monotonic_ns`, or None. `arrived_ns` is on the same clock. An empty `outputs` asks for all.
    `metadata` gives what the caller sent along under a name in lower case (gRPC metadata, HTTP headers), or
    None. `notes` are parameters that the answer will carry. Nobody waits for the answer to a shadow's. The
    version of one that `is_shared` was chosen by weights or by its key.
    """

    model_name: str
    model_version: str
    id: str
    inputs: list[Tensor]
    outputs: list[RequestedOutput]
    parameters: Parameters
    arrived_ns: int
    deadline_ns: int | None = None
    wants_timings: bool = False
    caller: Caller = STRANGER
    metadata: Callable[[str], str | None] = field(default=no_metadata, compare=False)
    wants_route: bool = False
    notes: Parameters | None = None
    is_shadow: bool = False
    is_shared: bool = False


def about(request: InferenceRequest, error: HeadraceError) -> HeadraceError:
    """The same error, saying which request it is about, as Triton's say it."""
    return type(error)(f"[request id: {request.id[:SHOWN_ID] or '<id_unknown>'}] {error}")


@dataclass(slots=True)
class Timings:
    """How long one request spent in each stage, in nanoseconds.

    `queue_ns` ends when its batch is taken, `batch_wait_ns` when the batch's worker starts on it; the
    compute stages are those of the whole batch. `batch_rows` counts the batch's rows.
    """

    queue_ns: int = 0
    batch_wait_ns: int = 0
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0
    batch_rows: int = 0

    @property
    def executed_ns(self) -> int:
        """All compute stages together."""
        return self.compute_input_ns + self.compute_infer_ns + self.compute_output_ns

    def to_parameters(self) -> Parameters:
        """The times in whole microseconds, as the parameters of a response."""
        stages_ns = {
            "headrace_queue_us": self.queue_ns,
            "headrace_batch_wait_us": self.batch_wait_ns,
            "headrace_compute_input_us": self.compute_input_ns,
            "headrace_compute_infer_us": self.compute_infer_ns,
            "headrace_compute_output_us": self.compute_output_ns,
        }
        stages_us: dict[str, Parameter] = {name: ns // 1000 for name, ns in stages_ns.items()}
        total_us = sum(stages_ns.values()) // 1000
        return stages_us | {"headrace_total_us": total_us, "headrace_batch_rows": self.batch_rows}


@dataclass(slots=True)
class InferenceResponse:
    """The answer to one request; `outputs` are in the order asked for, or in the model's order."""

    model_name: str
    model_version: str
    id: str
    outputs: list[Tensor]
    parameters: Parameters = field(default_factory=lambda: NO_PARAMETERS)
    timings: Timings | None = None


class Reply(Protocol):
    """Where one caller waits. Exactly one of `complete` and `fail` is called, once, on the event loop."""

    @property
    def is_wanted(self) -> bool:
        """False once the caller has left; its request is then dropped instead of executed."""
        ...

    def complete(self, response: InferenceResponse) -> None: ...

    def fail(self, error: HeadraceError) -> None: ...
