"""Tensors as JSON has them: what becomes which bytes, what is refused, and how outputs are written."""

import json
import struct
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.core import strings
from headrace.core.tensor import DATATYPES, DataType, Shape, Tensor
from headrace.errors import HeadraceError, Internal, InvalidArgument
from headrace.transport.http.json_data import from_json, to_json

INTEGERS = {
    "UINT8": (0, 2**8 - 1),
    "UINT16": (0, 2**16 - 1),
    "UINT32": (0, 2**32 - 1),
    "UINT64": (0, 2**64 - 1),
    "INT8": (-(2**7), 2**7 - 1),
    "INT16": (-(2**15), 2**15 - 1),
    "INT32": (-(2**31), 2**31 - 1),
    "INT64": (-(2**63), 2**63 - 1),
}
NUMBERS = [*INTEGERS, "FP32", "FP64"]
WITHOUT_JSON = ("FP16", "BF16")


def parsed(text: str, datatype: str, shape: Shape) -> bytes:
    """The bytes of input `x` whose JSON is `text`."""
    return from_json(orjson.loads(text), DATATYPES[datatype], shape, "x")


def refusal(data: Any, datatype: str, shape: Shape) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        from_json(data, DATATYPES[datatype], shape, "x")
    return error.value


def written(tensor: Tensor) -> Any:
    """What a caller reads of `tensor`'s JSON."""
    return json.loads(orjson.dumps(to_json(tensor), option=orjson.OPT_SERIALIZE_NUMPY))


def output(datatype: str, data: bytes, count: int) -> Tensor:
    return Tensor("y", DATATYPES[datatype], (count,), memoryview(data))


# Inputs


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_to_the_ends_of_their_range(datatype: str) -> None:
    low, high = INTEGERS[datatype]

    data = from_json([low, 0, 1, high], DATATYPES[datatype], (4,), "x")

    assert data == np.array([low, 0, 1, high], DATATYPES[datatype].numpy).tobytes()


@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize("beyond", [-1, 1])
def test_integers_beyond_their_range(datatype: str, beyond: int) -> None:
    low, high = INTEGERS[datatype]

    error = refusal([0, low - 1 if beyond < 0 else high + 1], datatype, (2,))

    assert isinstance(error, InvalidArgument)
    assert str(error).startswith(f"unable to parse 'data' of input 'x' as {datatype}: ")


@pytest.mark.parametrize(("datatype", "text"), [("INT64", "9223372036854775808"), ("UINT64", "-1")])
def test_wide_integers_beyond_their_range_as_the_parser_gives_them(datatype: str, text: str) -> None:
    assert isinstance(refusal(orjson.loads(f"[{text}]"), datatype, (1,)), InvalidArgument)


@pytest.mark.parametrize("datatype", ["UINT64", "INT64"])
def test_integers_that_no_64_bits_hold(datatype: str) -> None:
    error = refusal(orjson.loads("[18446744073709551616]"), datatype, (1,))

    assert str(error) == (
        f"unable to parse 'data' of input 'x' as {datatype}: required argument is not an integer"
    )


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[0.1, -2.5, 1e-3, 1E3]", [0.1, -2.5, 0.001, 1000.0]),
        ("[1, -2, 0]", [1.0, -2.0, 0.0]),
        ("[-0.0, 1e-45, 1e-46, 3.4028234e38]", [-0.0, 1e-45, 0.0, 3.4028234e38]),
        ("[16777217, 18446744073709551615]", [16777216.0, 2.0**64]),
    ],
)
def test_fp32_is_the_nearest_there_is(text: str, values: list[float]) -> None:
    assert parsed(text, "FP32", (len(values),)) == np.array(values, "<f4").tobytes()


def test_fp64_keeps_every_bit() -> None:
    values = [0.1, -0.0, 5e-324, 1.7976931348623157e308, 2.0**53 + 2]

    assert from_json(values, DataType.FP64, (5,), "x") == np.array(values, "<f8").tobytes()


@pytest.mark.parametrize("value", [1e39, -1e39, 3.4028236e38])
def test_fp32_that_is_too_large(value: float) -> None:
    error = refusal([1.0, value], "FP32", (2,))

    assert isinstance(error, InvalidArgument)
    assert str(error) == "unable to parse 'data' of input 'x' as FP32: float too large to pack with f format"


def test_booleans() -> None:
    assert from_json([True, False, True], DataType.BOOL, (3,), "x") == b"\x01\x00\x01"


def test_texts_are_their_utf_8_with_lengths_before_them() -> None:
    texts = ["", "ab", "grün", "漢", "🙂", "\0", "two\nlines"]

    data = from_json(texts, DataType.BYTES, (7,), "x")

    assert data == b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in texts)


@pytest.mark.parametrize("datatype", [*NUMBERS, "BOOL", "BYTES"])
def test_nested_data_is_the_same_as_flat_data(datatype: str) -> None:
    flat: list[Any] = {"BOOL": [True, False] * 3, "BYTES": list("abcdef")}.get(datatype, [1, 2, 3, 4, 5, 6])
    nested = [[flat[0:1], flat[1:2], flat[2:3]], [flat[3:4], flat[4:5], flat[5:6]]]
    shape = (2, 3, 1)

    assert from_json(nested, DATATYPES[datatype], shape, "x") == from_json(
        flat, DATATYPES[datatype], shape, "x"
    )


@pytest.mark.parametrize("datatype", [*NUMBERS, "BOOL", "BYTES"])
@pytest.mark.parametrize(
    ("data", "shape"), [([], (0,)), ([[], []], (2, 0)), ([], (0, 3)), ([[[]]], (1, 1, 0))]
)
def test_no_elements(datatype: str, data: Any, shape: Shape) -> None:
    assert from_json(data, DATATYPES[datatype], shape, "x") == b""


@pytest.mark.parametrize("data", [7, [7], [[7]]])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_single_element(data: Any, shape: Shape) -> None:
    assert from_json(data, DataType.INT16, shape, "x") == b"\x07\x00"


@pytest.mark.parametrize(
    ("data", "shape", "text"),
    [
        ([1, 2], (3,), "it has 2 elements, but shape [3] means 3"),
        ([1, 2, 3, 4], (3,), "it has 4 elements, but shape [3] means 3"),
        ([[1, 2], [3]], (2, 2), "it has 3 elements, but shape [2, 2] means 4"),
        ([], (1,), "it has 0 elements, but shape [1] means 1"),
        ([], (), "it has 0 elements, but shape [] means 1"),
        ([1], (0,), "it has 1 elements, but shape [0] means 0"),
        (1, (2,), "it has 1 elements, but shape [2] means 2"),
        ([1], (2**31 - 1,), "it has 1 elements, but shape [2147483647] means 2147483647"),
    ],
)
@pytest.mark.parametrize("datatype", ["INT32", "FP32", "BOOL", "BYTES"])
def test_a_wrong_number_of_elements(datatype: str, data: Any, shape: Shape, text: str) -> None:
    error = refusal(data, datatype, shape)

    assert isinstance(error, InvalidArgument)
    assert str(error) == f"unable to parse 'data' of input 'x': {text}"


@pytest.mark.parametrize("datatype", INTEGERS)
@pytest.mark.parametrize("value", [1.0, 0.5, "1", None, {}, {"a": 1}], ids=repr)
def test_what_is_no_integer(datatype: str, value: Any) -> None:
    error = refusal([1, value], datatype, (2,))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        f"unable to parse 'data' of input 'x' as {datatype}: required argument is not an integer"
    )


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
@pytest.mark.parametrize("value", ["1.0", "NaN", None, {}], ids=repr)
def test_what_is_no_number(datatype: str, value: Any) -> None:
    error = refusal([1.0, value], datatype, (2,))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        f"unable to parse 'data' of input 'x' as {datatype}: required argument is not a float"
    )


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize("data", [[True, False], [1, True]], ids=repr)
def test_booleans_are_no_numbers(datatype: str, data: list[Any]) -> None:
    assert isinstance(refusal(data, datatype, (2,)), InvalidArgument)


@pytest.mark.parametrize("value", [0, 1, 1.0, "true", None, {}], ids=repr)
def test_what_is_no_boolean(value: Any) -> None:
    error = refusal([True, value], "BOOL", (2,))

    assert str(error) == "unable to parse 'data' of input 'x' as BOOL: expected true or false"


@pytest.mark.parametrize("value", [0, 1.0, True, None, {}], ids=repr)
def test_what_is_no_text(value: Any) -> None:
    error = refusal(["a", value], "BYTES", (2,))

    assert str(error) == "unable to parse 'data' of input 'x' as BYTES: expected strings"


@pytest.mark.parametrize("datatype", [*NUMBERS, "BOOL", "BYTES"])
@pytest.mark.parametrize("data", [None, {}, {"0": 1}], ids=repr)
def test_what_is_neither_list_nor_element(datatype: str, data: Any) -> None:
    assert isinstance(refusal(data, datatype, (1,)), InvalidArgument)


@pytest.mark.parametrize("data", [[[1, 2], 3], [3, [1, 2]], [[1], "a"], [[1], None], [[[2]], [1]]], ids=repr)
@pytest.mark.parametrize("datatype", ["INT8", "FP32", "BOOL", "BYTES"])
def test_lists_mixed_with_values(datatype: str, data: Any) -> None:
    error = refusal(data, datatype, (2,))

    assert isinstance(error, InvalidArgument)
    assert str(error) == "unable to parse 'data' of input 'x': lists and values are mixed"


@pytest.mark.parametrize("data", [[1, [2, 3]], [[1, [2]], [3]]], ids=repr)
def test_lists_behind_values(data: Any) -> None:
    assert isinstance(refusal(data, "INT8", (3,)), InvalidArgument)


def test_nesting_as_deep_as_the_parser_takes() -> None:
    depth = 1000
    data = orjson.loads("[" * depth + "5" + "]" * depth)

    assert from_json(data, DataType.UINT8, (1,), "x") == b"\x05"


@pytest.mark.parametrize("datatype", WITHOUT_JSON)
@pytest.mark.parametrize("data", [[1.0], [], None, "a"], ids=repr)
def test_half_precision_has_no_json(datatype: str, data: Any) -> None:
    error = refusal(data, datatype, (1,))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        f"sending {datatype} data via JSON is not supported. Please use the binary data format"
    )


# Outputs


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_are_written_in_full(datatype: str) -> None:
    values = [INTEGERS[datatype][0], 0, INTEGERS[datatype][1]]

    assert written(output(datatype, np.array(values, DATATYPES[datatype].numpy).tobytes(), 3)) == values


def test_booleans_are_written_as_such_whatever_their_byte() -> None:
    assert written(output("BOOL", bytes([0, 1, 2, 255]), 4)) == [False, True, True, True]


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_floats_come_back_bit_for_bit(datatype: str) -> None:
    dtype = DATATYPES[datatype].numpy
    random = np.random.default_rng(3).bytes(dtype.itemsize * 500)
    array = np.frombuffer(random, dtype)
    array = array[np.isfinite(array)]

    read = written(output(datatype, array.tobytes(), len(array)))

    assert np.array(read, dtype).tobytes() == array.tobytes()


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_is_no_finite_number_is_null(datatype: str) -> None:
    array = np.array([np.nan, 1.5, np.inf, -np.inf, -0.0], DATATYPES[datatype].numpy)

    assert written(output(datatype, array.tobytes(), 5)) == [None, 1.5, None, None, -0.0]


def test_texts_are_written_as_strings() -> None:
    texts = ["", "ü", "🙂", 'say "no"\n', "\0"]

    assert written(output("BYTES", strings.pack([each.encode() for each in texts]), 5)) == texts


def test_a_text_that_is_not_utf_8_is_for_binary_data() -> None:
    with pytest.raises(Internal) as error:
        to_json(output("BYTES", strings.pack([b"fine", b"\xff\xfe"]), 2))

    assert str(error.value) == "output 'y' has an element that is not UTF-8: ask for it as binary data"


@pytest.mark.parametrize("datatype", [*NUMBERS, "BOOL", "BYTES"])
def test_an_output_without_elements(datatype: str) -> None:
    assert written(output(datatype, b"", 0)) == []


@pytest.mark.parametrize("datatype", WITHOUT_JSON)
def test_half_precision_is_not_written(datatype: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        to_json(output(datatype, bytes(2), 1))

    assert str(error.value) == (
        f"sending {datatype} data via JSON is not supported. Please use the binary data format"
    )
