"""Orders and questions about rollouts, as anybody may give them over gRPC."""

from typing import Protocol, TypeVar

import grpc

from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.headrace.v1 import routing_pb2
from headrace.pb.inference import grpc_service_pb2

ROLLOUTS = "/headrace.v1.Rollouts/"
REPOSITORY_INDEX = "/inference.GRPCInferenceService/RepositoryIndex"
TIMEOUT_S = 10.0


class Message(Protocol):
    """What protobuf's messages can do that matters here."""

    def SerializeToString(self) -> bytes: ...


M = TypeVar("M")


class Control:
    """Of one model of the server at `url`. Every call raises grpc.aio.AioRpcError where it is refused."""

    def __init__(self, url: str, model: str) -> None:
        self._model = model
        self._channel = grpc.aio.insecure_channel(url)

    async def close(self) -> None:
        await self._channel.close(None)

    async def start(self, version: int, plan: routing_pb2.RolloutPlan) -> pb.Rollout:
        request = pb.StartRolloutRequest(model_name=self._model, version=version, plan=plan)
        return await self._call(ROLLOUTS + "Start", request, pb.Rollout)

    async def roll_back(self, reason: str) -> pb.Rollout:
        request = pb.RolloutRequest(model_name=self._model, reason=reason)
        return await self._call(ROLLOUTS + "Rollback", request, pb.Rollout)

    async def last(self) -> pb.Rollout | None:
        """The model's last rollout, under way or not."""
        request = pb.RolloutStatusRequest(model_name=self._model)
        answer = await self._call(ROLLOUTS + "Status", request, pb.RolloutStatusResponse)
        return answer.rollouts[0] if answer.rollouts else None

    async def events(self, rollout_id: int) -> list[pb.RolloutEvent]:
        """Every decision so far, the oldest first."""
        request = pb.ExplainRolloutRequest(model_name=self._model, id=rollout_id)
        answer = await self._call(ROLLOUTS + "Explain", request, pb.ExplainRolloutResponse)
        return list(answer.events)

    async def version_state(self, version: int) -> tuple[str, str]:
        """READY, LOADING or UNAVAILABLE, and why; two empty texts where the version is not known."""
        request = grpc_service_pb2.RepositoryIndexRequest()
        answer = await self._call(REPOSITORY_INDEX, request, grpc_service_pb2.RepositoryIndexResponse)
        for each in answer.models:
            if (each.name, each.version) == (self._model, str(version)):
                return each.state, each.reason
        return "", ""

    async def _call(self, path: str, request: Message, answer: type[M]) -> M:
        call = self._channel.unary_unary(path, None, None)
        data: bytes = await call(request.SerializeToString(), timeout=TIMEOUT_S)
        return answer.FromString(data)  # type: ignore[attr-defined, no-any-return]
