"""Whether a graph batches: its first dimensions, held against max_batch_size."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.completion.tensor_pairs import TensorPair
from headrace.repository.graph.onnx_model import GraphTensor
from headrace.repository.problems import Findings


@dataclass(frozen=True, slots=True)
class BatchDimension:
    """`max_batch_size` 0 is none; `fixed_batch` is the size that the graph fixes, 0 where it is variable."""

    max_batch_size: int
    fixed_batch: int = 0
    is_completed: bool = False

    @property
    def batches(self) -> bool:
        """True where the first dimension of every tensor is the batch."""
        return self.max_batch_size > 0


def read_batch_dimension(
    message: pb.ModelConfig,
    inputs: Sequence[TensorPair],
    outputs: Sequence[TensorPair],
    default_max_batch_size: int,
    findings: Findings,
) -> BatchDimension:
    """What `message` says, or what the graph allows, up to the default, where `message` leaves that open.

    A max_batch_size of 0 leaves it open; a default of 0 means that nothing is completed.
    """
    given = message.max_batch_size
    if given < 0:
        findings.refuse("max_batch_size", f"{given} is given; expected 0 or more")
        return BatchDimension(0)
    if given > 0:
        return BatchDimension(given, _fixed_batch(given, [*inputs, *outputs], findings))
    if default_max_batch_size < 1 or not may_batch(inputs, outputs):
        return BatchDimension(0)
    _note_output_names(inputs, outputs, findings)
    return BatchDimension(default_max_batch_size, is_completed=True)


def may_batch(inputs: Sequence[TensorPair], outputs: Sequence[TensorPair]) -> bool:
    """True where every first dimension is variable and nothing speaks against it being the batch.

    Against it speak: dims in the configuration that have the graph's full rank; inputs whose first
    dimensions have different symbolic names (`batch` and `sequence` are not one batch); and a batch name that
    comes back in a later dimension, or an output that starts with such a later dimension's name, as then the
    rows of a joined batch would depend on one another.
    """
    pairs = [*inputs, *outputs]
    if not inputs or not all(_starts_variable(pair.graph) and not _has_full_dims(pair) for pair in pairs):
        return False
    names = {name for pair in inputs if (name := pair.graph.dim_names[0])}
    firsts = names | {name for pair in outputs if (name := pair.graph.dim_names[0])}
    later = {name for pair in pairs for name in pair.graph.dim_names[1:] if name}
    return len(names) <= 1 and not firsts & later


def _starts_variable(graph: GraphTensor) -> bool:
    return bool(graph.shape) and graph.shape is not None and graph.shape[0] == -1


def _has_full_dims(pair: TensorPair) -> bool:
    """True where the configured dims leave no room for a batch dimension before them."""
    return (
        bool(pair.model_dims)
        and pair.graph.shape is not None
        and len(pair.model_dims) == len(pair.graph.shape)
    )


def _note_output_names(
    inputs: Sequence[TensorPair], outputs: Sequence[TensorPair], findings: Findings
) -> None:
    """Notes that an output whose first dimension has another name is taken to batch all the same."""
    names = {pair.graph.dim_names[0] for pair in inputs}
    for pair in outputs:
        name = pair.graph.dim_names[0]
        if name and names != {""} and name not in names:
            findings.note(
                "max_batch_size",
                f"the first dimension of output {pair.graph.name!r}, {name!r}, is taken for the batch; "
                "where it is not, list input and output and leave max_batch_size at 0",
            )


def _fixed_batch(given: int, pairs: Sequence[TensorPair], findings: Findings) -> int:
    """The batch that the graph fixes, or 0; a problem where the graph cannot batch as `given`."""
    known = [pair for pair in pairs if pair.graph.shape is not None]
    scalars = [pair for pair in known if not pair.graph.shape]
    if scalars:
        tensor = f"{scalars[0].role} {scalars[0].graph.name!r}"
        reason = f"{tensor} has no dimension in the graph that could be the batch"
        findings.refuse("max_batch_size", f"{given} is given, but {reason}; write max_batch_size: 0")
        return 0
    sizes = {pair.graph.shape[0] for pair in known if pair.graph.shape}
    if sizes <= {-1}:
        return 0
    if len(sizes) > 1:
        _refuse_mixed(given, known, findings)
        return 0
    fixed = sizes.pop()
    if fixed < given:
        findings.refuse(
            "max_batch_size",
            f"{given} is given, but the graph fixes the first dimension at {fixed}; "
            f"write max_batch_size: {fixed} or less, or export the graph with a variable first dimension",
        )
    return fixed


def _refuse_mixed(given: int, pairs: Sequence[TensorPair], findings: Findings) -> None:
    shapes = ", ".join(f"{pair.role} {pair.graph.name!r} is {pair.graph}" for pair in pairs[:8])
    findings.refuse(
        "max_batch_size",
        f"{given} is given, but the first dimensions are neither all variable nor all of one size: {shapes}; "
        "write max_batch_size: 0, with dims that include the first dimension",
    )
