"""What differs between live answers and those of a shadow: many pairs at once, without any state."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.core.request import InferenceResponse
from headrace.core.tensor import DataType, Shape, Tensor, element_count, from_bf16
from headrace.rollout.comparison.classes import class_differences
from headrace.rollout.comparison.numbers import (
    Flags,
    Floats,
    argmax_differs,
    numeric_differences,
)
from headrace.router.shadow.pair import EXECUTION_ERRORS, Answer, Pair

# Relative differences above this make numbers disagree.
DEFAULT_TOLERANCE = 1e-3

# As many elements are compared at once, unless one tensor has more.
_CHUNK_ELEMENTS = 1 << 20

_FLOATS = (DataType.FP16, DataType.FP32, DataType.FP64, DataType.BF16)


class Kind(StrEnum):
    """How an output is compared, and when it disagrees."""

    # Numbers, where a relative difference is above the tolerance.
    NUMBERS = "numbers"
    # Floating-point numbers with several classes in the last dimension, where the best one differs.
    SCORES = "scores"
    # Texts, integers and booleans, where any differs.
    LABELS = "labels"
    # Results of classification, where the best class differs.
    CLASSES = "classes"
    # An output that one of the two lacks, or has of another datatype or shape: always.
    UNLIKE = "unlike"


@dataclass(frozen=True, slots=True)
class OutputDifferences:
    """One output in some of the pairs: `places` are theirs in the list that was compared, and each of the
    other arrays has a figure for each of them. `is_broken` as in NumericDifferences.
    """

    name: str
    kind: Kind
    places: NDArray[np.intp]
    max_absolute: Floats
    mean_absolute: Floats
    max_relative: Floats
    mean_relative: Floats
    argmax_differs: Flags
    label_differs: Flags
    is_broken: Flags
    disagrees: Flags


@dataclass(frozen=True, slots=True)
class Differences:
    """One figure for each pair. `difference` is the largest relative one of its outputs, infinite where an
    output is unlike or broken; a label that differs counts as 1 at least.
    """

    is_answered: Flags
    disagrees: Flags
    difference: Floats
    outputs: Sequence[OutputDifferences]


@dataclass(slots=True)
class _Group:
    """Tensors of the same name, kind, datatype and shape, those of unlike ones left out."""

    name: str
    kind: Kind
    datatype: DataType
    shape: Shape
    places: list[int]
    live: list[Tensor]
    shadow: list[Tensor]


_Key: TypeAlias = tuple[str, Kind, DataType, Shape]


def compare(pairs: Sequence[Pair], tolerance: float = DEFAULT_TOLERANCE) -> Differences:
    """What differs in each of `pairs`.

    A pair disagrees where both answered and an output does, or where the execution of exactly one failed.
    """
    groups: dict[_Key, _Group] = {}
    is_answered = np.zeros(len(pairs), np.bool_)
    disagrees = np.zeros(len(pairs), np.bool_)
    difference = np.zeros(len(pairs), np.float64)
    for place, pair in enumerate(pairs):
        if isinstance(pair.live, InferenceResponse) and isinstance(pair.shadow, InferenceResponse):
            is_answered[place] = True
            _sort(groups, place, pair, pair.live, pair.shadow)
        else:
            disagrees[place] = _fails(pair.live) != _fails(pair.shadow) and not _is_refused(pair.shadow)
    outputs = [part for group in groups.values() for part in _compare_group(group, tolerance)]
    for output in outputs:
        disagrees[output.places] |= output.disagrees
        np.maximum.at(difference, output.places, _sizes(output))
    return Differences(is_answered, disagrees, difference, outputs)


def _fails(answer: Answer) -> bool:
    return isinstance(answer, EXECUTION_ERRORS)


def _is_refused(answer: Answer) -> bool:
    """True where it was not executed, which says something about load or time, not about the version."""
    return not isinstance(answer, (InferenceResponse, *EXECUTION_ERRORS))


def _sort(
    groups: dict[_Key, _Group], place: int, pair: Pair, live: InferenceResponse, shadow: InferenceResponse
) -> None:
    """Puts each output of a pair into its group."""
    ours = {tensor.name: tensor for tensor in live.outputs}
    theirs = {tensor.name: tensor for tensor in shadow.outputs}
    for name in {**ours, **theirs}:
        a, b = ours.get(name), theirs.get(name)
        if a is None or b is None or a.datatype is not b.datatype or a.shape != b.shape:
            _group(groups, name, Kind.UNLIKE, DataType.BYTES, ()).places.append(place)
            continue
        group = _group(groups, name, _kind(pair, a), a.datatype, a.shape)
        group.places.append(place)
        group.live.append(a)
        group.shadow.append(b)


def _group(groups: dict[_Key, _Group], name: str, kind: Kind, datatype: DataType, shape: Shape) -> _Group:
    key = (name, kind, datatype, shape)
    if key not in groups:
        groups[key] = _Group(name, kind, datatype, shape, [], [], [])
    return groups[key]


def _kind(pair: Pair, tensor: Tensor) -> Kind:
    if tensor.name in pair.classified and tensor.datatype is DataType.BYTES:
        return Kind.CLASSES
    if tensor.datatype not in _FLOATS:
        return Kind.LABELS
    has_classes = len(tensor.shape) > pair.batches and tensor.shape[-1] >= 2
    return Kind.SCORES if has_classes else Kind.NUMBERS


def _compare_group(group: _Group, tolerance: float) -> Iterator[OutputDifferences]:
    match group.kind:
        case Kind.UNLIKE:
            yield _result(group, group.places, disagrees=np.ones(len(group.places), np.bool_))
        case Kind.CLASSES:
            yield _compare_classes(group)
        case Kind.LABELS if group.datatype is DataType.BYTES:
            pairs = zip(group.live, group.shadow, strict=True)
            differs = np.array([bytes(a.data) != bytes(b.data) for a, b in pairs], np.bool_)
            yield _result(group, group.places, label_differs=differs, disagrees=differs)
        case _:
            yield from _compare_numeric(group, tolerance)


def _compare_numeric(group: _Group, tolerance: float) -> Iterator[OutputDifferences]:
    """A few at a time, so that large tensors do not all become floating-point numbers at once."""
    count = max(1, _CHUNK_ELEMENTS // max(1, element_count(group.shape)))
    for first in range(0, len(group.places), count):
        part = slice(first, first + count)
        yield _compare_part(group, part, tolerance)


def _compare_part(group: _Group, part: slice, tolerance: float) -> OutputDifferences:
    places = group.places[part]
    raw_live = _array(group.live[part], group.datatype)
    raw_shadow = _array(group.shadow[part], group.datatype)
    live, shadow = raw_live.astype(np.float64), raw_shadow.astype(np.float64)
    figures = numeric_differences(live, shadow)
    result = {
        "max_absolute": figures.max_absolute,
        "mean_absolute": figures.mean_absolute,
        "max_relative": figures.max_relative,
        "mean_relative": figures.mean_relative,
        "is_broken": figures.is_broken,
    }
    if group.kind is Kind.LABELS:
        differs = (raw_live != raw_shadow).any(axis=1)
        return _result(group, places, **result, label_differs=differs, disagrees=differs)
    if group.kind is Kind.SCORES:
        differs = argmax_differs(live, shadow, group.shape[-1])
        return _result(group, places, **result, argmax_differs=differs, disagrees=differs | figures.is_broken)
    is_far = figures.max_relative > tolerance
    return _result(group, places, **result, disagrees=is_far | figures.is_broken)


def _compare_classes(group: _Group) -> OutputDifferences:
    each = [class_differences(a, b) for a, b in zip(group.live, group.shadow, strict=True)]
    differs = np.array([one.best_differs for one in each], np.bool_)
    is_broken = np.array([one.is_broken for one in each], np.bool_)
    return _result(
        group,
        group.places,
        max_absolute=np.array([one.max_absolute for one in each], np.float64),
        mean_absolute=np.array([one.mean_absolute for one in each], np.float64),
        max_relative=np.array([one.max_relative for one in each], np.float64),
        mean_relative=np.array([one.mean_relative for one in each], np.float64),
        argmax_differs=differs,
        is_broken=is_broken,
        disagrees=differs | is_broken,
    )


def _result(group: _Group, places: Sequence[int], **known: NDArray[Any]) -> OutputDifferences:
    """What is not `known` is 0 everywhere."""
    count = len(places)
    figures: dict[str, Any] = {
        "max_absolute": np.zeros(count),
        "mean_absolute": np.zeros(count),
        "max_relative": np.zeros(count),
        "mean_relative": np.zeros(count),
        "argmax_differs": np.zeros(count, np.bool_),
        "label_differs": np.zeros(count, np.bool_),
        "is_broken": np.zeros(count, np.bool_),
    }
    return OutputDifferences(
        name=group.name, kind=group.kind, places=np.array(places, np.intp), **(figures | known)
    )


def _array(tensors: Sequence[Tensor], datatype: DataType) -> NDArray[Any]:
    """Their elements, a row for each tensor."""
    flat = np.frombuffer(b"".join([tensor.data for tensor in tensors]), datatype.numpy)
    rows = flat.reshape(len(tensors), -1) if flat.size else flat.reshape(len(tensors), 0)
    return from_bf16(rows) if datatype is DataType.BF16 else rows


def _sizes(output: OutputDifferences) -> Floats:
    """How large the difference is, to find the worst."""
    sizes: Floats = np.maximum(output.max_relative, output.label_differs)
    is_endless = output.is_broken | (output.kind is Kind.UNLIKE)
    return np.where(is_endless, np.inf, sizes)
