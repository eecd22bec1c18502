"""What counts as answered as expected, and how it is told where it is not."""

from typing import Any

import numpy as np
import pytest

from headrace.core.strings import pack
from headrace.core.tensor import DATATYPES, DataType, Tensor, to_bf16
from headrace.model.comparison import differences
from headrace.repository.golden.request import GoldenOutput, Tolerance

NARROW = Tolerance(absolute=0.01, relative=0.1)
EXACT = Tolerance()
MEAN = Tolerance(absolute=np.inf, mean=0.5)


def tensor(values: Any, datatype: str = "FP32", shape: tuple[int, ...] | None = None) -> Tensor:
    kind = DATATYPES[datatype]
    if kind is DataType.BYTES:
        elements = [each if isinstance(each, bytes) else each.encode() for each in values]
        return Tensor("y", kind, shape or (len(elements),), pack(elements))
    array = np.array(values, np.float32 if kind is DataType.BF16 else kind.numpy)
    data = to_bf16(array).tobytes() if kind is DataType.BF16 else array.tobytes()
    return Tensor("y", kind, array.shape if shape is None else shape, data)


def elements(values: Any, datatype: str = "FP32") -> Any:
    kind = DATATYPES[datatype]
    return np.array(values, np.float32 if kind is DataType.BF16 else kind.numpy)


def told(
    expected: Any,
    got: Any,
    datatype: str = "FP32",
    tolerance: Tolerance = EXACT,
    *,
    shape: tuple[int, ...] | None = None,
) -> list[str]:
    output = GoldenOutput("y", shape, elements(expected, datatype), tolerance)
    return list(differences(output, tensor(got, datatype), batches=True))


@pytest.mark.parametrize("datatype", [name for name in DATATYPES if name not in ("BYTES", "BOOL")])
def test_the_same_numbers_are_as_expected(datatype: str) -> None:
    assert told([[0, 1], [2, 100]], [[0, 1], [2, 100]], datatype) == []


@pytest.mark.parametrize(
    ("expected", "got"),
    [
        ([1.0, 10.0], [1.1, 11.0]),
        ([0.0, -1.0], [0.01, -1.1]),
        ([np.nan, np.inf, -np.inf], [np.nan, np.inf, -np.inf]),
        ([], []),
        (0.0, -0.0),
    ],
    ids=["relative", "absolute", "not_finite", "empty", "scalar"],
)
def test_numbers_within_the_tolerance_are_as_expected(expected: Any, got: Any) -> None:
    assert told(expected, got, "FP32", NARROW) == []


@pytest.mark.parametrize(
    ("expected", "got", "message"),
    [
        (
            [[1.0, 2.0], [3.0, 4.0]],
            [[1.5, 2.0], [3.0, 5.5]],
            "2 of 4 elements are off; the worst, [1, 1], is 5.5, but 4.0 is expected, off by 1.5 with a "
            "tolerance of 0.41",
        ),
        (
            [1.0],
            [1.12],
            "1 of 1 elements is off; the worst, [0], is 1.12, but 1.0 is expected, off by 0.12 with "
            "a tolerance of 0.11",
        ),
        ([1.0, 2.0], [9.0, np.nan], "2 of 2 elements are off; the worst, [1], is nan, but 2.0 is expected"),
        ([np.nan], [1.0], "1 of 1 elements is off; the worst, [0], is 1.0, but nan is expected"),
        ([np.inf], [-np.inf], "1 of 1 elements is off; the worst, [0], is -inf, but inf is expected"),
        ([np.inf], [3e38], "1 of 1 elements is off; the worst, [0], is 3e+38, but inf is expected"),
        (
            [3e38],
            [-3e38],
            "1 of 1 elements is off; the worst, [0], is -3e+38, but 3e+38 is expected, off by 6e+38",
        ),
    ],
    ids=["worst", "just_off", "got_nan", "wants_nan", "other_infinity", "wants_infinity", "far_off"],
)
def test_numbers_beyond_the_tolerance_are_told_by_the_worst(expected: Any, got: Any, message: str) -> None:
    (difference,) = told(expected, got, "FP32", NARROW)
    assert difference.startswith(message)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "FP64"])
def test_floats_of_any_size_are_compared_as_numbers(datatype: str) -> None:
    assert told([1.0, 2.0], [1.0, 2.125], datatype, Tolerance(absolute=0.2)) == []
    (difference,) = told([1.0, 2.0], [1.0, 2.125], datatype, Tolerance(absolute=0.1))
    assert difference.startswith("1 of 2 elements is off; the worst, [1], is 2.125, but 2.0 is expected")


def test_values_of_64_bits_that_differ_are_told_apart_however_large() -> None:
    (difference,) = told([2**63 - 1, 0], [2**63 - 2, 0], "INT64")
    assert difference == (
        "1 of 2 elements is off; the worst, [0], is 9223372036854775806, but 9223372036854775807 is "
        "expected, off by 1 with a tolerance of 0"
    )
    (difference,) = told([0], [2**64 - 1], "UINT64")
    assert "off by 1.84e+19" in difference
    (difference,) = told([-(2**63)], [2**63 - 1], "INT64", Tolerance(absolute=1e19))
    assert "off by 1.84e+19 with a tolerance of 1e+19" in difference


def test_integers_may_be_given_a_tolerance() -> None:
    assert told([200, 3], [201, 2], "UINT8", Tolerance(absolute=1)) == []
    (difference,) = told([200, 3], [202, 2], "UINT8", Tolerance(absolute=1))
    assert difference.endswith("[0], is 202, but 200 is expected, off by 2 with a tolerance of 1")


def test_a_mean_is_compared_instead_of_each_element() -> None:
    assert told([0.0, 0.0, 0.0, 0.0], [2.0, 0.0, 0.0, 0.0], "FP32", MEAN) == []
    assert told([0.0, 0.0], [2.0, 0.0], "FP32", MEAN) == [
        "is off by 1 in the mean of 2 elements, with a tolerance of 0.5"
    ]
    (difference,) = told([0.0, 0.0], [np.nan, 0.0], "FP32", MEAN)
    assert difference.startswith("1 of 2 elements is off; the worst, [0], is nan")


def test_texts_and_booleans_are_compared_exactly() -> None:
    assert told(["", "é"], ["", "é"], "BYTES") == []
    assert told(["a", "é"], ["a", "e"], "BYTES") == [
        "1 of 2 elements is off; the first, [1], is 'e', but 'é' is expected"
    ]
    assert told(["a"], [b"\xff"], "BYTES") == [
        r"1 of 1 elements is off; the first, [0], is '\\xff', but 'a' is expected"
    ]
    assert told([True, False], [True, False], "BOOL") == []
    assert told([True, False], [True, True], "BOOL") == [
        "1 of 2 elements is off; the first, [1], is True, but False is expected"
    ]


def test_a_long_text_is_cut_in_the_message() -> None:
    (difference,) = told(["a" * 1000], ["b" * 1000], "BYTES")
    assert len(difference) < 300


def test_another_shape_is_told_and_nothing_else() -> None:
    assert told([[1.0, 2.0]], [[1.0], [2.0]], shape=(1, 2)) == [
        "has the shape [2, 1], but [1, 2] is expected"
    ]
    assert told([1.0, 2.0], [[1.0, 2.0]]) == []
    assert told([1.0, 2.0, 3.0], [[1.0, 2.0]]) == ["has the shape [1, 2], but 3 elements are expected"]
    assert told([[1.0], [2.0]], [[1.0, 2.0]]) == ["has the shape [1, 2], but [2, 1] is expected"]


def test_finite_numbers_may_be_all_that_is_asked_for() -> None:
    output = GoldenOutput("y", is_finite=True)
    assert list(differences(output, tensor([1.0, -1e30]), batches=True)) == []
    assert list(differences(output, tensor([[1.0, np.nan], [-np.inf, 1.0]]), batches=True)) == [
        "2 of 4 elements are not finite; the first, [0, 1], is nan"
    ]
    assert list(differences(output, tensor([np.inf], "BF16"), batches=True)) == [
        "1 of 1 elements is not finite; the first, [0], is inf"
    ]


def best(wanted: tuple[int, ...], got: Any, datatype: str = "FP32", *, batches: bool = True) -> list[str]:
    return list(differences(GoldenOutput("y", best=wanted), tensor(got, datatype), batches=batches))


def test_the_largest_element_of_each_row_may_be_all_that_is_asked_for() -> None:
    assert best((1, 0), [[0.1, 0.9], [0.8, 0.2]]) == []
    assert best((1, 0), [[1, 9], [8, 2]], "UINT8") == []
    assert best((3,), [[[1.0, 2.0], [3.0, 4.0]]]) == []
    assert best((1,), [0.0, 1.0], batches=False) == []


@pytest.mark.parametrize(
    ("wanted", "got", "message"),
    [
        (
            (1, 1),
            [[0.1, 0.9], [0.75, 0.25]],
            "the largest element is another in 1 of 2 rows; in the first, row 1, it is 0 (0.75), "
            "but 1 (0.25) is expected",
        ),
        (
            (7,),
            [[0.5, 0.25]],
            "the largest element is another in 1 of 1 rows; in the first, row 0, it is 0 (0.5), but 7 is",
        ),
        ((0,), [[1.0, np.nan]], "row 0 has NaN among its elements: it has no largest one"),
        ((0,), [[1.0], [2.0]], "has 2 rows, but classes of 1 are expected"),
        ((0,), [[]], "has no elements, but the largest is asked for"),
    ],
    ids=["other", "out_of_range", "nan", "rows", "empty"],
)
def test_another_largest_element_is_told(wanted: tuple[int, ...], got: Any, message: str) -> None:
    (difference,) = best(wanted, got)
    assert difference.startswith(message)


def test_everything_that_is_asked_for_is_told() -> None:
    output = GoldenOutput("y", (1, 2), elements([[1.0, 2.0]]), EXACT, best=(1,), is_finite=True)
    assert len(list(differences(output, tensor([[3.0, np.inf]]), batches=True))) == 2
    assert len(list(differences(output, tensor([[np.inf, 2.0]]), batches=True))) == 3
