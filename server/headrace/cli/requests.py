"""Requests to send: given whole, or cut from arrays of rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

import numpy as np

from headrace.cli.tensors import Array, encode, fit
from headrace.core.request import Parameter
from headrace.core.tensor import DATATYPES, DataType, Shape, matches
from headrace.errors import ConfigError
from headrace.pb.inference import grpc_service_pb2

InferMessage: TypeAlias = grpc_service_pb2.ModelInferRequest

RANDOM_SEED = 0


@dataclass(frozen=True, slots=True)
class InputSpec:
    """An input as the model's metadata has it; a first size of -1 is taken for the batch."""

    name: str
    datatype: DataType
    shape: Shape

    @property
    def is_batched(self) -> bool:
        return self.shape[:1] == (-1,)

    @property
    def dims(self) -> Shape:
        """The shape of one row."""
        return self.shape[1:] if self.is_batched else self.shape


@dataclass(frozen=True, slots=True)
class PreparedInput:
    name: str
    datatype: DataType
    array: Array


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """A request of `rows` rows, of which each answered output has as many (or is not split into rows).

    `classes` maps outputs that are asked for by name to their number of classes, 0 for plain values.
    """

    rows: int
    inputs: Sequence[PreparedInput]
    classes: Mapping[str, int] = field(default_factory=dict)
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    id: str = ""

    def to_message(self, model: str, version: str) -> InferMessage:
        message = InferMessage(model_name=model, model_version=version, id=self.id)
        for item in self.inputs:
            message.inputs.add(name=item.name, datatype=item.datatype.value, shape=item.array.shape)
            message.raw_input_contents.append(encode(item.array, item.datatype))
        for name, count in self.classes.items():
            output = message.outputs.add(name=name)
            if count:
                output.parameters["classification"].int64_param = count
        for name, value in self.parameters.items():
            _set(message.parameters[name], value)
        return message


def datatype_of(name: str, owner: str) -> DataType:
    """ConfigError where the protocol has no datatype `name`."""
    datatype = DATATYPES.get(name)
    if datatype is None:
        raise ConfigError(
            f"{owner} has the unknown datatype {name!r}: expected one of {', '.join(DATATYPES)}"
        )
    return datatype


def cut(
    arrays: Mapping[str, object], specs: Mapping[str, InputSpec], batch_size: int
) -> Iterator[PreparedRequest]:
    """Requests of `batch_size` rows (the last may have fewer) from arrays that have a row per first index."""
    rows = {name: _rows(values, specs[name]) for name, values in arrays.items()}
    counts = {name: len(array) for name, array in rows.items()}
    if len(set(counts.values())) > 1:
        raise ConfigError(f"the inputs have different numbers of rows: {counts}")
    is_batched = all(specs[name].is_batched for name in rows)
    if batch_size > 1 and not is_batched:
        raise ConfigError("--batch-size: the model does not batch: expected 1")
    for start in range(0, max(counts.values(), default=0), batch_size):
        parts = {name: array[start : start + batch_size] for name, array in rows.items()}
        inputs = [
            PreparedInput(name, specs[name].datatype, part if specs[name].is_batched else part[0])
            for name, part in parts.items()
        ]
        yield PreparedRequest(len(next(iter(parts.values()))) if is_batched else 1, inputs)


def random_arrays(
    specs: Mapping[str, InputSpec], rows: int, shapes: Mapping[str, Shape]
) -> dict[str, object]:
    """`rows` rows for each input, the same each time; `shapes` has the dims of those that leave them open."""
    generator = np.random.default_rng(RANDOM_SEED)
    arrays: dict[str, object] = {}
    for name, spec in specs.items():
        dims = shapes.get(name, tuple(max(size, 1) for size in spec.dims))
        if not matches(dims, spec.dims):
            raise ConfigError(f"--shape: {name!r} is {list(dims)}: expected {list(spec.dims)}")
        arrays[name] = _random(generator, spec.datatype, (rows, *dims))
    return arrays


def _random(generator: np.random.Generator, datatype: DataType, shape: Shape) -> Array:
    if datatype is DataType.BYTES:
        words = np.array(["river", "mill", "wheel", "water", "stone", "grain"], object)
        return generator.choice(words, shape)
    if datatype is DataType.BOOL:
        return generator.integers(0, 2, shape).astype(bool)
    if datatype.numpy.kind == "f" or datatype is DataType.BF16:
        return generator.standard_normal(shape)
    return generator.integers(0, 10, shape)


def _rows(values: object, spec: InputSpec) -> Array:
    """`values` with the dims of one row behind the first index."""
    try:
        array = fit(values, spec.datatype)
    except ValueError as error:
        raise ConfigError(f"input {spec.name!r}: {str(error).splitlines()[0]}") from error
    if array.ndim and matches(array.shape[1:], spec.dims):
        return array
    if matches(array.shape, spec.dims):
        return array[np.newaxis]
    is_flat = array.ndim and -1 not in spec.dims and array.size == len(array) * prod(spec.dims)
    if is_flat:
        return array.reshape(len(array), *spec.dims)
    raise ConfigError(
        f"input {spec.name!r}: has the shape {list(array.shape)}: expected rows of shape {list(spec.dims)}"
    )


def _set(parameter: grpc_service_pb2.InferParameter, value: Parameter) -> None:
    if isinstance(value, bool):
        parameter.bool_param = value
    elif isinstance(value, int):
        parameter.int64_param = value
    elif isinstance(value, float):
        parameter.double_param = value
    else:
        parameter.string_param = value
