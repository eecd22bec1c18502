"""Spreads tell means exactly and quantiles within a bin, in constant memory."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.rollout.comparison.spread import DIFFERENCE, LATENCY, SignedSpread, Spread

# Half a bin, with some room for rounding.
FACTOR = 10 ** (0.5 / LATENCY.per_decade) * 1.001

values = st.lists(st.floats(1e3, 1e12, exclude_max=True), min_size=1, max_size=50)


@settings(max_examples=200, deadline=None)
@given(values, st.floats(0, 1))
def test_quantiles_are_off_by_no_more_than_half_a_bin(times, share):
    spread = Spread(LATENCY)
    spread.add(np.array(times))

    exact = sorted(times)[max(0, int(np.ceil(share * len(times))) - 1)]

    assert exact / FACTOR <= spread.quantile(share) <= exact * FACTOR


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e15), max_size=50), st.integers(1, 5))
def test_parts_add_up_to_the_whole(numbers, parts):
    whole, parted = Spread(DIFFERENCE), Spread(DIFFERENCE)
    whole.add(np.array(numbers))
    for part in np.array_split(np.array(numbers), parts):
        parted.add(part)

    assert parted.bins() == whole.bins()
    assert (parted.count, parted.below_count, parted.above_count) == (
        whole.count,
        whole.below_count,
        whole.above_count,
    )
    assert parted.mean == pytest.approx(np.mean(numbers) if numbers else 0)
    assert (parted.least, parted.most) == (min(numbers, default=0), max(numbers, default=0))


def test_what_is_outside_the_scale_is_counted():
    spread = Spread(DIFFERENCE)
    spread.add(np.array([0.0, 1e-13, 1e-12, 9.9e11, 1e12, 1e290]))

    assert (spread.below_count, spread.above_count) == (2, 2)
    assert [index for index, _ in spread.bins()] == [0, DIFFERENCE.bins - 1]
    assert spread.quantile(0) == 0
    assert spread.quantile(1) == 1e290


def test_without_values_everything_is_zero():
    assert (Spread(LATENCY).mean, Spread(LATENCY).quantile(0.5)) == (0, 0)
    assert (SignedSpread(LATENCY).mean, SignedSpread(LATENCY).quantile(0.5)) == (0, 0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(1e3, 1e11) | st.floats(-1e11, -1e3), min_size=1, max_size=50), st.floats(0.01, 1))
def test_signed_quantiles_are_off_by_no_more_than_a_bin(differences, share):
    spread = SignedSpread(LATENCY)
    spread.add(np.array(differences))
    ordered = sorted(differences)
    place = int(np.ceil(share * len(differences))) - 1
    near = ordered[max(0, place - 1) : place + 2]

    found = spread.quantile(share)

    assert spread.mean == pytest.approx(np.mean(differences), rel=1e-6, abs=1e-3)
    assert any(
        min(exact / FACTOR, exact * FACTOR) <= found <= max(exact / FACTOR, exact * FACTOR) for exact in near
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e14, 1e14), max_size=30), st.lists(st.floats(-1e14, 1e14), max_size=30))
def test_documents_resume_exactly(first, second):
    spread = SignedSpread(LATENCY)
    spread.add(np.array(first))
    again = SignedSpread.from_document(json.loads(json.dumps(spread.to_document())))
    assert again.to_document() == spread.to_document()

    for each in (spread, again):
        each.add(np.array(second))

    assert again.to_document() == spread.to_document()
