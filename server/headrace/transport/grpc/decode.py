"""Inference requests from the bytes of a ModelInferRequest (its times: docs/transports.md)."""

from collections.abc import Mapping, Sequence

from headrace.core.request import NO_PARAMETERS, InferenceRequest, RequestedOutput
from headrace.core.tensor import DATATYPES, Buffer, DataType, Tensor
from headrace.errors import InvalidArgument
from headrace.pb.inference.grpc_service_pb2 import InferParameter, ModelInferRequest
from headrace.transport.grpc.contents import to_bytes
from headrace.transport.grpc.parameters import read_class_count, read_parameters
from headrace.transport.grpc.parse import parse
from headrace.transport.grpc.raw_contents import split
from headrace.transport.inputs import check_names_differ, check_shape, check_text_elements
from headrace.transport.limits import DEFAULT_LIMITS, Limits, check_count, check_text
from headrace.transport.parameters import ROUTE, refuse_shared_memory

# Below, copying costs less than looking for what need not be copied.
LARGE_REQUEST_BYTES = 32 * 1024


def decode_request(
    data: bytes, arrived_ns: int, deadline_ns: int | None = None, limits: Limits = DEFAULT_LIMITS
) -> InferenceRequest:
    """The request in `data`; InvalidArgument, Unimplemented or Internal where it breaks the protocol's rules.

    Whether it has what its model declares is for the model to say.
    """
    message, raws = parse_request(data)
    return read_request(message, raws, arrived_ns, deadline_ns, limits)


def parse_request(data: bytes) -> tuple[ModelInferRequest, Sequence[Buffer]]:
    """The message in `data` and its raw tensors, which may be views of `data` where it is large."""
    parts = split(data) if len(data) >= LARGE_REQUEST_BYTES else None
    if parts is None:
        message = parse(ModelInferRequest, data)
        return message, message.raw_input_contents
    rest, raws = parts
    return parse(ModelInferRequest, rest), raws


def read_request(
    message: ModelInferRequest,
    raws: Sequence[Buffer],
    arrived_ns: int,
    deadline_ns: int | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> InferenceRequest:
    """The same of what `parse_request` gave."""
    model_name, request_id = message.model_name, message.id
    check_text(model_name, limits, "the model's name")
    check_text(request_id, limits, "the request's id")
    wanted, given = message.outputs, message.parameters
    inputs = _read_inputs(message.inputs, raws, model_name, limits)
    outputs = _read_outputs(wanted, limits) if wanted else []
    parameters, wants_timings = read_parameters(given, limits) if given else (NO_PARAMETERS, False)
    request = InferenceRequest(
        model_name,
        message.model_version,
        request_id,
        inputs,
        outputs,
        parameters,
        arrived_ns,
        deadline_ns,
        wants_timings,
    )
    if given:
        request.wants_route = parameters.get(ROUTE) is True
    return request


def _read_inputs(
    tensors: Sequence[ModelInferRequest.InferInputTensor],
    raws: Sequence[Buffer],
    model_name: str,
    limits: Limits,
) -> list[Tensor]:
    count, raw_count = len(tensors), len(raws)
    check_count(count, limits.inputs, "inputs")
    inputs = []
    for index in range(count):  # a third of the time that iterating takes
        tensor = tensors[index]
        name = tensor.name
        check_text(name, limits, "an input's name")
        datatype = DATATYPES.get(tensor.datatype)
        if datatype is None:
            raise InvalidArgument(
                f"input '{name}' for model '{model_name}' has the unknown datatype '{tensor.datatype}'"
            )
        shape = tuple(tensor.shape[:])
        check_shape(name, shape)
        if datatype is DataType.BYTES:
            check_text_elements(name, shape, limits)
        if tensor.parameters:
            _check_input_parameters(tensor.parameters, limits)
        if tensor.HasField("contents"):
            if raw_count:
                raise InvalidArgument(
                    "contents field must not be specified when using raw_input_contents for "
                    f"'{name}' for model '{model_name}'"
                )
            data: Buffer = to_bytes(tensor.contents, datatype, name, model_name, limits)
        elif index < raw_count:
            data = raws[index]
        else:
            raise InvalidArgument(
                f"unable to find data for input tensor '{name}' for model '{model_name}' in request."
            )
        inputs.append(Tensor(name, datatype, shape, data))
    if raw_count > count:
        raise InvalidArgument(
            f"the request for model '{model_name}' has {raw_count} raw_input_contents for {count} inputs"
        )
    if count > 1:
        check_names_differ(inputs)
    return inputs


def _check_input_parameters(parameters: Mapping[str, InferParameter], limits: Limits) -> None:
    check_count(len(parameters), limits.parameters, "parameters of an input")
    refuse_shared_memory(parameters)


def _read_outputs(
    wanted: Sequence[ModelInferRequest.InferRequestedOutputTensor], limits: Limits
) -> list[RequestedOutput]:
    """Each name once: an output asked for again is the same output, with what was said last."""
    check_count(len(wanted), limits.outputs, "outputs")
    outputs: dict[str, RequestedOutput] = {}
    for output in wanted:
        check_text(output.name, limits, "an output's name")
        parameters = output.parameters
        class_count = read_class_count(parameters, limits) if parameters else 0
        outputs[output.name] = RequestedOutput(output.name, class_count)
    return list(outputs.values())
