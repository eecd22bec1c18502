"""Callers of a server under test: tensors in, tensors out, and everything else remembered."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self

import grpc
import grpc.aio
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc

DATATYPES = {"float32": "FP32", "int64": "INT64"}
# Arguments for a server that loads everything at the start and then does as it is told.
EXPLICIT = ("--model-control-mode=explicit", "--load-model=*", "--repository-settle-time-s=0")
_OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


@dataclass(frozen=True, slots=True)
class Answer:
    """The first output's values and the version that gave them."""

    values: np.ndarray
    version: int


class Caller:
    """One connection with one model's input on it; `async with`."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def __aenter__(self) -> Self:
        self._channel = grpc.aio.insecure_channel(self._url, options=_OPTIONS)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()

    async def infer(
        self, model: str, input_name: str, array: np.ndarray, *, version: str = "", timeout_s: float = 20.0
    ) -> Answer:
        """The answer, or grpc.aio.AioRpcError."""
        message = request(model, input_name, array, version)
        return answer(await self.stub.ModelInfer(message, timeout=timeout_s))

    async def stream(
        self, requests: AsyncIterator[pb.ModelInferRequest], timeout_s: float = 30.0
    ) -> AsyncIterator[pb.ModelStreamInferResponse]:
        async for response in self.stub.ModelStreamInfer(requests, timeout=timeout_s):
            yield response

    async def load(self, model: str, timeout_s: float = 30.0, **parameters: str) -> None:
        message = pb.RepositoryModelLoadRequest(model_name=model)
        for name, text in parameters.items():
            message.parameters[name].string_param = text
        await self.stub.RepositoryModelLoad(message, timeout=timeout_s)

    async def unload(self, model: str) -> None:
        await self.stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=model), timeout=30)

    async def index(self) -> dict[tuple[str, str], tuple[str, str]]:
        """(state, reason) by (name, version)."""
        index = await self.stub.RepositoryIndex(pb.RepositoryIndexRequest(), timeout=10)
        return {(entry.name, entry.version): (entry.state, entry.reason) for entry in index.models}

    async def ready_versions(self, model: str) -> set[int]:
        return {
            int(version)
            for (name, version), (state, _) in (await self.index()).items()
            if name == model and state == "READY"
        }

    async def executions(self, model: str) -> tuple[int, int]:
        """How many rows and how many batches were executed."""
        statistics = await self.stub.ModelStatistics(pb.ModelStatisticsRequest(name=model), timeout=10)
        (each,) = statistics.model_stats
        return each.inference_count, each.execution_count

    async def busy_s(self, model: str) -> float:
        """How long its one instance has executed, in all."""
        statistics = await self.stub.ModelStatistics(pb.ModelStatisticsRequest(name=model), timeout=10)
        (each,) = statistics.model_stats
        return sum(batch.compute_infer.ns for batch in each.batch_stats) / 1e9

    async def is_server_ready(self) -> bool:
        return bool((await self.stub.ServerReady(pb.ServerReadyRequest(), timeout=10)).ready)

    async def is_model_ready(self, model: str) -> bool:
        return bool((await self.stub.ModelReady(pb.ModelReadyRequest(name=model), timeout=10)).ready)


@dataclass(slots=True)
class Load:
    """Callers that send again as soon as they are answered, or at `interval_s`; what they saw adds up.

    `check` judges every answer and returns what is wrong with it, or "".
    """

    url: str
    model: str
    input_name: str
    array: np.ndarray
    check: Callable[[Answer], str] = lambda answer: ""
    interval_s: float = 0.0
    timeout_s: float = 20.0
    answers: Counter[int] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    latencies_s: list[float] = field(default_factory=list)
    error_latencies_s: list[float] = field(default_factory=list)
    sent_count: int = 0
    is_over: bool = False

    async def run(self, callers: int, connections: int = 2) -> None:
        """Sends until `is_over`."""
        async with asyncio.TaskGroup() as group:
            for connection in range(connections):
                count = len(range(connection, callers, connections))
                group.create_task(self._connection(count))

    async def _connection(self, callers: int) -> None:
        async with Caller(self.url) as caller, asyncio.TaskGroup() as group:
            for index in range(callers):
                group.create_task(self._one(caller, self.interval_s * index / callers))

    async def _one(self, caller: Caller, offset_s: float) -> None:
        await asyncio.sleep(offset_s)
        while not self.is_over:
            started = time.monotonic()
            self.sent_count += 1
            try:
                got = await caller.infer(self.model, self.input_name, self.array, timeout_s=self.timeout_s)
            except grpc.aio.AioRpcError as error:
                self.errors[f"{error.code().name}: {error.details()}"] += 1
                self.error_latencies_s.append(time.monotonic() - started)
            else:
                self.latencies_s.append(time.monotonic() - started)
                self.answers[got.version] += 1
                if complaint := self.check(got):
                    self.wrong.append(complaint)
            await asyncio.sleep(max(0.0, self.interval_s - (time.monotonic() - started)))

    @property
    def answered_count(self) -> int:
        return self.answers.total()

    def assert_flawless(self) -> None:
        assert not self.errors, self.errors
        assert not self.wrong, self.wrong[:5]
        assert self.answered_count == self.sent_count > 0


def request(model: str, input_name: str, array: np.ndarray, version: str = "") -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model, model_version=version)
    tensor = message.inputs.add(name=input_name, datatype=DATATYPES[array.dtype.name])
    tensor.shape.extend(array.shape)
    message.raw_input_contents.append(array.tobytes())
    return message


def answer(response: Any) -> Answer:
    output = response.outputs[0]
    kind = {code: name for name, code in DATATYPES.items()}[output.datatype]
    values = np.frombuffer(response.raw_output_contents[0], kind).reshape(output.shape)
    return Answer(values, int(response.model_version))


def spins(count: int, rows: int = 1) -> np.ndarray:
    """The spinner's input."""
    return np.full((rows, 1), count, np.int64)


def floats(rows: int = 1, start: float = 1.0) -> np.ndarray:
    """The scaler's input."""
    return (np.arange(rows * 4, dtype=np.float32) + np.float32(start)).reshape(rows, 4)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Runs callers on a loop of their own.

    Unlike support.loops.run it does not mind what is left over: the server has a process of its own, and
    grpc.aio's client leaves a callback behind now and then.
    """
    asyncio.run(main)


async def code_of(call: Any) -> tuple[grpc.StatusCode, str]:
    """The status and details that a call ends with."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""


async def eventually(condition: Callable[[], Any], timeout_s: float = 10.0) -> None:
    """Returns once `condition()`, which may be a coroutine, holds; fails after `timeout_s`."""
    async with asyncio.timeout(timeout_s):
        while True:
            result = condition()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.02)
