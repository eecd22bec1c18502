"""A bare grpc.aio server: generic handlers, no (de)serializers, uvloop, a fixed answer.

`python -m benchmarks.echo_server PORT ANSWER_BYTES` serves what headrace is compared with. It answers
ServerReady, and counts what it echoed as ModelStatistics, as headrace does.
"""

import asyncio
import signal
import sys
from typing import Any

import grpc
import grpc.aio
import uvloop

from benchmarks.control import CHANNEL_OPTIONS, INFER_PATH, SERVICE
from headrace.pb.inference import grpc_service_pb2 as pb


class Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """Its methods take bytes and give bytes."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._count = 0
        self._handlers = {
            INFER_PATH: grpc.unary_unary_rpc_method_handler(self._infer),
            SERVICE + "ServerReady": grpc.unary_unary_rpc_method_handler(self._ready),
            SERVICE + "ModelStatistics": grpc.unary_unary_rpc_method_handler(self._statistics),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)

    async def _infer(self, request: bytes, context: object) -> bytes:
        self._count += 1
        return self._answer

    async def _ready(self, request: bytes, context: object) -> bytes:
        return pb.ServerReadyResponse(ready=True).SerializeToString()

    async def _statistics(self, request: bytes, context: object) -> bytes:
        counts = pb.ModelStatistics(inference_count=self._count, execution_count=self._count)
        counts.inference_stats.success.count = self._count
        return pb.ModelStatisticsResponse(model_stats=[counts]).SerializeToString()


async def serve(port: int, answer: bytes) -> None:
    """Serves until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server(handlers=[Echo(answer)], options=CHANNEL_OPTIONS)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await stop.wait()
    await server.stop(None)


def main() -> None:
    port, answer_bytes = (int(argument) for argument in sys.argv[1:])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(port, bytes(answer_bytes)))


if __name__ == "__main__":
    main()
