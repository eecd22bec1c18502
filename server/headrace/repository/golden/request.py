"""A golden request: what is asked of a version before it may serve, and what must come out."""

from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from headrace.core.tensor import Shape, Tensor

# Elements as people write them: BF16 as float32, BYTES as str.
Elements: TypeAlias = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far answers may be from what is expected.

    Each element by at most `absolute` + `relative` × |expected|, all of them by `mean` in the mean, or by
    anything where that is None.
    """

    absolute: float = 0.0
    relative: float = 0.0
    mean: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class GoldenOutput:
    """What must come out as `name`; what is None or False is not asked for.

    `shape` includes the batch dimension where the model batches. `data` has that shape, or is flat where
    there is none. `best` has the index of the largest element of each row, or of the whole where the model
    does not batch, dimensions behind the first flattened.
    """

    name: str
    shape: Shape | None = None
    data: Elements | None = None
    tolerance: Tolerance = Tolerance()
    best: tuple[int, ...] | None = None
    is_finite: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class GoldenRequest:
    """One file's request, held against the model's configuration; `file` is `m/1/golden/a.json`."""

    file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[GoldenOutput, ...]
