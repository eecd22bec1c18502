"""Run by the Python that has KServe's SDK: asks the server at the given address everything its client can."""

import asyncio
import json
import sys

import grpc
import numpy as np
from kserve import InferenceGRPCClient, InferInput, InferRequest
from kserve.protocol.grpc.grpc_predict_v2_pb2 import (
    ModelMetadataRequest,
    RepositoryModelLoadRequest,
    RepositoryModelUnloadRequest,
    ServerMetadataRequest,
)
from kserve.protocol.grpc.grpc_predict_v2_pb2_grpc import GRPCInferenceServiceStub

ARRAYS = {
    "identity_fp32": ("FP32", np.array([[1.5, -0.0, np.inf]], np.float32)),
    "identity_fp16": ("FP16", np.array([[1.5, 65504]], np.float16)),
    "identity_int64": ("INT64", np.array([[-(2**63), 2**63 - 1]])),
    "identity_uint8": ("UINT8", np.array([[0, 255]], np.uint8)),
    "identity_bool": ("BOOL", np.array([[True, False]])),
    "identity_bytes": ("BYTES", np.array([["", "é漢", "c"]], object)),
}


async def main(url: str) -> dict[str, object]:
    """What each question was answered with."""
    answers: dict[str, object] = {}
    async with InferenceGRPCClient(url, retries=0) as client:
        answers["live"] = await client.is_server_live()
        answers["ready"] = await client.is_server_ready()
        answers["model ready"] = await client.is_model_ready("sums")
        answers["unknown model ready"] = await client.is_model_ready("nobody")
        for model, (datatype, array) in ARRAYS.items():
            for is_raw in (True, False):
                answers[f"{model} {'raw' if is_raw else 'typed'}"] = await comes_back(
                    client, model, datatype, array, is_raw
                )
        answers["sums"] = await sums(client)
        try:
            await client.infer(InferRequest("nobody", [InferInput("x", [1, 1], "FP32", [1.0])]))
        except grpc.RpcError as error:
            answers["unknown model"] = error.code().name
    answers.update(await repository(url))
    return answers


async def comes_back(
    client: InferenceGRPCClient, model: str, datatype: str, array: np.ndarray, is_raw: bool
) -> bool | str:
    """Whether an identity answers with what it was sent."""
    if not is_raw and datatype == "FP16":
        return "no typed form"
    tensor = InferInput("x", list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=is_raw)
    response = await client.infer(InferRequest(model, [tensor], request_id="k"))
    got = response.outputs[0].as_numpy()
    if datatype == "BYTES":
        got = np.array([[element.decode() for element in row] for row in got], object)
    return response.id == "k" and got.shape == array.shape and got.tolist() == array.tolist()


async def sums(client: InferenceGRPCClient) -> dict[str, list[float]]:
    inputs = [InferInput(name, [1, 4], "FP32", [1.0, 2.0, 3.0, 4.0]) for name in ("a", "b")]
    response = await client.infer(InferRequest("sums", inputs))
    return {output.name: output.as_numpy().ravel().tolist() for output in response.outputs}


async def repository(url: str) -> dict[str, object]:
    """KServe's stub, as its client has no method for these."""
    async with grpc.aio.insecure_channel(url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        server = await stub.ServerMetadata(ServerMetadataRequest())
        model = await stub.ModelMetadata(ModelMetadataRequest(name="sums"))
        unloaded = await stub.RepositoryModelUnload(RepositoryModelUnloadRequest(model_name="sums"))
        async with InferenceGRPCClient(url, retries=0) as client:
            is_ready_between = await client.is_model_ready("sums")
        loaded = await stub.RepositoryModelLoad(RepositoryModelLoadRequest(model_name="sums"))
        return {
            "server name": server.name,
            "metadata": [model.name, list(model.versions), [each.name for each in model.inputs]],
            "unloaded": [unloaded.model_name, unloaded.isUnloaded],
            "ready while unloaded": is_ready_between,
            "loaded": [loaded.model_name, loaded.isLoaded],
        }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1]))))
