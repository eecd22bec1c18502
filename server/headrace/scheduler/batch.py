"""A batch: entries joined into one array an input, executed, and cut into each entry's own part."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import TypeAlias, cast

import numpy as np

from headrace.backend.base import Array, Backend
from headrace.core import strings
from headrace.core.classification import classify
from headrace.core.request import NO_PARAMETERS, InferenceResponse, Timings, about
from headrace.core.tensor import Buffer, DataType, Shape, Tensor, TensorSpec, matches
from headrace.errors import ExecutionFailed, HeadraceError, InvalidArgument, OutputMismatch
from headrace.repository.config import ModelConfig
from headrace.scheduler.entry import Entry, EntryData
from headrace.scheduler.history import ClosedBecause


@dataclass(frozen=True, slots=True)
class Layout:
    """What joining and cutting need to know of a model; `batches` tells whether requests carry rows."""

    model_name: str
    model_version: str
    inputs: tuple[TensorSpec, ...]
    outputs: dict[str, TensorSpec]
    batches: bool
    fixed_batch: int

    @classmethod
    def of(cls, config: ModelConfig, version: str) -> "Layout":
        return cls(
            model_name=config.name,
            model_version=version,
            inputs=config.inputs,
            outputs={spec.name: spec for spec in config.outputs},
            batches=config.max_batch_size > 0,
            fixed_batch=config.fixed_batch,
        )


# What becomes of an entry.
Outcome: TypeAlias = InferenceResponse | HeadraceError


@dataclass(slots=True, eq=False)
class Batch:
    """Entries that are executed together, and what became of them. Times are on `time.monotonic_ns`."""

    layout: Layout
    entries: list[Entry]
    rows: int
    taken_ns: int
    because: ClosedBecause
    instance: str
    started_ns: int = 0
    joined_ns: int = 0
    inferred_ns: int = 0
    ended_ns: int = 0
    outcomes: Sequence[Outcome] = ()
    is_finished: bool = False

    @property
    def padding_rows(self) -> int:
        return max(0, self.layout.fixed_batch - self.rows)

    @property
    def error(self) -> HeadraceError | None:
        """The first entry's error that there is, or None where all went well."""
        return next((outcome for outcome in self.outcomes if isinstance(outcome, HeadraceError)), None)

    def execute(self, backend: Backend) -> None:
        """Executes the entries, wherever the worker runs; `outcomes` then has one for each.

        Where the backend refuses the batch as a whole, each entry is executed alone, so that one request's
        values fail nobody else's.
        """
        self.started_ns = time.monotonic_ns()
        try:
            self.outcomes = self._execute(self.entries, backend)
        except OutputMismatch:
            raise
        except (ExecutionFailed, InvalidArgument) as error:
            if len(self.entries) == 1:
                self.outcomes = [_own_error(self.entries[0], error)]
            else:
                self.outcomes = [self._execute_alone(entry, backend) for entry in self.entries]

    def fail(self, error: HeadraceError) -> None:
        """Gives every entry the same outcome."""
        self.outcomes = [error] * len(self.entries)

    def _execute(self, entries: list[Entry], backend: Backend) -> list[InferenceResponse]:
        """Joins, runs and cuts."""
        rows = sum([entry.rows for entry in entries])
        padding_rows = max(0, self.layout.fixed_batch - rows)
        inputs = join(self.layout, entries, padding_rows)
        self.joined_ns = time.monotonic_ns()
        names = entries[0].outputs
        arrays = backend.execute(inputs, names)
        self.inferred_ns = time.monotonic_ns()
        responses = split(self.layout, entries, names, arrays, rows + padding_rows)
        self.ended_ns = time.monotonic_ns()
        return responses

    def _execute_alone(self, entry: Entry, backend: Backend) -> Outcome:
        try:
            return self._execute([entry], backend)[0]
        except (ExecutionFailed, InvalidArgument) as error:
            return _own_error(entry, error)

    def timings(self, entry: Entry) -> Timings:
        """What `entry` went through in this batch."""
        return Timings(
            queue_ns=self.taken_ns - entry.queued_ns,
            batch_wait_ns=self.started_ns - self.taken_ns,
            compute_input_ns=self.joined_ns - self.started_ns,
            compute_infer_ns=self.inferred_ns - self.joined_ns,
            compute_output_ns=self.ended_ns - self.inferred_ns,
            batch_rows=self.rows,
        )


def _own_error(entry: Entry, error: HeadraceError) -> HeadraceError:
    """What `entry` is told of `error`; where its own data is wrong, which request that is."""
    return about(entry.request, error) if isinstance(error, InvalidArgument) else error


def join(layout: Layout, entries: Sequence[Entry], padding_rows: int) -> dict[str, Array]:
    """One array an input, the entries' rows one after the other, then `padding_rows` times the first row.

    Entries of one batch have the same shapes. An optional input that is missing is left out.
    """
    rows = sum(entry.rows for entry in entries) + padding_rows
    arrays: dict[str, Array] = {}
    for index, spec in enumerate(layout.inputs):
        shape = entries[0].shapes[index]
        if shape is None:
            continue
        parts = [entry.data[index] for entry in entries]
        array = _array(layout, spec, parts, entries)
        if padding_rows:
            row = array[: array.size // (rows - padding_rows)]
            array = np.concatenate([array, *[row] * padding_rows])
        arrays[spec.name] = array.reshape((rows, *shape) if layout.batches else shape)
    return arrays


def split(
    layout: Layout, entries: Sequence[Entry], names: Sequence[str], arrays: Sequence[Array], rows: int
) -> list[InferenceResponse]:
    """Each entry's own rows of `arrays`, the outputs called `names` of a batch of `rows` rows.

    Raises OutputMismatch where an output is not what the model declares: nobody gets rows of somebody else.
    """
    outputs = [
        _Output.of(layout, layout.outputs[name], array, rows)
        for name, array in zip(names, arrays, strict=True)
    ]
    responses = []
    first_row = 0
    for entry in entries:
        past_row = first_row + entry.rows
        responses.append(
            InferenceResponse(
                model_name=layout.model_name,
                model_version=layout.model_version,
                id=entry.request.id,
                outputs=[output.part(first_row, past_row, entry) for output in outputs],
                parameters=entry.request.notes or NO_PARAMETERS,
            )
        )
        first_row = past_row
    return responses


@dataclass(slots=True)
class _Output:
    """One output of a batch; `data` is its bytes, or None for BYTES, which are packed entry by entry."""

    spec: TensorSpec
    batches: bool
    array: Array
    row_shape: Shape
    row_bytes: int
    data: memoryview | None

    @classmethod
    def of(cls, layout: Layout, spec: TensorSpec, array: Array, rows: int) -> "_Output":
        _check_output(layout, spec, array, rows)
        shape = array.shape[1:] if layout.batches else array.shape
        if spec.datatype is DataType.BYTES:
            return cls(spec, layout.batches, array, spec.from_model(shape), 0, None)
        contiguous = np.ascontiguousarray(array)
        row_bytes = contiguous.nbytes // rows if layout.batches and rows else contiguous.nbytes
        data = contiguous.reshape(-1).view(np.uint8).data
        return cls(spec, layout.batches, array, spec.from_model(shape), row_bytes, data)

    def part(self, first_row: int, past_row: int, entry: Entry) -> Tensor:
        spec = self.spec
        shape = (past_row - first_row, *self.row_shape) if self.batches else self.row_shape
        class_count = _class_count(entry, spec.name)
        if class_count:
            rows = self.array[first_row:past_row] if self.batches else self.array
            return classify(spec, rows, class_count, batches=self.batches)
        return Tensor(spec.name, spec.datatype, shape, self._bytes(first_row, past_row))

    def _bytes(self, first_row: int, past_row: int) -> Buffer:
        if self.data is None:
            return strings.from_array(self.array[first_row:past_row] if self.batches else self.array)
        if not self.batches:
            return self.data
        return self.data[first_row * self.row_bytes : past_row * self.row_bytes]


def _array(
    layout: Layout, spec: TensorSpec, parts: Sequence[EntryData | None], entries: Sequence[Entry]
) -> Array:
    """One flat array of all `parts`, one of each of `entries`."""
    if spec.datatype is DataType.BYTES:
        elements = list(chain.from_iterable(map(partial(_texts, layout, spec), parts, entries)))
        array = np.empty(len(elements), object)
        array[:] = elements
        return array
    buffers = cast(Sequence[Buffer], parts)
    data = buffers[0] if len(buffers) == 1 else b"".join(buffers)
    if spec.datatype is DataType.BOOL:
        return np.frombuffer(data, np.uint8).astype(np.bool_)
    return np.frombuffer(data, spec.datatype.numpy)


def _texts(layout: Layout, spec: TensorSpec, part: EntryData | None, entry: Entry) -> list[str]:
    """The elements of a BYTES tensor, read now where they were not when the request was admitted."""
    if isinstance(part, list):
        return part
    (shape,) = [tensor.shape for tensor in entry.request.inputs if tensor.name == spec.name]
    try:
        return strings.texts(cast(Buffer, part), shape)
    except ValueError as error:
        raise InvalidArgument(
            f"incorrect bytes of BYTES input '{spec.name}' for model '{layout.model_name}': {error}"
        ) from None


def _class_count(entry: Entry, name: str) -> int:
    for output in entry.request.outputs:
        if output.name == name:
            return output.class_count
    return 0


def _check_output(layout: Layout, spec: TensorSpec, array: Array, rows: int) -> None:
    where = f"model '{layout.model_name}' version {layout.model_version} gave output '{spec.name}'"
    if array.dtype != spec.datatype.numpy:
        raise OutputMismatch(f"{where} as {array.dtype}, but it declares {spec.datatype.value}")
    expected = (rows, *spec.model_dims) if layout.batches else spec.model_dims
    if not matches(array.shape, expected):
        raise OutputMismatch(f"{where} with shape {list(array.shape)}, but {list(expected)} was expected")
