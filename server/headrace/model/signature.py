"""What a model declares, held against a request: inputs as declared, or an error that says what is wrong.

The errors' leading words are Triton's, so that whoever matches on them keeps working.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from headrace.core import strings
from headrace.core.request import InferenceRequest, Reply
from headrace.core.tensor import DataType, Shape, Tensor, TensorSpec, element_count, matches
from headrace.errors import InvalidArgument
from headrace.repository.config import ModelConfig, QueuePolicy
from headrace.scheduler.entry import Entry, EntryData

# A BYTES tensor of more bytes is read where its batch is executed.
LARGE_TEXT_BYTES = 64 * 1024


class Signature:
    """Turns requests for one model into entries of its queue."""

    def __init__(self, config: ModelConfig, policies: Sequence[QueuePolicy]) -> None:
        """`policies` are those of the queue's levels, the most urgent first."""
        self._model = config.name
        self._batches = config.max_batch_size > 0
        self._max_rows = config.max_batch_size
        self._inputs = config.inputs
        self._index = {spec.name: index for index, spec in enumerate(config.inputs)}
        self._required = [index for index, spec in enumerate(config.inputs) if not spec.is_optional]
        self._all_outputs = tuple(spec.name for spec in config.outputs)
        self._outputs = {spec.name: spec for spec in config.outputs}
        self._policies = policies
        self._default_level = _default_level(config)
        self._has_one_shape = all(spec.is_fixed and not spec.is_optional for spec in config.inputs)
        self._fixed = [_FixedInput.of(spec) for spec in config.inputs] if self._has_one_shape else []
        self._fixed_shapes = tuple(spec.to_model(spec.dims) for spec in config.inputs if self._has_one_shape)

    def admit(self, request: InferenceRequest, reply: Reply) -> Entry:
        """The entry for `request`, or InvalidArgument."""
        tensors = self._tensors(request.inputs)
        rows = self._rows(tensors) if self._batches else 1
        data, shapes = self._contents(tensors)
        outputs = self._requested(request)
        level = self._level(request)
        return Entry(
            request=request,
            reply=reply,
            data=data,
            shapes=shapes,
            outputs=outputs,
            rows=rows,
            line=self._line(shapes, outputs),
            level=level,
            expires_ns=self._expires_ns(request, self._policies[level]),
        )

    def _tensors(self, inputs: Sequence[Tensor]) -> list[Tensor | None]:
        """The request's tensors in the model's order."""
        tensors: list[Tensor | None] = [None] * len(self._inputs)
        for tensor in inputs:
            index = self._index.get(tensor.name)
            if index is None:
                raise InvalidArgument(
                    f"unexpected inference input '{tensor.name}' for model '{self._model}': "
                    f"it has {_quoted(self._index)}"
                )
            if tensors[index] is not None:
                raise InvalidArgument(f"input '{tensor.name}' for model '{self._model}' is given twice")
            tensors[index] = tensor
        for index in self._required:
            if tensors[index] is None:
                raise self._missing(inputs)
        return tensors

    def _rows(self, tensors: Sequence[Tensor | None]) -> int:
        """The batch size that every input has."""
        rows: int | None = None
        for tensor in tensors:
            if tensor is None:
                continue
            if not tensor.shape:
                raise self._unexpected_shape(tensor)
            if rows is None:
                rows = tensor.shape[0]
            elif rows != tensor.shape[0]:
                raise InvalidArgument(
                    f"input '{tensor.name}' batch size does not match other inputs for '{self._model}': "
                    f"it has {tensor.shape[0]} rows, others {rows}"
                )
        if rows is None or rows < 1:
            raise InvalidArgument(
                f"inference request batch-size must be >= 1 for '{self._model}', got {rows or 0}"
            )
        if rows > self._max_rows:
            raise InvalidArgument(
                f"inference request batch-size must be <= {self._max_rows} for '{self._model}', got {rows}"
            )
        return rows

    def _contents(
        self, tensors: Sequence[Tensor | None]
    ) -> tuple[tuple[EntryData | None, ...], tuple[Shape | None, ...]]:
        """Each input's data, checked against its declaration, and its shape as the graph sees it."""
        if self._has_one_shape:
            return tuple(map(self._fixed_data, self._fixed, tensors)), self._fixed_shapes
        data: list[EntryData | None] = []
        shapes: list[Shape | None] = []
        for spec, tensor in zip(self._inputs, tensors):
            if tensor is None:
                data.append(None)
                shapes.append(None)
                continue
            dims = tensor.shape[1:] if self._batches else tensor.shape
            self._check_declared(spec, tensor, dims)
            data.append(self._data(spec, tensor))
            shapes.append(spec.to_model(dims))
        return tuple(data), tuple(shapes)

    def _fixed_data(self, fixed: "_FixedInput", tensor: Tensor | None) -> EntryData:
        """The data of an input whose size its declaration tells; what does not fit is looked at closely."""
        if tensor is None:
            raise InvalidArgument(f"input '{fixed.spec.name}' is missing: this is a bug")
        shape = tensor.shape
        if tensor.datatype is fixed.spec.datatype and shape[self._batches :] == fixed.spec.dims:
            row_count = shape[0] if self._batches else 1
            if fixed.row_bytes and len(tensor.data) == row_count * fixed.row_bytes:
                return tensor.data
        self._check_declared(fixed.spec, tensor, shape[self._batches :])
        return self._data(fixed.spec, tensor)

    def _check_declared(self, spec: TensorSpec, tensor: Tensor, dims: Shape) -> None:
        if tensor.datatype is not spec.datatype:
            raise InvalidArgument(
                f"inference input '{spec.name}' data-type is '{tensor.datatype.value}', "
                f"but model '{self._model}' expects '{spec.datatype.value}'"
            )
        if not matches(dims, spec.dims):
            raise self._unexpected_shape(tensor)

    def _data(self, spec: TensorSpec, tensor: Tensor) -> EntryData:
        if spec.datatype is DataType.BYTES:
            return self._texts(tensor)
        expected = element_count(tensor.shape) * spec.datatype.item_bytes
        if len(tensor.data) != expected:
            raise InvalidArgument(
                f"input byte size mismatch for input '{spec.name}' for model '{self._model}'. "
                f"Expected {expected}, got {len(tensor.data)}"
            )
        return tensor.data

    def _texts(self, tensor: Tensor) -> EntryData:
        """The elements of a BYTES tensor; large ones stay bytes, which the worker reads, off the loop."""
        if len(tensor.data) > LARGE_TEXT_BYTES:
            return tensor.data
        try:
            return strings.texts(tensor.data, tensor.shape)
        except ValueError as error:
            raise InvalidArgument(
                f"incorrect bytes of BYTES input '{tensor.name}' for model '{self._model}': {error}"
            ) from None

    def _requested(self, request: InferenceRequest) -> tuple[str, ...]:
        if not request.outputs:
            return self._all_outputs
        names = tuple([output.name for output in request.outputs])
        for output in request.outputs:
            spec = self._outputs.get(output.name)
            if spec is None:
                raise InvalidArgument(
                    f"unexpected inference output '{output.name}' for model '{self._model}': "
                    f"it has {_quoted(self._outputs)}"
                )
            if output.class_count and spec.datatype is DataType.BYTES:
                raise InvalidArgument(
                    f"output '{output.name}' of model '{self._model}' is BYTES: it has no classes to rank"
                )
        if len(set(names)) < len(names):
            raise InvalidArgument(
                f"an output of model '{self._model}' is requested twice: {', '.join(names)}"
            )
        return names

    def _line(self, shapes: tuple[Shape | None, ...], outputs: tuple[str, ...]) -> Hashable:
        if self._has_one_shape:
            return None if outputs is self._all_outputs else outputs
        return shapes, outputs

    def _level(self, request: InferenceRequest) -> int:
        """The queue's level for the request's priority: 0 and levels that there are not mean the default."""
        priority = int(request.parameters.get("priority", 0)) if request.parameters else 0
        if 0 < priority <= len(self._policies):
            return priority - 1
        return self._default_level

    def _expires_ns(self, request: InferenceRequest, policy: QueuePolicy) -> int | None:
        timeout_us = policy.default_timeout_us
        if policy.allow_timeout_override and request.parameters:
            wanted_us = int(request.parameters.get("timeout", 0))
            if wanted_us > 0:
                timeout_us = min(timeout_us or wanted_us, wanted_us)
        return request.arrived_ns + timeout_us * 1000 if timeout_us else None

    def _missing(self, inputs: Sequence[Tensor]) -> InvalidArgument:
        given = [tensor.name for tensor in inputs]
        missing = [
            self._inputs[index].name for index in self._required if self._inputs[index].name not in given
        ]
        return InvalidArgument(
            f"expected {len(self._inputs)} inputs but got {len(given)} inputs for model '{self._model}'. "
            f"Got input(s) [{_quoted(given)}], but missing required input(s) [{_quoted(missing)}]. "
            "Please provide all required input(s)."
        )

    def _unexpected_shape(self, tensor: Tensor) -> InvalidArgument:
        spec = self._inputs[self._index[tensor.name]]
        expected = (-1, *spec.dims) if self._batches else spec.dims
        note = (
            f" NOTE: the first dimension is the batch, of at most {self._max_rows} rows (max_batch_size)."
            if self._batches
            else ""
        )
        return InvalidArgument(
            f"unexpected shape for input '{tensor.name}' for model '{self._model}'. "
            f"Expected {_listed(expected)}, got {_listed(tensor.shape)}.{note}"
        )


@dataclass(frozen=True, slots=True)
class _FixedInput:
    """An input of fixed size; `row_bytes` is that of one row, or of the whole where the model does not batch.

    It is 0 for BYTES, and for tensors without elements.
    """

    spec: TensorSpec
    row_bytes: int

    @classmethod
    def of(cls, spec: TensorSpec) -> "_FixedInput":
        return cls(spec, element_count(spec.dims) * spec.datatype.item_bytes)


def queue_policies(config: ModelConfig, default_max_queue_size: int) -> list[QueuePolicy]:
    """The policy of each of the queue's levels, the most urgent first; one level where there are none."""
    return [
        policy if policy.max_queue_size else replace(policy, max_queue_size=default_max_queue_size)
        for policy in _stated_policies(config)
    ]


def _stated_policies(config: ModelConfig) -> list[QueuePolicy]:
    batching = config.dynamic_batching
    if batching is None:
        return [config.queue_policy]
    levels = range(1, max(1, batching.priority_levels) + 1)
    return [batching.priority_queue_policies.get(level, batching.default_queue_policy) for level in levels]


def _default_level(config: ModelConfig) -> int:
    batching = config.dynamic_batching
    return max(0, batching.default_priority_level - 1) if batching else 0


def _quoted(names: Iterable[str]) -> str:
    return ",".join(f"'{name}'" for name in names)


def _listed(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
