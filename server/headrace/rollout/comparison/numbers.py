"""Numeric differences of two lists of tensors, computed at once."""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

# Numbers of less than this are compared as if they were this large, so that a relative difference says
# nothing of noise around 0.
RELATIVE_FLOOR = 1e-3
# Larger differences count as this one, so that sums stay finite.
LARGEST = 1e290


@dataclass(frozen=True, slots=True)
class NumericDifferences:
    """One figure for each pair of tensors; `is_broken` where NaN or an infinity stands against another value.

    Elements that are broken so, or equal (NaN equals NaN here), count as a difference of 0 in the rest.
    """

    max_absolute: Floats
    mean_absolute: Floats
    max_relative: Floats
    mean_relative: Floats
    is_broken: Flags


def numeric_differences(live: Floats, shadow: Floats) -> NumericDifferences:
    """Of each row of `live` with the same row of `shadow`, both [pairs, elements].

    Absolute: |a - b|. Relative: |a - b| / max(|a|, |b|, RELATIVE_FLOOR), which is 0 to 2.
    """
    with np.errstate(all="ignore"):
        is_same = (live == shadow) | (np.isnan(live) & np.isnan(shadow))
        is_finite = np.isfinite(live) & np.isfinite(shadow)
        counts = is_finite & ~is_same
        absolute = np.where(counts, np.minimum(np.abs(live - shadow), LARGEST), 0.0)
        scale = np.maximum(np.maximum(np.abs(live), np.abs(shadow)), RELATIVE_FLOOR)
        relative = np.where(counts, np.abs(live / scale - shadow / scale), 0.0)
    return NumericDifferences(
        max_absolute=absolute.max(axis=1, initial=0.0),
        mean_absolute=_mean(absolute),
        max_relative=relative.max(axis=1, initial=0.0),
        mean_relative=_mean(relative),
        is_broken=(~is_same & ~is_finite).any(axis=1),
    )


def argmax_differs(live: Floats, shadow: Floats, classes: int) -> Flags:
    """Whether the best of `classes` differs anywhere, for each row; of equal values the first is the best."""
    best_live = live.reshape(len(live), -1, classes).argmax(axis=2)
    best_shadow = shadow.reshape(len(shadow), -1, classes).argmax(axis=2)
    differs: Flags = (best_live != best_shadow).any(axis=1)
    return differs


def _mean(values: Floats) -> Floats:
    means: NDArray[Any] = values.sum(axis=1) / max(1, values.shape[1])
    return means
