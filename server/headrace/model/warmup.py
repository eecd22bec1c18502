"""Warm-up: each instance executes before its model is ready, so that no caller pays for the first run."""

from collections.abc import Iterator, Mapping

import numpy as np

from headrace.backend.base import Array, Backend
from headrace.core import strings
from headrace.core.tensor import DataType, Shape, TensorSpec, element_count
from headrace.errors import HeadraceError, LoadError
from headrace.repository.config import ModelConfig, Warmup, WarmupData

Inputs = dict[str, Array]


def warm_up(backend: Backend, config: ModelConfig, files: Mapping[str, bytes]) -> list[str]:
    """Runs what `config` asks for, or else zeros at batch 1 and at the largest batch.

    `files` has the contents of warm-up files by name. A warm-up of the configuration that fails is a
    LoadError. The runs that nobody asked for may fail, as zeros with variable dimensions of size 1 need not
    suit the graph: that is returned as a remark.
    """
    outputs = [spec.name for spec in config.outputs]
    for warmup in config.warmups:
        inputs = _configured(config, warmup, files)
        for _ in range(max(1, warmup.count)):
            _run(backend, inputs, outputs, f"warm-up '{warmup.name}'")
    if config.warmups:
        return []
    try:
        for rows in _default_rows(config):
            _run(backend, zeros(config, rows), outputs, "warm-up with zeros")
    except LoadError as error:
        return [f"'{config.name}': {error}; a model_warmup that suits the model would help"]
    return []


def _run(backend: Backend, inputs: Inputs, outputs: list[str], what: str) -> None:
    try:
        backend.execute(inputs, outputs)
    except HeadraceError as error:
        raise LoadError(f"{what} failed: {error}") from error


def _default_rows(config: ModelConfig) -> Iterator[int]:
    if config.fixed_batch or not config.max_batch_size:
        yield config.fixed_batch
    else:
        yield from sorted({1, config.max_batch_size})


def zeros(config: ModelConfig, rows: int) -> Inputs:
    """Zeros (or empty strings) for every required input; variable dimensions have the size 1."""
    required = [spec for spec in config.inputs if not spec.is_optional]
    return {
        spec.name: _filled(spec.datatype, _shape(config, spec, spec.dims, rows), WarmupData.ZERO, b"")
        for spec in required
    }


def _configured(config: ModelConfig, warmup: Warmup, files: Mapping[str, bytes]) -> Inputs:
    specs = {spec.name: spec for spec in config.inputs}
    rows = config.fixed_batch or warmup.batch_size
    inputs: Inputs = {}
    for wanted in warmup.inputs:
        spec = specs[wanted.name]
        shape = _shape(config, spec, wanted.dims, rows)
        content = files[wanted.file] if wanted.file is not None else b""
        inputs[wanted.name] = _filled(spec.datatype, shape, wanted.data, content)
    return inputs


def _shape(config: ModelConfig, spec: TensorSpec, dims: Shape, rows: int) -> Shape:
    """The graph's shape for declared `dims`, whose variable ones become 1."""
    model_shape = spec.to_model(tuple(1 if size == -1 else size for size in dims))
    return (max(1, rows), *model_shape) if config.max_batch_size else model_shape


def _filled(datatype: DataType, shape: Shape, data: WarmupData, content: bytes) -> Array:
    count = element_count(shape)
    if data is WarmupData.FILE:
        return _from_file(datatype, count, content).reshape(shape)
    if datatype is DataType.BYTES:
        texts = [f"text {index}" if data is WarmupData.RANDOM else "" for index in range(count)]
        return _objects(texts).reshape(shape)
    if data is WarmupData.RANDOM:
        generator = np.random.default_rng(0)
        if datatype in (DataType.FP16, DataType.FP32, DataType.FP64):
            return generator.random(shape).astype(datatype.numpy)
        return generator.integers(0, 2, shape).astype(datatype.numpy)
    return np.zeros(shape, datatype.numpy)


def _from_file(datatype: DataType, count: int, content: bytes) -> Array:
    """`count` elements of raw tensor bytes, repeated where the file has those of one row only."""
    try:
        if datatype is DataType.BYTES:
            flat: Array = _objects([element.decode() for element in strings.unpack(content)])
        else:
            flat = np.frombuffer(content, datatype.numpy)
    except ValueError as error:
        raise LoadError(f"a warm-up file holds no elements of {datatype.value}: {error}") from None
    if not flat.size or count % flat.size:
        raise LoadError(
            f"a warm-up file holds {flat.size} elements of {datatype.value}, but {count} are needed"
        )
    return np.tile(flat, count // flat.size)


def _objects(texts: list[str]) -> Array:
    array = np.empty(len(texts), object)
    array[:] = texts
    return array
