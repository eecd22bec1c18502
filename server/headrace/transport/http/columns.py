"""Values by input, as they were read from a body and before they are made to fit the model."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from headrace.core.tensor import TensorSpec
from headrace.errors import InvalidArgument
from headrace.service.answers import ModelTensors

Columns: TypeAlias = Mapping[str, NDArray[Any]]


def only_input(model: ModelTensors) -> TensorSpec:
    """The one input that has to be given; InvalidArgument where there are several."""
    required = [spec for spec in model.inputs if not spec.is_optional]
    if len(required) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise InvalidArgument(f"model '{model.name}' has several inputs: give values for {names} by name")
    return required[0]
