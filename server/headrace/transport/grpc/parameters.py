"""Parameters of inference requests as gRPC carries them, each a choice among five types."""

from collections.abc import Mapping

from headrace.core.request import Parameter, Parameters
from headrace.errors import InvalidArgument
from headrace.pb.inference.grpc_service_pb2 import InferParameter
from headrace.transport.limits import Limits, check_count
from headrace.transport.parameters import (
    CLASSIFICATION,
    KNOWN_TYPES,
    check_class_count,
    refuse_shared_memory,
    split_parameters,
)

# `timeout` is taken as Triton takes it, signed only.
_CHOICES_OF: Mapping[type, tuple[str, ...]] = {
    bool: ("bool_param",),
    int: ("int64_param", "uint64_param"),
    str: ("string_param",),
}
_CHOICES = {
    name: tuple(choice for kind in kinds for choice in _CHOICES_OF[kind])
    for name, kinds in KNOWN_TYPES.items()
} | {"timeout": ("int64_param",)}


def read_parameters(parameters: Mapping[str, InferParameter], limits: Limits) -> tuple[Parameters, bool]:
    """The parameters for the model, and whether the caller asks for the timings of its request."""
    check_count(len(parameters), limits.parameters, "parameters")
    values = ((name, _value(name, parameter)) for name, parameter in parameters.items())
    return split_parameters(values, limits)


def read_class_count(parameters: Mapping[str, InferParameter], limits: Limits) -> int:
    """How many classes a requested output is to be turned into; 0 for the numbers themselves."""
    check_count(len(parameters), limits.parameters, "parameters of an output")
    refuse_shared_memory(parameters)
    parameter = parameters.get(CLASSIFICATION)
    if parameter is None:
        return 0
    if parameter.WhichOneof("parameter_choice") != "int64_param":
        raise InvalidArgument("invalid value type for 'classification' parameter, expected int64_param")
    return check_class_count(parameter.int64_param)


def _value(name: str, parameter: InferParameter) -> Parameter:
    choice = parameter.WhichOneof("parameter_choice")
    if choice is None:
        raise InvalidArgument(f"parameter '{name}' has no value")
    expected = _CHOICES.get(name)
    if expected is not None and choice not in expected:
        raise InvalidArgument(
            f"invalid value type for '{name}' parameter, expected {_alternatives(expected)}."
        )
    value: Parameter = getattr(parameter, choice)
    return value


def _alternatives(choices: tuple[str, ...]) -> str:
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last
