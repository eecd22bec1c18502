"""Callers: real digits at a steady rate, whatever becomes of them, each answer looked at."""

import asyncio
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import grpc
import numpy as np
from sklearn.datasets import load_digits

from headrace.pb.inference import grpc_service_pb2 as pb
from samples.sample import Rows

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
TIMEOUT_S = 5.0
# Requests that are later than this are left out, not sent all at once.
LATEST_S = 0.25


class Outcome(StrEnum):
    """What became of a request."""

    RIGHT = "right"
    WRONG = "wrong"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Answer:
    """One request: which image, when it was sent (in seconds since 1970), and what became of it.

    `version` is 0 of one that failed: nobody says who failed it.
    """

    image: int
    at_s: float
    took_s: float
    outcome: Outcome
    version: int = 0


@dataclass(frozen=True, slots=True)
class Digits:
    """All of scikit-learn's digits: images [1797, 8, 8] and what they show."""

    images: Rows
    labels: Rows

    @classmethod
    def load(cls) -> "Digits":
        data = load_digits()
        return cls(data.images.astype(np.float32), data.target.astype(np.int64))

    def requests(self, model: str) -> list[bytes]:
        """One for each image, which names no version."""
        return [_request(model, image) for image in self.images]


class Traffic:
    """Sends `rate` requests a second from `start` to `stop`; `answers` grows.

    It sends no less while answers are slow or missing. Times are those of the wall clock, which the server on
    the same machine goes by, too.
    """

    def __init__(self, url: str, model: str, digits: Digits, rate: float, seed: int = 0) -> None:
        self.answers: list[Answer] = []
        self._rate = rate
        self._labels = digits.labels
        self._requests = digits.requests(model)
        self._random = random.Random(seed)
        self._channel = grpc.aio.insecure_channel(url)
        self._infer = self._channel.unary_unary(MODEL_INFER, None, None)
        self._under_way: set[asyncio.Task[None]] = set()
        self._sending: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._sending = asyncio.get_running_loop().create_task(self._send())

    async def stop(self) -> None:
        """Sends no more, and waits for what is under way."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
        if self._under_way:
            await asyncio.wait(self._under_way)
        await self._channel.close(None)

    async def _send(self) -> None:
        loop = asyncio.get_running_loop()
        due_s = time.time()
        while True:
            due_s += 1 / self._rate
            delay_s = due_s - time.time()
            if delay_s > 0:
                await asyncio.sleep(delay_s)
            elif delay_s < -LATEST_S:
                due_s = time.time()
            task = loop.create_task(self._ask(self._random.randrange(len(self._requests))))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _ask(self, image: int) -> None:
        sent_at_s = time.time()
        try:
            data: bytes = await self._infer(self._requests[image], timeout=TIMEOUT_S)
        except grpc.aio.AioRpcError:
            self.answers.append(Answer(image, sent_at_s, time.time() - sent_at_s, Outcome.FAILED))
            return
        took_s = time.time() - sent_at_s
        answer = pb.ModelInferResponse.FromString(data)
        outcome = Outcome.RIGHT if _label(answer) == self._labels[image] else Outcome.WRONG
        self.answers.append(Answer(image, sent_at_s, took_s, outcome, int(answer.model_version)))


def between(answers: Iterable[Answer], begin_s: float, end_s: float) -> list[Answer]:
    """Those to requests that were sent in this time."""
    return [answer for answer in answers if begin_s <= answer.at_s < end_s]


def quantile_s(answers: Sequence[Answer], q: float) -> float:
    """Of the times that those took which did not fail; 0 where there are none."""
    times = [answer.took_s for answer in answers if answer.outcome is not Outcome.FAILED]
    return float(np.quantile(times, q)) if times else 0.0


def _request(model: str, image: Rows) -> bytes:
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="FP32", shape=[1, *image.shape])
    request = pb.ModelInferRequest(
        model_name=model, inputs=[tensor], raw_input_contents=[image.astype("<f4").tobytes()]
    )
    return request.SerializeToString()


def _label(answer: pb.ModelInferResponse) -> int:
    (place,) = [place for place, output in enumerate(answer.outputs) if output.name == "label"]
    return int(np.frombuffer(answer.raw_output_contents[place], "<i8")[0])
