"""A blocking client for what a benchmark asks of headrace besides load."""

from dataclasses import dataclass
from typing import Any

import grpc

from headrace.pb.inference import grpc_service_pb2 as pb

SERVICE = "/inference.GRPCInferenceService/"
INFER_PATH = SERVICE + "ModelInfer"

CALL_TIMEOUT_S = 60.0

CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Channels to the same address share connections otherwise, also with a server that is gone.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a server has counted for one model, all its versions together."""

    success: int
    fail: int
    rows: int
    executions: int

    def __sub__(self, earlier: "Counts") -> "Counts":
        return Counts(
            self.success - earlier.success,
            self.fail - earlier.fail,
            self.rows - earlier.rows,
            self.executions - earlier.executions,
        )

    @property
    def mean_batch(self) -> float:
        """Rows an execution."""
        return self.rows / self.executions if self.executions else 0.0


class Control:
    """Asks the server on `port`."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=CHANNEL_OPTIONS)

    def close(self) -> None:
        self._channel.close()

    def is_ready(self) -> bool:
        try:
            answer = self._call("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return bool(answer.ready)

    def counts(self, model: str) -> Counts:
        request = pb.ModelStatisticsRequest(name=model)
        found = self._call("ModelStatistics", request, pb.ModelStatisticsResponse).model_stats
        return Counts(
            success=sum(each.inference_stats.success.count for each in found),
            fail=sum(each.inference_stats.fail.count for each in found),
            rows=sum(each.inference_count for each in found),
            executions=sum(each.execution_count for each in found),
        )

    def load(self, model: str) -> None:
        request = pb.RepositoryModelLoadRequest(model_name=model)
        self._call("RepositoryModelLoad", request, pb.RepositoryModelLoadResponse)

    def unload(self, model: str) -> None:
        request = pb.RepositoryModelUnloadRequest(model_name=model)
        self._call("RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse)

    def infer(self, request: bytes) -> pb.ModelInferResponse:
        """The answer to a serialised ModelInferRequest."""
        infer = self._channel.unary_unary(INFER_PATH, None, pb.ModelInferResponse.FromString)
        answer: pb.ModelInferResponse = infer(request, timeout=CALL_TIMEOUT_S)
        return answer

    def _call(self, method: str, request: Any, answer: Any) -> Any:
        call = self._channel.unary_unary(
            SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=CALL_TIMEOUT_S)
