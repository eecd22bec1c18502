"""A small V2 server that answers the commands under test, and a way to run these."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest

from headrace.core.strings import pack
from headrace.pb.headrace.v1 import admin_pb2
from headrace.pb.inference import grpc_service_pb2 as v2
from support.commands import Ran, run_command


class FakeServer:
    """Serves `digits` (x: FP32 [-1, 4] → sum, label) and records what it was asked.

    `refuse` makes ModelInfer fail for requests whose first value it accepts.
    """

    def __init__(self) -> None:
        self.url = ""
        self.inputs = [("x", "FP32", [-1, 4])]
        self.output_datatype = "FP32"
        self.answers_typed = False
        self.has_admin = True
        self.refuse: Callable[[float], bool] = lambda first: False
        self.models: list[Any] = []
        self.batches: list[Any] = []
        self.requests: list[Any] = []
        self.batch_requests: list[Any] = []

    def infer(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        shape = request.inputs[0].shape
        data = np.frombuffer(request.raw_input_contents[0], "<f4").reshape(shape)
        if self.refuse(float(data.flat[0])):
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the model\nsaid no")
        response = v2.ModelInferResponse(model_name=request.model_name, model_version="3", id=request.id)
        classes = [output.parameters["classification"].int64_param for output in request.outputs]
        if classes and classes[0]:
            texts = [f"0.{9 - k}00000:{k}:name{k}".encode() for k in range(classes[0])] * len(data)
            response.outputs.add(name="sum", datatype="BYTES", shape=[len(data), classes[0]])
            response.raw_output_contents.append(pack(texts))
        else:
            self._add(response, "sum", "FP32", [len(data)], data.reshape(len(data), -1).sum(1))
        if "headrace_timings" in request.parameters:
            response.parameters["headrace_queue_us"].int64_param = 42
        return response

    def metadata(self, request: Any, context: grpc.ServicerContext) -> Any:
        if request.name != "digits":
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model {request.name!r}")
        answer = v2.ModelMetadataResponse(name="digits", versions=["3"])
        for name, datatype, shape in self.inputs:
            answer.inputs.add(name=name, datatype=datatype, shape=shape)
        answer.outputs.add(name="sum", datatype=self.output_datatype, shape=[-1])
        return answer

    def list_models(self, request: Any, context: grpc.ServicerContext) -> Any:
        wanted = [model for model in self.models if request.model_name in ("", model.name)]
        return admin_pb2.ModelsResponse(models=wanted)

    def list_batches(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.batch_requests.append(request)
        return admin_pb2.BatchesResponse(batches=self.batches[-request.limit :])

    def _add(self, response: Any, name: str, datatype: str, shape: list[int], data: Any) -> None:
        output = response.outputs.add(name=name, datatype=datatype, shape=shape)
        if self.answers_typed:
            output.contents.fp32_contents.extend(data.tolist())
        else:
            response.raw_output_contents.append(data.astype("<f4").tobytes())


@pytest.fixture
def server() -> Iterator[FakeServer]:
    fake = FakeServer()

    def handler(method: Any, request: Any) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(
            method, request.FromString, lambda response: response.SerializeToString()
        )

    inference = {
        "ModelInfer": handler(fake.infer, v2.ModelInferRequest),
        "ModelMetadata": handler(fake.metadata, v2.ModelMetadataRequest),
    }
    admin = {
        "Models": handler(fake.list_models, admin_pb2.ModelsRequest),
        "Batches": handler(fake.list_batches, admin_pb2.BatchesRequest),
    }
    with ThreadPoolExecutor(4) as pool:
        real = grpc.server(pool)
        real.add_generic_rpc_handlers(
            (
                grpc.method_handlers_generic_handler("inference.GRPCInferenceService", inference),
                grpc.method_handlers_generic_handler("headrace.v1.Admin", admin),
            )
        )
        fake.url = f"127.0.0.1:{real.add_insecure_port('127.0.0.1:0')}"
        real.start()
        yield fake
        real.stop(0).wait()


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    return partial(run_command, capsys)
