"""headrace.v1.Rollouts as a client calls it."""

from collections.abc import Iterable
from typing import Any

import grpc

from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.inference.grpc_service_pb2 import ModelInferRequest, ModelInferResponse

SERVICE = "/headrace.v1.Rollouts/"
INFER = "/inference.GRPCInferenceService/ModelInfer"


class RolloutCalls:
    """Calls by their names: `calls.status(model_name="m")`; grpc.RpcError where one fails."""

    def __init__(self, url: str) -> None:
        self._channel = grpc.insecure_channel(url)

    def close(self) -> None:
        self._channel.close()

    def start(self, **fields: Any) -> pb.Rollout:
        return self._call("Start", pb.StartRolloutRequest(**fields), pb.Rollout)

    def status(self, **fields: Any) -> pb.RolloutStatusResponse:
        return self._call("Status", pb.RolloutStatusRequest(**fields), pb.RolloutStatusResponse)

    def pause(self, **fields: Any) -> pb.Rollout:
        return self._call("Pause", pb.RolloutRequest(**fields), pb.Rollout)

    def resume(self, **fields: Any) -> pb.Rollout:
        return self._call("Resume", pb.RolloutRequest(**fields), pb.Rollout)

    def abort(self, **fields: Any) -> pb.Rollout:
        return self._call("Abort", pb.RolloutRequest(**fields), pb.Rollout)

    def rollback(self, **fields: Any) -> pb.Rollout:
        return self._call("Rollback", pb.RolloutRequest(**fields), pb.Rollout)

    def promote(self, **fields: Any) -> pb.Rollout:
        return self._call("Promote", pb.PromoteRequest(**fields), pb.Rollout)

    def explain(self, **fields: Any) -> pb.ExplainRolloutResponse:
        return self._call("Explain", pb.ExplainRolloutRequest(**fields), pb.ExplainRolloutResponse)

    def compare(self, **fields: Any) -> pb.CompareResponse:
        return self._call("Compare", pb.CompareRequest(**fields), pb.CompareResponse)

    def route(self, **fields: Any) -> pb.RouteStatus:
        return self._call("GetRoute", pb.RouteRequest(**fields), pb.RouteStatus)

    def set_route(self, **fields: Any) -> pb.RouteStatus:
        return self._call("SetRoute", pb.SetRouteRequest(**fields), pb.RouteStatus)

    def clear_route(self, **fields: Any) -> pb.RouteStatus:
        return self._call("ClearRoute", pb.RouteRequest(**fields), pb.RouteStatus)

    def infer_digit(self, metadata: Iterable[tuple[str, str]] = ()) -> ModelInferResponse:
        """A blank image to the sample model `digits`, whichever version answers."""
        request = ModelInferRequest(model_name="digits")
        request.inputs.add(name="image", datatype="FP32", shape=[1, 8, 8])
        request.raw_input_contents.append(bytes(256))
        return self._call(INFER, request, ModelInferResponse, tuple(metadata))

    def _call(self, method: str, request: Any, answer: Any, metadata: Any = ()) -> Any:
        call = self._channel.unary_unary(
            method if method.startswith("/") else SERVICE + method,
            request_serializer=type(request).SerializeToString,
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=20.0, wait_for_ready=True, metadata=metadata)
