"""A scheduler with a backend of the test's own: what the scheduler's tests are written with."""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from headrace.backend.base import Array
from headrace.core.request import InferenceRequest, InferenceResponse, RequestedOutput
from headrace.core.tensor import DATATYPES, Tensor, TensorSpec
from headrace.errors import HeadraceError
from headrace.instance.group import InstanceGroup, Slot
from headrace.model.signature import Signature, queue_policies
from headrace.repository.config import DynamicBatching, ModelConfig
from headrace.scheduler.batch import Batch, Layout
from headrace.scheduler.batcher import CheapSizes, batcher_for
from headrace.scheduler.entry import Entry
from headrace.scheduler.queue import RequestQueue
from headrace.scheduler.scheduler import Scheduler


@dataclass
class Doubler:
    """A backend that doubles its input; it waits for `gate` first, and does what `before` does."""

    gate: threading.Event = field(default_factory=threading.Event)
    before: Callable[[Mapping[str, Array]], None] = lambda inputs: None
    batches: list[int] = field(default_factory=list)
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    was_interrupted: threading.Event = field(default_factory=threading.Event)
    is_closed: bool = False

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        self.gate.wait(10)
        (array,) = inputs.values()
        self.batches.append(len(array))
        self.shapes.append(array.shape)
        self.before(inputs)
        return [array * 2 for _ in outputs]

    def interrupt(self) -> None:
        self.was_interrupted.set()

    def close(self) -> None:
        self.is_closed = True


@dataclass
class RecordedReply:
    """A caller that remembers every answer it got."""

    is_wanted: bool = True
    responses: list[InferenceResponse] = field(default_factory=list)
    errors: list[HeadraceError] = field(default_factory=list)

    def complete(self, response: InferenceResponse) -> None:
        self.responses.append(response)

    def fail(self, error: HeadraceError) -> None:
        self.errors.append(error)

    @property
    def answer_count(self) -> int:
        return len(self.responses) + len(self.errors)

    @property
    def values(self) -> np.ndarray:
        (tensor,) = self.responses[0].outputs
        return np.frombuffer(tensor.data, tensor.datatype.numpy).reshape(tensor.shape)


@dataclass
class RecordingObserver:
    """Remembers what the scheduler told."""

    batches: list[Batch] = field(default_factory=list)
    drops: list[tuple[Entry, HeadraceError]] = field(default_factory=list)

    def executed(self, batch: Batch) -> None:
        self.batches.append(batch)

    def dropped(self, entry: Entry, error: HeadraceError) -> None:
        self.drops.append((entry, error))


def config(**changes: object) -> ModelConfig:
    """A batching model with one input `x` and one output `y`, FP32, rows of any width."""
    values: dict[str, object] = {
        "name": "m",
        "max_batch_size": 8,
        "inputs": (spec("x"),),
        "outputs": (spec("y"),),
        "dynamic_batching": DynamicBatching(),
    }
    return ModelConfig(**{**values, **changes})  # type: ignore[arg-type]


def spec(name: str, datatype: str = "FP32", dims: tuple[int, ...] = (-1,), **more: object) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], dims, dims, **more)  # type: ignore[arg-type]


def request(array: np.ndarray, **changes: object) -> InferenceRequest:
    """A request with `array` as input `x`."""
    values: dict[str, object] = {
        "model_name": "m",
        "model_version": "",
        "id": "",
        "inputs": [tensor("x", array)],
        "outputs": [],
        "parameters": {},
        "arrived_ns": time.monotonic_ns(),
    }
    return InferenceRequest(**{**values, **changes})  # type: ignore[arg-type]


def tensor(name: str, array: np.ndarray, datatype: str = "") -> Tensor:
    names = {each.numpy: each for each in DATATYPES.values() if each.value != "BF16"}
    kind = DATATYPES[datatype] if datatype else names[array.dtype]
    return Tensor(name, kind, array.shape, np.ascontiguousarray(array).tobytes())


def outputs(*names: str) -> list[RequestedOutput]:
    return [RequestedOutput(name) for name in names]


class Rig:
    """A model's scheduling from admission to answer, around `backends`, one instance each."""

    def __init__(
        self,
        model: ModelConfig,
        *backends: Doubler,
        sizes: CheapSizes | None = None,
        execution_timeout_s: float = 0.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        largest = model.max_batch_size
        self.config = model
        self.backends = backends
        self.observer = RecordingObserver()
        self.executor = ThreadPoolExecutor(1)
        slots = [Slot(f"m_{index}", "cpu", 1, self._more) for index in range(len(backends))]
        self.group = InstanceGroup(slots, self.executor, execution_timeout_s, loop)
        policies = queue_policies(model, 1024)
        self.signature = Signature(model, policies)
        self.queue = RequestQueue(policies, model.name)
        batching = model.dynamic_batching
        self.scheduler = Scheduler(
            Layout.of(model, "1"),
            self.queue,
            batcher_for(model, sizes or CheapSizes(largest, largest), len(backends)),
            self.group,
            self.observer,
            loop,
            preserve_ordering=batching is not None and batching.preserve_ordering,
        )
        self.replacements: list[Doubler] = []
        self.group.start(list(backends))

    def _more(self) -> Doubler:
        backend = Doubler()
        backend.gate.set()
        self.replacements.append(backend)
        return backend

    def send(self, array: np.ndarray, **changes: object) -> RecordedReply:
        """Submits `array`; the reply fills later."""
        reply = RecordedReply()
        self.scheduler.submit(self.signature.admit(request(array, **changes), reply))
        return reply

    def open(self) -> None:
        for backend in self.backends:
            backend.gate.set()

    async def stop(self) -> None:
        self.open()
        await self.scheduler.drain()
        await self.group.stop()
        self.executor.shutdown()


def rows(count: int, width: int = 2, start: float = 0.0) -> np.ndarray:
    """`count` rows with values that no other row has."""
    return (np.arange(count * width, dtype=np.float32) + np.float32(start)).reshape(count, width)
