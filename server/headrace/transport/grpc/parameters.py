"""Parameters of inference requests: which are read here, which go to the model, which are refused."""

from collections.abc import Callable, Mapping

from headrace.core.request import NO_PARAMETERS, Parameter, Parameters
from headrace.errors import InvalidArgument, Unimplemented
from headrace.pb.inference.grpc_service_pb2 import InferParameter
from headrace.transport.grpc.limits import Limits

TIMINGS = "headrace_timings"
EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"

SHARED_MEMORY_DISABLED = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)

# What a request says to the transport; it means nothing to a model.
_TO_TRANSPORT = frozenset({TIMINGS, EMPTY_FINAL_RESPONSE, "binary_data_output"})


def read_parameters(parameters: Mapping[str, InferParameter], limits: Limits) -> tuple[Parameters, bool]:
    """The parameters for the model, and whether the caller asks for the timings of its request."""
    check_count(len(parameters), limits.parameters, "parameters")
    values: dict[str, Parameter] = {}
    wants_timings = False
    for name, parameter in parameters.items():
        value = _checked(name, parameter)
        if name == TIMINGS:
            wants_timings = value is True
        elif name not in _TO_TRANSPORT:
            values[name] = value
    return values or NO_PARAMETERS, wants_timings


def read_class_count(parameters: Mapping[str, InferParameter], limits: Limits) -> int:
    """How many classes a requested output is to be turned into; 0 for the numbers themselves."""
    check_count(len(parameters), limits.parameters, "parameters of an output")
    refuse_shared_memory(parameters)
    parameter = parameters.get("classification")
    if parameter is None:
        return 0
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidArgument("invalid value type for 'classification' parameter, expected int64_param")
    if parameter.int64_param <= 0:
        raise InvalidArgument("invalid value for 'classification' parameter, expected >= 1")
    return parameter.int64_param


def refuse_shared_memory(parameters: Mapping[str, InferParameter]) -> None:
    """Unimplemented where an input or an output is to be in shared memory."""
    if any(name.startswith("shared_memory_") for name in parameters):
        raise Unimplemented(SHARED_MEMORY_DISABLED)


def check_count(count: int, limit: int, what: str) -> None:
    """InvalidArgument where a request has more of something than it may."""
    if count > limit:
        raise InvalidArgument(f"the request has {count} {what}, but at most {limit} are allowed")


def _checked(name: str, parameter: InferParameter) -> Parameter:
    kind = parameter.WhichOneof("parameter_choice")
    if kind is None:
        raise InvalidArgument(f"parameter '{name}' has no value")
    if kind not in _KINDS.get(name, _ANY):
        raise InvalidArgument(
            f"invalid value type for '{name}' parameter, expected {_alternatives(_KINDS[name])}."
        )
    value: Parameter = getattr(parameter, kind)
    check = _VALUE_CHECKS.get(name)
    if check is not None:
        check(name, value)
    elif name not in _KINDS:
        _check_name(name)
    return value


def _check_name(name: str) -> None:
    if name == "headers":
        raise InvalidArgument("parameter 'headers' is reserved and must not be sent")
    if name.startswith("triton_"):
        raise InvalidArgument(
            "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
            f"starting with 'triton_' are allowed: {EMPTY_FINAL_RESPONSE}"
        )
    if name.startswith("headrace_"):
        raise InvalidArgument(
            "parameter keys starting with 'headrace_' are reserved. Only the following keys starting with "
            f"'headrace_' are allowed: {TIMINGS}"
        )


def _check_not_negative(name: str, value: Parameter) -> None:
    if isinstance(value, int) and value < 0:
        raise InvalidArgument(f"invalid value for '{name}', expected value >= 0.")


def _alternatives(kinds: tuple[str, ...]) -> str:
    *others, last = kinds
    return f"{', '.join(others)} or {last}" if others else last


_ANY = ("bool_param", "int64_param", "string_param", "double_param", "uint64_param")

_KINDS: dict[str, tuple[str, ...]] = {
    "sequence_id": ("int64_param", "uint64_param", "string_param"),
    "sequence_start": ("bool_param",),
    "sequence_end": ("bool_param",),
    "priority": ("int64_param", "uint64_param"),
    "timeout": ("int64_param",),
    "binary_data_output": ("bool_param",),
    EMPTY_FINAL_RESPONSE: ("bool_param",),
    TIMINGS: ("bool_param",),
}

_VALUE_CHECKS: dict[str, Callable[[str, Parameter], None]] = {
    "priority": _check_not_negative,
    "timeout": _check_not_negative,
}
