"""Three ways to run a session: plain arrays, ONNX Runtime's own values, or bound buffers on a device."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from headrace.backend.base import Array
from headrace.core.tensor import DataType, Shape, TensorSpec

# The element type that ONNX numbers 16 (TensorProto.DataType.BFLOAT16).
ONNX_BFLOAT16 = 16


class Runner(Protocol):
    """Runs a session once; what ONNX Runtime raises is passed on."""

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]: ...


@dataclass(slots=True)
class PlainRunner:
    """Arrays in, arrays out: the fastest way on the CPU for every datatype that numpy has."""

    session: Any
    run_options: Any

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        arrays: list[Array] = self.session.run(outputs, inputs, self.run_options)
        return arrays


@dataclass(slots=True)
class ValueRunner:
    """For models with BF16 tensors on the CPU, which numpy lacks: their bits travel as uint16."""

    runtime: Any
    session: Any
    run_options: Any
    bfloat16_inputs: frozenset[str]

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        values = {name: self._value(name, array) for name, array in inputs.items()}
        results = self.session.run_with_ort_values(outputs, values, self.run_options)
        return [to_array(value) for value in results]

    def _value(self, name: str, array: Array) -> Any:
        make = self.runtime.OrtValue
        if name in self.bfloat16_inputs:
            return make.ortvalue_from_numpy_with_onnx_type(np.ascontiguousarray(array), ONNX_BFLOAT16)
        return make.ortvalue_from_numpy(np.ascontiguousarray(array))


class BindingRunner:
    """For a device: inputs are copied to it, outputs of a known shape land in buffers kept for their shape.

    Buffers are kept for the last `KEPT_SHAPES` shapes of each output. `device` is ONNX Runtime's name
    ("cuda"; "cpu" in tests, where the same code runs).
    """

    KEPT_SHAPES = 16

    def __init__(
        self,
        runtime: Any,
        session: Any,
        run_options: Any,
        device: str,
        device_id: int,
        outputs: Mapping[str, TensorSpec],
        *,
        batches: bool,
        bfloat16_inputs: frozenset[str] = frozenset(),
    ) -> None:
        self._runtime = runtime
        self._session = session
        self._run_options = run_options
        self._device = device
        self._device_id = device_id
        self._outputs = outputs
        self._batches = batches
        self._bfloat16_inputs = bfloat16_inputs
        self._buffers: dict[tuple[str, Shape], Any] = {}

    def run(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        binding = self._session.io_binding()
        rows = len(next(iter(inputs.values()))) if self._batches else 0
        for name, array in inputs.items():
            binding.bind_ortvalue_input(name, self._to_device(name, array))
        for name in outputs:
            self._bind_output(binding, name, rows)
        binding.synchronize_inputs()
        self._session.run_with_iobinding(binding, self._run_options)
        binding.synchronize_outputs()
        return [to_array(value) for value in binding.get_outputs()]

    def _to_device(self, name: str, array: Array) -> Any:
        contiguous = np.ascontiguousarray(array)
        make = self._runtime.OrtValue
        if name in self._bfloat16_inputs:
            return make.ortvalue_from_numpy_with_onnx_type(contiguous, ONNX_BFLOAT16)
        return make.ortvalue_from_numpy(contiguous, self._device, self._device_id)

    def _bind_output(self, binding: Any, name: str, rows: int) -> None:
        spec = self._outputs[name]
        if -1 in spec.model_dims or spec.datatype is DataType.BF16:
            binding.bind_output(name, self._device, self._device_id)
            return
        shape = (rows, *spec.model_dims) if self._batches else spec.model_dims
        binding.bind_ortvalue_output(name, self._buffer(spec, shape))

    def _buffer(self, spec: TensorSpec, shape: Shape) -> Any:
        key = (spec.name, shape)
        buffer = self._buffers.pop(key, None)
        if buffer is None:
            buffer = self._runtime.OrtValue.ortvalue_from_shape_and_type(
                shape, spec.datatype.numpy, self._device, self._device_id
            )
        self._buffers[key] = buffer
        while len(self._buffers) > self.KEPT_SHAPES * len(self._outputs):
            del self._buffers[next(iter(self._buffers))]
        return buffer


def to_array(value: Any) -> Array:
    """A copy of an OrtValue on the host; BF16 as uint16."""
    if value.data_type() != "tensor(bfloat16)":
        array: Array = value.numpy()
        return array if array.flags.owndata else array.copy()
    shape = tuple(value.shape())
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.empty(shape, np.uint16)
    return np.frombuffer(ctypes.string_at(value.data_ptr(), count * 2), np.uint16).reshape(shape)
