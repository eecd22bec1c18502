"""What the configuration and the graph together say of each input and output."""

from collections.abc import Iterable
from math import prod
from typing import cast

from headrace.core.tensor import DataType, Shape, TensorSpec
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.completion.batch_dimension import BatchDimension
from headrace.repository.completion.tensor_pairs import TensorPair
from headrace.repository.problems import Findings


def complete_tensor(pair: TensorPair, batch: BatchDimension, findings: Findings) -> TensorSpec:
    """The tensor, complete; fills in `pair.message` and refuses what contradicts the graph."""
    _complete_datatype(pair, findings)
    dims = _complete_dims(pair, batch, findings)
    model_dims = pair.model_dims
    return TensorSpec(
        name=pair.graph.name,
        datatype=pair.graph.datatype,
        dims=dims,
        model_dims=dims if model_dims == dims else model_dims,
        is_optional=isinstance(pair.message, pb.ModelInput) and pair.message.optional,
    )


def triton_datatype(datatype: DataType) -> pb.DataType:
    """Triton's number of `datatype`; Triton says STRING for BYTES."""
    name = "STRING" if datatype is DataType.BYTES else datatype.value
    return cast("pb.DataType", pb.DataType.Value(f"TYPE_{name}"))


def _complete_datatype(pair: TensorPair, findings: Findings) -> None:
    given, expected = pair.message.data_type, triton_datatype(pair.graph.datatype)
    if given not in (pb.TYPE_INVALID, expected):
        findings.refuse(
            f"{pair.path}.data_type",
            f"{pair.role} {pair.graph.name!r} has data_type {pb.DataType.Name(given)} in {_file(findings)}, "
            f"but the graph has {pair.graph.datatype.value}",
        )
    pair.message.data_type = expected


def _complete_dims(pair: TensorPair, batch: BatchDimension, findings: Findings) -> Shape:
    """The dims of one row (or of the whole tensor, where nothing is batched)."""
    row = pair.graph.shape
    if row is not None and batch.batches:
        row = row[1:]
    if not pair.message.dims:
        _fill_dims(pair, row, findings)
    else:
        _check_dims(pair, row, batch, findings)
    return tuple(pair.message.dims)


def _fill_dims(pair: TensorPair, row: Shape | None, findings: Findings) -> None:
    path, tensor = f"{pair.path}.dims", f"{pair.role} {pair.graph.name!r}"
    if pair.message.HasField("reshape"):
        findings.refuse(f"{pair.path}.reshape", f"{tensor} has a reshape but no dims; write the dims, too")
    elif row is None:
        findings.refuse(path, f"the graph does not tell the shape of {tensor}; write its dims")
    elif 0 in row:
        findings.refuse(path, f"{tensor} is {pair.graph} in the graph; a size of 0 cannot be served")
    elif row:
        pair.message.dims.extend(row)
    else:
        # A scalar has no dims on the wire; Triton shows it as one element, reshaped.
        _make_scalar(pair)


def _make_scalar(pair: TensorPair) -> None:
    pair.message.dims[:] = [1]
    pair.message.reshape.SetInParent()


def _check_dims(pair: TensorPair, row: Shape | None, batch: BatchDimension, findings: Findings) -> None:
    dims = tuple(pair.message.dims)
    if not _check_sizes(dims, f"{pair.path}.dims", findings):
        return
    if pair.message.HasField("reshape"):
        _check_reshape(pair, dims, findings)
    elif row == () and dims == (1,):
        _make_scalar(pair)
    if row is not None and not _agrees(pair.model_dims, row):
        _refuse_dims(pair, row, batch, findings)


def _check_sizes(dims: Iterable[int], path: str, findings: Findings) -> bool:
    wrong = [(index, size) for index, size in enumerate(dims) if size < 1 and size != -1]
    for index, size in wrong:
        findings.refuse(f"{path}[{index}]", f"{size} is given; expected 1 or more, or -1 for any size")
    return not wrong


def _check_reshape(pair: TensorPair, dims: Shape, findings: Findings) -> None:
    """Both shapes must hold as many elements, whatever the variable sizes are (Triton's rule)."""
    shape = tuple(pair.message.reshape.shape)
    path = f"{pair.path}.reshape.shape"
    if _check_sizes(shape, path, findings) and _fixed_runs(shape) != _fixed_runs(dims):
        findings.refuse(path, f"{list(shape)} does not hold the same elements as dims {list(dims)}")


def _fixed_runs(shape: Shape) -> list[int]:
    """The element counts before, between and after the variable sizes."""
    ends = [index for index, size in enumerate(shape) if size == -1]
    starts = [0, *(index + 1 for index in ends)]
    return [prod(shape[start:end]) for start, end in zip(starts, [*ends, len(shape)], strict=True)]


def _agrees(dims: Shape, row: Shape) -> bool:
    return len(dims) == len(row) and all(size in (-1, given) for given, size in zip(dims, row, strict=True))


def _refuse_dims(pair: TensorPair, row: Shape, batch: BatchDimension, findings: Findings) -> None:
    given, tensor = list(pair.model_dims), f"{pair.role} {pair.graph.name!r}"
    has_reshape = pair.message.HasField("reshape")
    path = f"{pair.path}.reshape.shape" if has_reshape else f"{pair.path}.dims"
    expected = f"but the graph has {pair.graph}; expected {list(row)}"
    if batch.batches:
        expected += f", without the batch dimension, as max_batch_size is {batch.max_batch_size}"
    findings.refuse(path, f"{tensor} has dims {given} in {_file(findings)}, {expected}")


def _file(findings: Findings) -> str:
    return findings.file.rsplit("/", 1)[-1]
