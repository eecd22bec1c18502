"""Requests put together by hand, right or wrong, and a caller that sends them and counts its answers."""

from collections import Counter
from typing import Any

import grpc
import numpy as np

from adversity.observing import Metrics
from headrace.core.strings import pack
from headrace.pb.inference import grpc_service_pb2 as pb
from support.server import ServerProcess

SERVICE = "/inference.GRPCInferenceService/"
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
]
OK = grpc.StatusCode.OK


class Caller:
    """One connection; keeps count of what each model answered."""

    def __init__(self, url: str) -> None:
        self.answered: Counter[str] = Counter()
        self.channel = grpc.insecure_channel(url, OPTIONS)
        self._infer = self.channel.unary_unary(
            SERVICE + "ModelInfer", pb.ModelInferRequest.SerializeToString, pb.ModelInferResponse.FromString
        )

    def infer(self, request: pb.ModelInferRequest, timeout_s: float = 30) -> pb.ModelInferResponse:
        """The answer, or grpc.RpcError."""
        response: pb.ModelInferResponse = self._infer(request, timeout=timeout_s)
        self.answered[response.model_name] += 1
        return response

    def outcome(self, request: pb.ModelInferRequest) -> tuple[grpc.StatusCode, str]:
        """The status and its message."""
        try:
            self.infer(request)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return OK, ""

    def call(self, method: str, request: Any, response: Any = None) -> Any:
        read = response.FromString if response else None
        return self.channel.unary_unary(SERVICE + method, type(request).SerializeToString, read)(
            request, timeout=30
        )

    def send_bytes(self, data: bytes) -> tuple[grpc.StatusCode, str]:
        """What a ModelInfer with these bytes for a message is answered with."""
        try:
            self.channel.unary_unary(SERVICE + "ModelInfer")(data, timeout=30)
        except grpc.RpcError as error:
            return error.code(), error.details()
        return OK, ""


def request(
    model: str, *, id: str = "", version: str = "", outputs: tuple[str, ...] = (), **inputs: Any
) -> pb.ModelInferRequest:
    """Inputs by name: (datatype, array), or (datatype, shape, raw bytes, typed contents by field, None)."""
    message = pb.ModelInferRequest(model_name=model, id=id, model_version=version)
    for name, (datatype, *rest) in inputs.items():
        shape, data = rest if len(rest) == 2 else (rest[0].shape, raw(rest[0]))
        add(message, name, datatype, shape, data)
    for name in outputs:
        message.outputs.add(name=name)
    return message


def add(
    message: pb.ModelInferRequest,
    name: str,
    datatype: str,
    shape: tuple[int, ...],
    data: bytes | dict[str, Any] | None,
) -> None:
    tensor = message.inputs.add(name=name, datatype=datatype, shape=shape)
    if isinstance(data, dict):
        tensor.contents.SetInParent()
        for field, values in data.items():
            getattr(tensor.contents, field).extend(values)
    elif data is not None:
        message.raw_input_contents.append(data)


def raw(array: np.ndarray) -> bytes:
    return pack(array.ravel().tolist()) if array.dtype == object else array.tobytes()


def assert_counters_add_up(server: ServerProcess, caller: Caller) -> None:
    """What was answered well is what clients got; every stage has as many; failures are told by reason."""
    response = caller.call("ModelStatistics", pb.ModelStatisticsRequest(), pb.ModelStatisticsResponse)
    metrics = Metrics(server)
    answered: Counter[str] = Counter()
    for model in response.model_stats:
        stages = model.inference_stats
        answered[model.name] += stages.success.count
        assert stages.success.count == stages.queue.count
        assert stages.queue.count == stages.compute_input.count
        assert stages.queue.count == stages.compute_infer.count == stages.compute_output.count
        assert model.inference_count == sum(
            batch.batch_size * batch.compute_infer.count for batch in model.batch_stats
        )
        assert model.execution_count == sum(batch.compute_infer.count for batch in model.batch_stats)
        labels = {"model": model.name, "version": model.version}
        assert metrics.value("nv_inference_request_failure", **labels) == stages.fail.count
        assert metrics.value("nv_inference_request_success", **labels) == stages.success.count
    assert +answered == +caller.answered
