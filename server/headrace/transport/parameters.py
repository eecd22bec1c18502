"""Parameters of inference requests: which are read here, which go to the model, which are refused."""

from collections.abc import Callable, Iterable, Mapping

from headrace.core.request import NO_PARAMETERS, Parameter, Parameters
from headrace.errors import InvalidArgument, Unimplemented
from headrace.transport.limits import Limits, check_text

TIMINGS = "headrace_timings"
# Answers then tell which route was taken; the value goes on to the router.
ROUTE = "headrace_route"
BINARY_OUTPUT = "binary_data_output"
EMPTY_FINAL_RESPONSE = "triton_enable_empty_final_response"
CLASSIFICATION = "classification"

# The parameters that mean something to the server, and the types that they may have.
KNOWN_TYPES: Mapping[str, tuple[type, ...]] = {
    "sequence_id": (int, str),
    "sequence_start": (bool,),
    "sequence_end": (bool,),
    "priority": (int,),
    "timeout": (int,),
    BINARY_OUTPUT: (bool,),
    EMPTY_FINAL_RESPONSE: (bool,),
    TIMINGS: (bool,),
    ROUTE: (bool,),
}

SHARED_MEMORY_DISABLED = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)

# What a request says to the transport; it means nothing to a model.
_TO_TRANSPORT = frozenset({TIMINGS, EMPTY_FINAL_RESPONSE, BINARY_OUTPUT})


def split_parameters(parameters: Iterable[tuple[str, Parameter]], limits: Limits) -> tuple[Parameters, bool]:
    """The parameters for the model, and whether the caller asks for the timings of its request.

    The types of those in KNOWN_TYPES have been checked, each protocol in its own words.
    """
    values: dict[str, Parameter] = {}
    wants_timings = False
    for name, value in parameters:
        check_text(name, limits, "a parameter's name")
        if isinstance(value, str):
            check_text(value, limits, f"parameter '{name}'")
        check = _VALUE_CHECKS.get(name)
        if check is not None:
            check(name, value)
        elif name not in KNOWN_TYPES:
            _check_name(name)
        if name == TIMINGS:
            wants_timings = value is True
        elif name not in _TO_TRANSPORT:
            values[name] = value
    return values or NO_PARAMETERS, wants_timings


def check_class_count(class_count: int) -> int:
    """`class_count`, or InvalidArgument where it asks for no class."""
    if class_count <= 0:
        raise InvalidArgument("invalid value for 'classification' parameter, expected >= 1")
    return class_count


def refuse_shared_memory(names: Iterable[str]) -> None:
    """Unimplemented where the parameters of an input or an output want it in shared memory."""
    if any(name.startswith("shared_memory_") for name in names):
        raise Unimplemented(SHARED_MEMORY_DISABLED)


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
            f"'headrace_' are allowed: {TIMINGS}, {ROUTE}"
        )


def _check_not_negative(name: str, value: Parameter) -> None:
    if isinstance(value, int) and value < 0:
        raise InvalidArgument(f"invalid value for '{name}', expected value >= 0.")


_VALUE_CHECKS: dict[str, Callable[[str, Parameter], None]] = {
    "priority": _check_not_negative,
    "timeout": _check_not_negative,
}
