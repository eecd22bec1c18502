"""Triton's asynchronous client, every method of it, against the real server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TypeVar

import numpy as np
import pytest
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

from support import onnx_models
from support.loops import run
from support.server import ServerProcess

T = TypeVar("T")


@pytest.fixture(scope="module")
def server(serve: Callable[..., ServerProcess]) -> ServerProcess:
    arguments = ("--model-control-mode=explicit", "--load-model=*")
    return serve("identity_int64", "labelled", "mixed", "steps", arguments=arguments)


def ask(server: ServerProcess, use: Callable[[triton.InferenceServerClient], Awaitable[T]]) -> T:
    """What `use` gets from a client of its own."""

    async def main() -> T:
        async with triton.InferenceServerClient(server.grpc_url) as client:
            return await use(client)

    return run(main())


def tensor(name: str, datatype: str, array: np.ndarray) -> triton.InferInput:
    return triton.InferInput(name, list(array.shape), datatype).set_data_from_numpy(array)


def test_questions_about_the_server_and_its_models(server: ServerProcess) -> None:
    async def use(client: triton.InferenceServerClient) -> None:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("mixed")
        assert not await client.is_model_ready("nobody")
        assert "statistics" in (await client.get_server_metadata()).extensions
        assert (await client.get_model_metadata("mixed")).inputs[1].datatype == "BYTES"
        assert (await client.get_model_config("mixed")).config.max_batch_size == 32
        index = await client.get_model_repository_index()
        assert {entry.name for entry in index.models} == {"identity_int64", "labelled", "mixed", "steps"}
        assert (await client.get_inference_statistics("mixed")).model_stats[0].name == "mixed"
        assert (await client.get_trace_settings()).settings["trace_level"].value == ["OFF"]
        assert (await client.update_trace_settings(settings={"trace_level": "OFF"})).settings
        assert (await client.get_log_settings()).settings["log_info"].bool_param
        assert (await client.update_log_settings({"log_info": True})).settings["log_info"].bool_param

    ask(server, use)


def test_shared_memory_is_refused(server: ServerProcess) -> None:
    async def use(client: triton.InferenceServerClient) -> None:
        for refused in (
            client.register_system_shared_memory("region", "/key", 64),
            client.get_system_shared_memory_status(),
            client.unregister_system_shared_memory(),
            client.register_cuda_shared_memory("region", b"aGFuZGxl", 0, 64),
            client.get_cuda_shared_memory_status(),
            client.unregister_cuda_shared_memory(),
        ):
            with pytest.raises(InferenceServerException, match="Client shared memory is disabled"):
                await refused

    ask(server, use)


def test_load_and_unload(server: ServerProcess) -> None:
    async def use(client: triton.InferenceServerClient) -> None:
        await client.unload_model("labelled")
        assert not await client.is_model_ready("labelled")
        await client.load_model("labelled", config=json.dumps({"max_batch_size": 3}))
        assert (await client.get_model_config("labelled")).config.max_batch_size == 3
        graph = onnx_models.identity("FP32", ("batch", 5)).SerializeToString()
        await client.load_model("labelled", config="{}", files={"file:1/model.onnx": graph})
        assert list((await client.get_model_metadata("labelled")).inputs[0].shape) == [-1, 5]
        await client.load_model("labelled")
        assert list((await client.get_model_metadata("labelled")).inputs[0].shape) == [-1, 3]

    ask(server, use)


@pytest.mark.parametrize("algorithm", [None, "gzip", "deflate"])
def test_many_requests_at_once(server: ServerProcess, algorithm: str | None) -> None:
    async def use(client: triton.InferenceServerClient) -> list[list[list[int]]]:
        async def one(value: int) -> list[list[int]]:
            sent = tensor("x", "INT64", np.array([[value, value + 1]]))
            result = await client.infer(
                "identity_int64", [sent], request_id=str(value), compression_algorithm=algorithm
            )
            assert result.get_response().id == str(value)
            values: list[list[int]] = result.as_numpy("y").tolist()
            return values

        return await asyncio.gather(*(one(value) for value in range(200)))

    assert ask(server, use) == [[[value, value + 1]] for value in range(200)]


def test_classification(server: ServerProcess) -> None:
    async def use(client: triton.InferenceServerClient) -> object:
        outputs = [triton.InferRequestedOutput("y", class_count=1)]
        sent = tensor("x", "FP32", np.array([[1, 2, 0]], np.float32))
        return (await client.infer("labelled", [sent], outputs=outputs)).as_numpy("y").tolist()

    assert ask(server, use) == [[b"2.000000:1:one"]]


def test_a_client_timeout_and_a_cancellation_harm_nobody(server: ServerProcess) -> None:
    async def use(client: triton.InferenceServerClient) -> int:
        slow = tensor("x", "INT64", np.array([3000]))
        with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED"):
            await client.infer("steps", [slow], client_timeout=0.05)
        task = asyncio.create_task(client.infer("steps", [slow]))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        result = await client.infer("steps", [tensor("x", "INT64", np.array([2]))])
        value: int = result.as_numpy("y").item()
        return value

    assert ask(server, use) == 2
