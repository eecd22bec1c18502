"""Whoever asks gets the answer to what was asked, however batches are joined and cut."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as triton

from headrace.core.strings import pack
from headrace.pb.inference import grpc_service_pb2 as pb
from support import onnx_models
from support.loops import run
from support.server import ServerProcess

REQUESTS = 20_000
CONCURRENCY = 64
INFER = "/inference.GRPCInferenceService/ModelInfer"
BATCHING = "max_batch_size: 32\ndynamic_batching: {max_queue_delay_microseconds: 3000}\n"


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess], tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    repository = tmp_path_factory.mktemp("repository")
    write(repository)
    return serve(repository=repository)


def write(repository: Path) -> None:
    for name, datatype, dims in (
        ("numbers", "INT64", ("batch", 4)),
        ("rows", "INT32", ("batch", "width")),
        ("texts", "BYTES", ("batch", "width")),
    ):
        onnx_models.write(repository, name, onnx_models.identity(datatype, dims), BATCHING)


def requests() -> Iterator[pb.ModelInferRequest]:
    """Each with data that no other has: most of one shape, some of others, some texts, of 1 to 8 rows."""
    for number in range(REQUESTS):
        rows = 1 + number % 8 if number % 5 == 0 else 1
        if number % 10 == 3:
            width = 1 + number % 3
            data = pack([f"{number}:{index}".encode() for index in range(rows * width)])
            yield request(number, "texts", "BYTES", (rows, width), data)
        elif number % 10 == 6:
            width = 1 + number % 4
            array = np.arange(rows * width, dtype=np.int32) + number * 64
            yield request(number, "rows", "INT32", (rows, width), array.tobytes())
        else:
            array = np.arange(rows * 4) + number * 1_000_003
            yield request(number, "numbers", "INT64", (rows, 4), array.tobytes())


def request(
    number: int, model: str, datatype: str, shape: tuple[int, ...], data: bytes
) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape)
    return pb.ModelInferRequest(model_name=model, id=str(number), inputs=[tensor], raw_input_contents=[data])


def is_answer(response: pb.ModelInferResponse, request: pb.ModelInferRequest) -> bool:
    return (
        response.model_name == request.model_name
        and response.id == request.id
        and list(response.raw_output_contents) == list(request.raw_input_contents)
        and list(response.outputs[0].shape) == list(request.inputs[0].shape)
    )


def test_each_answer_is_to_its_own_request(server: ServerProcess) -> None:
    """R12: no row of one request ever reaches another, over 20,000 requests in batches."""
    outcomes: Counter[str] = Counter()
    sent: Counter[str] = Counter()
    rows: Counter[str] = Counter()

    async def caller(url: str, waiting: Iterator[pb.ModelInferRequest]) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(url, options) as channel:
            infer = channel.unary_unary(
                INFER, pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
            )

            async def one_by_one() -> None:
                for each in waiting:
                    sent[each.model_name] += 1
                    rows[each.model_name] += each.inputs[0].shape[0]
                    response = await infer(each)
                    outcomes["right" if is_answer(response, each) else f"wrong: {each.id}"] += 1

            await asyncio.gather(*(one_by_one() for _ in range(CONCURRENCY // 4)))

    async def main() -> None:
        waiting = requests()
        await asyncio.gather(*(caller(server.grpc_url, waiting) for _ in range(4)))

    run(main())

    assert outcomes == {"right": REQUESTS}
    with triton.InferenceServerClient(server.grpc_url) as client:
        for model in ("numbers", "rows", "texts"):
            (statistics,) = client.get_inference_statistics(model).model_stats
            assert statistics.inference_stats.success.count == sent[model]
            assert statistics.inference_stats.queue.count == sent[model]
            assert statistics.inference_stats.fail.count == 0
            assert statistics.inference_count == rows[model]
            assert statistics.execution_count == sum(
                batch.compute_infer.count for batch in statistics.batch_stats
            )
            assert statistics.inference_count == sum(
                batch.batch_size * batch.compute_infer.count for batch in statistics.batch_stats
            )
            if model == "numbers":
                assert statistics.execution_count < 0.7 * sent[model], "nothing was batched"
