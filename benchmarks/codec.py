"""What decoding a request and encoding an answer cost, beside protobuf's own parsing and serialising."""

import time
from collections.abc import Callable
from statistics import median

from benchmarks.effort import Effort
from benchmarks.models import tiny
from benchmarks.report import Figure, Report, ratios
from headrace.core.request import NO_PARAMETERS, InferenceResponse
from headrace.core.tensor import DataType, Tensor
from headrace.pb.inference.grpc_service_pb2 import ModelInferRequest, ModelInferResponse
from headrace.transport.grpc.decode import decode_request
from headrace.transport.grpc.encode import encode_response

CALLS = 50_000
CALLS_A_TURN = 500


def run(effort: Effort) -> Report:
    network, calls = tiny(), effort.count(CALLS)
    request = network.request()
    tensor = Tensor("y", DataType.FP32, (1, *network.output_dims), bytes(network.answer_bytes()))
    response = InferenceResponse(network.name, "1", "", [tensor], NO_PARAMETERS)
    decoded_us: list[float] = []
    parsed_us: list[float] = []
    encoded_us: list[float] = []
    serialised_us: list[float] = []
    for _ in range(effort.rounds):
        decoded_us.append(_call_us(lambda: decode_request(request, 0), calls))
        parsed_us.append(_call_us(lambda: ModelInferRequest.FromString(request), calls))
        encoded_us.append(_call_us(lambda: encode_response(response), calls))
        serialised_us.append(_call_us(lambda: _serialise(response), calls))
    return Report(
        (
            Figure("decode ÷ protobuf's parse alone", ratios(decoded_us, parsed_us)),
            Figure("encode ÷ building and serialising with protobuf", ratios(encoded_us, serialised_us)),
            Figure("decode", tuple(decoded_us), "µs"),
            Figure("encode", tuple(encoded_us), "µs"),
        )
    )


def _call_us(call: Callable[[], object], calls: int) -> float:
    """The median over turns, so that an interruption of the process does not count."""
    turns_ns = []
    for _ in range(max(1, calls // CALLS_A_TURN)):
        start_ns = time.perf_counter_ns()
        for _ in range(CALLS_A_TURN):
            call()
        turns_ns.append(time.perf_counter_ns() - start_ns)
    return median(turns_ns) / CALLS_A_TURN / 1000


def _serialise(response: InferenceResponse) -> bytes:
    message = ModelInferResponse(model_name=response.model_name, model_version=response.model_version)
    for output in response.outputs:
        message.outputs.add(name=output.name, datatype=output.datatype.value, shape=output.shape)
        message.raw_output_contents.append(bytes(output.data))
    return message.SerializeToString()
