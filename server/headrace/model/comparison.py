"""What a model answered, held against what was expected of it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from headrace.core import strings
from headrace.core.tensor import DataType, Shape, Tensor, from_bf16
from headrace.repository.golden.request import Elements, GoldenOutput, Tolerance
from headrace.repository.problems import shown


def differences(expected: GoldenOutput, tensor: Tensor, *, batches: bool) -> Iterator[str]:
    """What is not as expected in the `tensor` that the model answered; nothing where all is well."""
    if expected.shape not in (None, tensor.shape):
        yield f"has the shape {list(tensor.shape)}, but {list(expected.shape)} is expected"
        return
    got = _elements(tensor)
    if expected.is_finite:
        yield from _not_finite(got)
    if expected.data is not None:
        yield from _other_elements(expected.data, got, expected.tolerance)
    if expected.best is not None:
        yield from _other_classes(expected.best, got.reshape(len(got) if batches else 1, -1))


def _elements(tensor: Tensor) -> Elements:
    """The elements as a golden request has them; bytes that are no UTF-8 are escaped."""
    if tensor.datatype is DataType.BYTES:
        elements = strings.unpack(tensor.data)
        texts = np.empty(len(elements), object)
        texts[:] = [element.decode(errors="backslashreplace") for element in elements]
        return texts.reshape(tensor.shape)
    array: Elements = np.frombuffer(tensor.data, tensor.datatype.numpy).reshape(tensor.shape)
    return from_bf16(array) if tensor.datatype is DataType.BF16 else array


def _not_finite(got: Elements) -> Iterator[str]:
    wrong = ~np.isfinite(got)
    if wrong.any():
        at = _Place.of(int(np.argmax(wrong)), got.shape)
        yield f"{_count(wrong)} not finite; the first, {at}, is {_shown(got.flat[at.index])}"


def _other_elements(expected: Elements, got: Elements, tolerance: Tolerance) -> Iterator[str]:
    if expected.size != got.size or (expected.ndim > 1 and expected.shape != got.shape):
        wanted = f"{list(expected.shape)} is" if expected.ndim > 1 else f"{expected.size} elements are"
        yield f"has the shape {list(got.shape)}, but {wanted} expected"
        return
    expected = expected.reshape(got.shape)
    if got.dtype.kind in "Ob":
        yield from _exactly(expected, got)
    else:
        yield from _nearly(expected, got, tolerance)


def _exactly(expected: Elements, got: Elements) -> Iterator[str]:
    wrong = expected != got
    if wrong.any():
        at = _Place.of(int(np.argmax(wrong)), got.shape)
        yield (
            f"{_count(wrong)} off; the first, {at}, is {_shown(got.flat[at.index])}, "
            f"but {_shown(expected.flat[at.index])} is expected"
        )


def _nearly(expected: Elements, got: Elements, tolerance: Tolerance) -> Iterator[str]:
    distance = _distances(expected, got)
    with np.errstate(over="ignore", invalid="ignore"):
        allowed = tolerance.absolute + tolerance.relative * np.abs(expected.astype(np.float64))
    wrong = np.isinf(distance) | (distance > allowed)
    if wrong.any():
        # Infinity less infinity is NaN, which argmax would take for the largest.
        excess = np.where(np.isinf(distance), np.inf, distance - np.where(np.isfinite(allowed), allowed, 0.0))
        at = _Place.of(int(np.argmax(np.where(wrong, excess, -1.0))), got.shape)
        by = distance.flat[at.index]
        off = f", off by {by:.3g} with a tolerance of {allowed.flat[at.index]:.3g}" if np.isfinite(by) else ""
        yield (
            f"{_count(wrong)} off; the worst, {at}, is {_shown(got.flat[at.index])}, "
            f"but {_shown(expected.flat[at.index])} is expected{off}"
        )
    elif tolerance.mean is not None and distance.size and distance.mean() > tolerance.mean:
        mean = f"{distance.mean():.3g} in the mean of {distance.size} elements"
        yield f"is off by {mean}, with a tolerance of {tolerance.mean:.3g}"


def _distances(expected: Elements, got: Elements) -> NDArray[np.float64]:
    """How far apart the elements are: infinity where just one of two is finite, or they are not the same."""
    distance = np.zeros(got.shape, np.float64)
    differ = expected != got
    if got.dtype.kind == "f":
        differ &= ~(np.isnan(expected) & np.isnan(got))
        wide, wide_got = expected[differ].astype(np.float64), got[differ].astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(wide - wide_got)
        distance[differ] = np.where(np.isfinite(wide) & np.isfinite(wide_got), apart, np.inf)
    else:
        # Integers of 64 bits do not fit into numpy's differences: Python's have any size.
        apart_exactly = np.abs(expected[differ].astype(object) - got[differ].astype(object))
        distance[differ] = apart_exactly.astype(np.float64)
    return distance


def _other_classes(best: tuple[int, ...], rows: Elements) -> Iterator[str]:
    if len(best) != len(rows):
        yield f"has {len(rows)} rows, but classes of {len(best)} are expected"
        return
    if not rows.size:
        yield "has no elements, but the largest is asked for"
        return
    if rows.dtype.kind == "f" and np.isnan(rows).any():
        first = int(np.argmax(np.isnan(rows).any(axis=1)))
        yield f"row {first} has NaN among its elements: it has no largest one"
        return
    got = rows.argmax(axis=1)
    wrong = got != np.array(best)
    if wrong.any():
        row = int(np.argmax(wrong))
        value = _shown(rows[row, got[row]])
        instead = f" ({_shown(rows[row, best[row]])})" if best[row] < rows.shape[1] else ""
        yield (
            f"the largest element is another in {int(wrong.sum())} of {len(rows)} rows; in the first, "
            f"row {row}, it is {got[row]} ({value}), but {best[row]}{instead} is expected"
        )


@dataclass(frozen=True, slots=True)
class _Place:
    """One element of an array: its index where that is flat, and by dimension."""

    index: int
    by_dimension: tuple[int, ...]

    @classmethod
    def of(cls, index: int, shape: Shape) -> "_Place":
        return cls(index, tuple(int(each) for each in np.unravel_index(index, shape)) if shape else ())

    def __str__(self) -> str:
        return str(list(self.by_dimension))


def _count(wrong: NDArray[np.bool_]) -> str:
    count = int(wrong.sum())
    return f"{count} of {wrong.size} elements {'is' if count == 1 else 'are'}"


def _shown(element: object) -> str:
    """Numbers with as many digits as tell them apart."""
    return shown(element) if isinstance(element, str) else str(element)
