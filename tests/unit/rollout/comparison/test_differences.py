"""What differs between two answers, held against plain loops over their elements."""

from math import inf, isfinite, isnan, nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairing import output, pair

from headrace.core.tensor import DATATYPES, DataType, Tensor
from headrace.errors import Cancelled, ExecutionFailed, InvalidArgument, QueueFull
from headrace.rollout.comparison import differences
from headrace.rollout.comparison.differences import Kind, compare
from headrace.rollout.comparison.numbers import RELATIVE_FLOOR, numeric_differences

FLOATS = ("FP16", "FP32", "FP64", "BF16")
INTEGERS = ("BOOL", "UINT8", "INT8", "UINT16", "INT16", "UINT32", "INT32", "UINT64", "INT64")


def only(result):
    (found,) = result.outputs
    return found


def figures(live, shadow, datatype="FP32", **more):
    """What is found in the output `y` of one pair."""
    return only(compare([pair([output("y", live, datatype)], [output("y", shadow, datatype)], **more)]))


def naive(live, shadow):
    """The documented formulae, element by element."""
    absolute, relative, is_broken = [], [], False
    for a, b in zip(live, shadow, strict=True):
        if a == b or (isnan(a) and isnan(b)):
            absolute.append(0.0)
            relative.append(0.0)
        elif not isfinite(a) or not isfinite(b):
            absolute.append(0.0)
            relative.append(0.0)
            is_broken = True
        else:
            absolute.append(abs(a - b))
            relative.append(abs(a - b) / max(abs(a), abs(b), RELATIVE_FLOOR))
    count = max(1, len(absolute))
    return (
        max(absolute, default=0.0),
        sum(absolute) / count,
        max(relative, default=0.0),
        sum(relative) / count,
        is_broken,
    )


numbers = st.floats(-1e100, 1e100) | st.sampled_from([0.0, -0.0, inf, -inf, nan, 1e-9, -1e-9, 1.0])
rows = st.integers(1, 6).flatmap(
    lambda width: st.lists(
        st.tuples(
            st.lists(numbers, min_size=width, max_size=width),
            st.lists(numbers, min_size=width, max_size=width),
        ),
        min_size=1,
        max_size=5,
    )
)


@settings(max_examples=150, deadline=None)
@given(rows)
def test_figures_are_those_of_a_plain_loop(pairs):
    live, shadow = (np.array([each[side] for each in pairs], np.float64) for side in (0, 1))

    found = numeric_differences(live, shadow)

    for place, (a, b) in enumerate(pairs):
        max_absolute, mean_absolute, max_relative, mean_relative, is_broken = naive(a, b)
        assert found.max_absolute[place] == pytest.approx(max_absolute)
        assert found.mean_absolute[place] == pytest.approx(mean_absolute)
        assert found.max_relative[place] == pytest.approx(max_relative, rel=1e-9, abs=1e-12)
        assert found.mean_relative[place] == pytest.approx(mean_relative, rel=1e-9, abs=1e-12)
        assert found.is_broken[place] == is_broken


small = st.floats(-10, 10, width=16)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(FLOATS),
    st.integers(1, 3),
    st.integers(1, 4),
    st.lists(st.integers(0, 10**6), min_size=1, max_size=6),
)
def test_pairs_of_any_shape_together_are_as_each_alone(datatype, batch, classes, seeds):
    pairs = []
    for seed in seeds:
        random = np.random.default_rng(seed)
        shape = (1 + seed % batch, classes)
        live = random.integers(-3, 3, shape) / 2
        shadow = live if seed % 3 == 0 else random.integers(-3, 3, shape) / 2
        pairs.append(pair([output("y", live, datatype)], [output("y", shadow, datatype)]))

    together = compare(pairs)
    alone = [compare([each]) for each in pairs]

    assert together.disagrees.tolist() == [bool(each.disagrees[0]) for each in alone]
    assert together.difference.tolist() == [each.difference[0] for each in alone]
    by_place = {
        int(place): (found, at) for found in together.outputs for at, place in enumerate(found.places)
    }
    for place, each in enumerate(alone):
        found, at = by_place[place]
        for name in ("max_absolute", "mean_absolute", "max_relative", "argmax_differs", "is_broken"):
            assert getattr(found, name)[at] == getattr(only(each), name)[0]


@settings(max_examples=100, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda classes: st.lists(
            st.tuples(*[st.lists(small, min_size=classes, max_size=classes)] * 2), min_size=1, max_size=4
        )
    )
)
def test_the_best_class_of_each_row_is_that_of_a_plain_loop(rows):
    live, shadow = [a for a, _ in rows], [b for _, b in rows]
    expected = any(a.index(max(a)) != b.index(max(b)) for a, b in rows)

    found = figures(live, shadow, "FP64")

    assert bool(found.argmax_differs[0]) == expected
    if len(live[0]) > 1:
        assert found.kind is Kind.SCORES
        assert bool(found.disagrees[0]) == expected


@pytest.mark.parametrize("datatype", FLOATS)
def test_floats_without_classes_disagree_above_the_tolerance(datatype):
    live = output("y", [[1.0], [2.0]], datatype)
    near, far = output("y", [[1.0], [2.0]], datatype), output("y", [[1.0], [2.5]], datatype)

    result = compare([pair([live], [near]), pair([live], [far])])

    assert only(result).kind is Kind.NUMBERS
    assert result.disagrees.tolist() == [False, True]
    assert only(result).max_absolute.tolist() == [0.0, 0.5]
    assert only(result).max_relative.tolist() == [0.0, pytest.approx(0.2)]


def test_tolerance_is_a_parameter():
    live, shadow = [output("y", [[1.0]])], [output("y", [[1.01]])]

    assert compare([pair(live, shadow)]).disagrees.tolist() == [True]
    assert compare([pair(live, shadow)], tolerance=0.02).disagrees.tolist() == [False]


def test_noise_around_zero_is_no_disagreement():
    assert not figures([[1e-9]], [[-3e-7]]).disagrees[0]
    assert figures([[1e-3]], [[2e-3]]).disagrees[0]


def test_scores_disagree_where_the_best_differs_however_small_the_difference():
    assert figures([[0.500001, 0.5]], [[0.5, 0.500001]]).disagrees[0]
    assert not figures([[0.9, 0.1]], [[0.6, 0.4]]).disagrees[0]


@pytest.mark.parametrize(
    ("shape", "batches", "kind"),
    [
        ((2, 3), True, Kind.SCORES),
        ((2, 1), True, Kind.NUMBERS),
        ((3,), True, Kind.NUMBERS),
        ((3,), False, Kind.SCORES),
        ((), False, Kind.NUMBERS),
        ((1,), False, Kind.NUMBERS),
        ((2, 0), True, Kind.NUMBERS),
    ],
    ids=str,
)
def test_classes_are_in_a_last_dimension_that_is_not_the_batch(shape, batches, kind):
    tensor = output("y", np.zeros(shape))

    found = only(compare([pair([tensor], [tensor], batches=batches)]))

    assert found.kind is kind
    assert not found.disagrees[0]


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_and_booleans_disagree_where_any_differs(datatype):
    same, other = [[1, 0, 1]], [[1, 1, 1]]

    assert not figures(same, same, datatype).disagrees[0]
    found = figures(same, other, datatype)

    assert found.kind is Kind.LABELS
    assert found.label_differs[0] and found.disagrees[0]
    assert found.max_absolute[0] == 1


def test_large_integers_are_not_rounded_before_they_are_compared():
    assert figures([[2**62]], [[2**62 + 1]], "INT64").disagrees[0]


def test_texts_disagree_where_any_differs():
    found = figures([["a", "b"]], [["a", "c"]], "BYTES")

    assert found.label_differs[0] and found.disagrees[0]
    assert not figures([["a", "b"]], [["a", "b"]], "BYTES").disagrees[0]
    assert figures([["ab", ""]], [["a", "b"]], "BYTES").disagrees[0]


@pytest.mark.parametrize("value", [nan, inf, -inf], ids=str)
def test_what_is_no_number_disagrees_with_a_number_and_not_with_itself(value):
    same, broken = figures([[value]], [[value]]), figures([[value]], [[1.0]])

    assert not same.disagrees[0] and not same.is_broken[0]
    assert broken.disagrees[0] and broken.is_broken[0]
    assert broken.max_absolute[0] == 0 and isfinite(broken.mean_relative[0])


def test_opposite_infinities_disagree():
    assert figures([[inf]], [[-inf]]).is_broken[0]


def test_differences_too_large_to_be_told_stay_finite():
    found = figures([[1.7e308]], [[-1.7e308]], "FP64")

    assert isfinite(found.max_absolute[0]) and found.max_absolute[0] > 1e200
    assert found.max_relative[0] == pytest.approx(2)


@pytest.mark.parametrize(
    "shadow",
    [[], [output("y", [[1.0, 2.0]])], [output("y", [[1.0]], "FP64")], [output("z", [[1.0]])]],
    ids=["missing", "another shape", "another datatype", "another name"],
)
def test_outputs_that_are_unlike_disagree(shadow):
    result = compare([pair([output("y", [[1.0]])], shadow)])

    assert result.disagrees.tolist() == [True]
    assert result.difference.tolist() == [inf]
    assert {found.kind for found in result.outputs} == {Kind.UNLIKE}


def test_an_output_that_only_the_shadow_has_disagrees():
    both = output("y", [[1.0]])

    result = compare([pair([both], [both, output("more", [[1.0]])])])

    assert result.disagrees.tolist() == [True]


def test_empty_outputs_agree():
    for datatype in DATATYPES:
        tensor = Tensor("y", DATATYPES[datatype], (0, 3), b"")
        assert not compare([pair([tensor], [tensor])]).disagrees[0]


def classified(*elements):
    return output("y", [list(elements)], "BYTES")


def compared_classes(live, shadow):
    return only(compare([pair([live], [shadow], classified=frozenset(["y"]))]))


def test_classification_disagrees_where_the_best_class_differs():
    live = classified("0.700000:2:two", "0.200000:0:zero")
    close = classified("0.600000:2:two", "0.300000:0:zero")
    other = classified("0.600000:0:zero", "0.300000:2:two")

    found = compared_classes(live, close)
    assert found.kind is Kind.CLASSES
    assert not found.disagrees[0]
    assert found.max_absolute[0] == pytest.approx(0.1)
    found = compared_classes(live, other)
    assert found.argmax_differs[0] and found.disagrees[0]
    assert found.max_absolute[0] == pytest.approx(0.4)


def test_classes_that_only_one_names_have_no_numbers_to_compare():
    found = compared_classes(classified("0.7:2"), classified("0.7:1"))

    assert found.disagrees[0]
    assert found.max_absolute[0] == 0


def test_classification_of_several_rows_looks_at_each():
    live = output("y", [["9:1", "8:2"], ["9:1", "8:2"]], "BYTES")
    shadow = output("y", [["9:1", "8:2"], ["9:2", "8:1"]], "BYTES")

    assert compared_classes(live, shadow).disagrees[0]
    assert not compared_classes(live, live).disagrees[0]


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_classes_with_values_that_are_no_numbers(value):
    assert compared_classes(classified(f"{value}:1"), classified("0.5:1")).is_broken[0]
    assert not compared_classes(classified(f"{value}:1"), classified(f"{value}:1")).disagrees[0]


@pytest.mark.parametrize(
    ("live", "shadow", "disagrees"),
    [
        ([], ExecutionFailed("broke"), True),
        (ExecutionFailed("broke"), [], True),
        ([], InvalidArgument("bad"), True),
        (ExecutionFailed("broke"), InvalidArgument("bad"), False),
        ([], QueueFull("full"), False),
        ([], Cancelled("gone"), False),
        (ExecutionFailed("broke"), QueueFull("full"), False),
    ],
    ids=["shadow fails", "live fails", "refuses inputs", "both fail", "full", "cancelled", "fails, full"],
)
def test_a_failed_execution_of_one_disagrees_and_load_does_not(live, shadow, disagrees):
    result = compare([pair(live, shadow)])

    assert result.disagrees.tolist() == [disagrees]
    assert result.is_answered.tolist() == [False]


def test_several_outputs_disagree_where_one_does_and_the_largest_difference_counts():
    live = [output("a", [[1.0]]), output("b", [[5]], "INT64")]
    shadow = [output("a", [[1.5]]), output("b", [[5]], "INT64")]

    result = compare([pair(live, shadow)])

    assert result.disagrees.tolist() == [True]
    assert result.difference.tolist() == [pytest.approx(1 / 3)]
    assert {found.name: bool(found.disagrees[0]) for found in result.outputs} == {"a": True, "b": False}


def test_many_large_tensors_are_compared_a_few_at_a_time(monkeypatch):
    monkeypatch.setattr(differences, "_CHUNK_ELEMENTS", 10)
    pairs = [
        pair([output("y", np.full((1, 4), index))], [output("y", np.full((1, 4), 2 * index))])
        for index in range(5)
    ]

    result = compare(pairs)

    assert [len(found.places) for found in result.outputs] == [2, 2, 1]
    found = np.concatenate([part.max_absolute for part in result.outputs])
    assert found.tolist() == [0, 1, 2, 3, 4]


def test_views_are_compared_as_bytes_are():
    data = np.array([1.0, 2.0], np.float32)
    view = Tensor("y", DataType.FP32, (1, 2), data.view(np.uint8).data)
    texts = Tensor("t", DataType.BYTES, (1,), memoryview(b"\x01\x00\x00\x00a"))

    result = compare([pair([view, texts], [output("y", [[1.0, 2.0]]), output("t", ["a"], "BYTES")])])

    assert not result.disagrees[0]


def test_no_pairs_differ_in_nothing():
    result = compare([])

    assert not result.disagrees.size and not result.outputs
