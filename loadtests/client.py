"""A V2 client that sends without waiting for answers; gevent must be in charge of gRPC before it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import grpc

from headrace.pb.inference import grpc_service_pb2

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # otherwise gRPC gives all channels of a process one connection
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request: an answer or an error, when, and how large the answer was."""

    at_s: float
    answer: grpc_service_pb2.ModelInferResponse | None
    byte_count: int = 0
    error: Exception | None = None


class CallFailed(Exception):
    """The call ended with a status other than OK; says which, so that equal failures count together."""


class Client:
    """One connection to the server. Times are those of `time.perf_counter`."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        self._channel = grpc.insecure_channel(url, options=OPTIONS)
        self._infer = self._channel.unary_unary(MODEL_INFER, None, None)

    def infer(self, request: bytes, finished: Callable[[Outcome], None]) -> None:
        """Sends at once; `finished` is called when there is an answer, or none in time."""
        call = self._infer.future(request, timeout=self.timeout_s)
        call.add_done_callback(lambda call: finished(_outcome(call)))

    def close(self) -> None:
        self._channel.close()


def _outcome(call: Any) -> Outcome:
    """`call` is a grpc.Future and a grpc.Call at once."""
    at_s = perf_counter()
    try:
        data: bytes = call.result()
    except (grpc.RpcError, grpc.FutureCancelledError):
        return Outcome(at_s, None, error=CallFailed(f"{call.code().name}: {call.details()}"))
    return Outcome(at_s, grpc_service_pb2.ModelInferResponse.FromString(data), len(data))
