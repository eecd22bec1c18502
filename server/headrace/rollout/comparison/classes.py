"""Differences of two results of classification, whose elements are "value:index[:label]", the best first."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headrace.core import strings
from headrace.core.tensor import Tensor
from headrace.rollout.comparison.numbers import numeric_differences


@dataclass(frozen=True, slots=True)
class ClassDifferences:
    """Whether the best class differs in any row; the values are those of the classes that both name."""

    best_differs: bool
    max_absolute: float
    mean_absolute: float
    max_relative: float
    mean_relative: float
    is_broken: bool


def class_differences(live: Tensor, shadow: Tensor) -> ClassDifferences:
    """Of two tensors of the same shape; ValueError where they are no results of classification."""
    live_rows, shadow_rows = _rows(live), _rows(shadow)
    rows = list(zip(live_rows, shadow_rows, strict=True))
    common = [(a[index], b[index]) for a, b in rows for index in a.keys() & b.keys()]
    values = np.array(common, np.float64).reshape(-1, 2).T
    figures = numeric_differences(values[:1], values[1:])
    return ClassDifferences(
        best_differs=any(next(iter(a), None) != next(iter(b), None) for a, b in rows),
        max_absolute=float(figures.max_absolute[0]),
        mean_absolute=float(figures.mean_absolute[0]),
        max_relative=float(figures.max_relative[0]),
        mean_relative=float(figures.mean_relative[0]),
        is_broken=bool(figures.is_broken[0]),
    )


def _rows(tensor: Tensor) -> Sequence[dict[int, float]]:
    """The value of each class by its index, the best first, row by row."""
    elements = [element.split(b":", 2) for element in strings.unpack(tensor.data)]
    classes = [(int(index), float(value)) for value, index, *_ in elements]
    width = tensor.shape[-1] if tensor.shape else 1
    return [dict(classes[at : at + width]) for at in range(0, len(classes), max(1, width))]
