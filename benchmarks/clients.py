"""Open-loop load: requests leave when they are due, however long the answers to earlier ones take."""

import asyncio
import time
from dataclasses import dataclass
from types import TracebackType

import grpc
import grpc.aio
import numpy as np

from benchmarks.control import CHANNEL_OPTIONS, INFER_PATH

CALL_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one request; `code` is None where the answer is right, else a gRPC status."""

    latency_ms: float
    code: grpc.StatusCode | None


class OpenLoop:
    """Sends `request` to the server on `port`, `rate` times a second, for as long as its context lasts.

    `expected` is the tensor of the right answer. Leaving the context waits for the last answers.
    """

    def __init__(self, port: int, request: bytes, expected: bytes, rate: float) -> None:
        self._answers: list[Answer] = []
        self._target = f"127.0.0.1:{port}"
        self._request = request
        self._expected = np.frombuffer(expected, np.float32)
        self._rate = rate
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "OpenLoop":
        self._channel = grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)
        await self._channel.channel_ready()
        self._infer = self._channel.unary_unary(INFER_PATH, None, None)
        self._sender = asyncio.create_task(self._send())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sender.cancel()
        await asyncio.wait([self._sender, *self._calls])
        await self._channel.close(None)

    def take(self) -> list[Answer]:
        """The answers that came since the last time."""
        answers, self._answers = self._answers, []
        return answers

    async def _send(self) -> None:
        clock = asyncio.get_running_loop().time
        due_s = clock()
        while True:
            await asyncio.sleep(max(0.0, due_s - clock()))
            call = asyncio.create_task(self._call())
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            due_s += 1 / self._rate

    async def _call(self) -> None:
        sent_ns, code = time.perf_counter_ns(), None
        try:
            answer = await self._infer(self._request, timeout=CALL_TIMEOUT_S)
            if not self._is_right(answer):
                code = grpc.StatusCode.DATA_LOSS
        except grpc.aio.AioRpcError as error:
            code = error.code()
        self._answers.append(Answer((time.perf_counter_ns() - sent_ns) / 1e6, code))

    def _is_right(self, answer: bytes) -> bool:
        """The tensor comes last in an answer; its last bits depend on the batch that it was computed in."""
        tensor = np.frombuffer(answer[-self._expected.nbytes :], np.float32)
        return bool(np.allclose(tensor, self._expected, rtol=1e-3, atol=1e-4))
