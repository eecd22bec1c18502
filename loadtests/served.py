"""What the server itself counted during a run: how long requests took from arrival to answer."""

from dataclasses import dataclass

import grpc

from headrace.pb.inference import grpc_service_pb2
from loadtests.client import OPTIONS

MODEL_STATISTICS = "/inference.GRPCInferenceService/ModelStatistics"
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Served:
    """Requests that were answered well so far, by all callers, and the time that they took together."""

    count: int = 0
    ns: int = 0

    def mean_ms_since(self, before: "Served") -> float:
        """Per request; 0 where there was none."""
        count = self.count - before.count
        return (self.ns - before.ns) / count / 1e6 if count > 0 else 0.0


def read_served(url: str) -> Served:
    """The server's figures now; zeros where it does not answer."""
    with grpc.insecure_channel(url, options=OPTIONS) as channel:
        call = channel.unary_unary(MODEL_STATISTICS, None, None)
        try:
            data: bytes = call(b"", timeout=TIMEOUT_S)
        except grpc.RpcError:
            return Served()
    answer = grpc_service_pb2.ModelStatisticsResponse.FromString(data)
    successes = [model.inference_stats.success for model in answer.model_stats]
    return Served(sum(each.count for each in successes), sum(each.ns for each in successes))
