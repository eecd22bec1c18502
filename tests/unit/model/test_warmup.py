"""Warm-up: what each instance executes before its model is ready."""

import struct

import numpy as np
import pytest

from headrace.errors import ExecutionFailed, LoadError
from headrace.model.warmup import warm_up
from headrace.repository.config import Warmup, WarmupData, WarmupInput
from support.scheduling import config, spec

ZERO, RANDOM, FILE = WarmupData.ZERO, WarmupData.RANDOM, WarmupData.FILE


class Recording:
    """A backend that remembers what it was given, and refuses it where it is told to."""

    def __init__(self, *, fails=False):
        self.calls = []
        self._fails = fails

    def execute(self, inputs, outputs):
        self.calls.append((inputs, outputs))
        if self._fails:
            raise ExecutionFailed("model 'm' failed: no such row")
        return []


def warmed(model, files=None):
    backend = Recording()
    assert warm_up(backend, model, files or {}) == []
    return [inputs for inputs, _ in backend.calls]


def of(*inputs, batch_size=1, count=1):
    return (Warmup("w", batch_size, count, inputs),)


@pytest.mark.parametrize(
    ("changes", "shapes"),
    [
        ({"max_batch_size": 8}, [(1, 1), (8, 1)]),
        ({"max_batch_size": 1}, [(1, 1)]),
        ({"max_batch_size": 8, "fixed_batch": 4}, [(4, 1)]),
        ({"max_batch_size": 0, "inputs": (spec("x", dims=(2, -1)),)}, [(2, 1)]),
    ],
)
def test_without_configuration_zeros_run_at_the_smallest_and_the_largest_batch(changes, shapes):
    inputs = warmed(config(**changes))
    assert [each["x"].shape for each in inputs] == shapes
    assert all(not each["x"].any() for each in inputs)


def test_optional_inputs_are_left_out_and_strings_are_empty():
    model = config(
        max_batch_size=1, inputs=(spec("x", "BYTES", (2,)), spec("o", dims=(1,), is_optional=True))
    )
    (inputs,) = warmed(model)
    assert inputs.keys() == {"x"}
    assert inputs["x"].tolist() == [["", ""]]


def test_zeros_that_do_not_suit_the_graph_are_a_remark_only():
    (remark,) = warm_up(Recording(fails=True), config(), {})
    assert "warm-up with zeros failed" in remark
    assert "no such row" in remark
    assert "model_warmup" in remark


def test_a_configured_warm_up_that_fails_is_a_load_error_with_its_name():
    model = config(warmups=of(WarmupInput("x", (3,), ZERO)))
    with pytest.raises(LoadError, match="warm-up 'w' failed: model 'm' failed: no such row"):
        warm_up(Recording(fails=True), model, {})


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "INT8", "INT64", "UINT16", "BOOL", "BF16"])
def test_random_data_has_the_inputs_datatype_and_is_the_same_each_time(datatype):
    model = config(
        inputs=(spec("x", datatype, (5,)),),
        warmups=of(WarmupInput("x", (5,), RANDOM), batch_size=3, count=2),
    )
    first, second = warmed(model)
    assert first["x"].shape == (3, 5)
    assert first["x"].dtype == spec("x", datatype).datatype.numpy
    assert first["x"].any()
    assert first["x"].tobytes() == second["x"].tobytes()


def test_a_file_holds_the_tensor_or_one_row_of_it():
    rows = np.arange(6, dtype=np.int64).reshape(2, 3)
    model = config(
        inputs=(spec("x", "INT64", (3,)),),
        warmups=of(WarmupInput("x", (3,), FILE, "data"), batch_size=2),
    )
    (whole,) = warmed(model, {"data": rows.tobytes()})
    np.testing.assert_array_equal(whole["x"], rows)
    (repeated,) = warmed(model, {"data": rows[0].tobytes()})
    np.testing.assert_array_equal(repeated["x"], [rows[0], rows[0]])


def test_a_file_of_strings_is_read_as_the_protocol_writes_them():
    data = b"".join(struct.pack("<I", len(text)) + text for text in (b"one", b""))
    model = config(inputs=(spec("x", "BYTES", (2,)),), warmups=of(WarmupInput("x", (2,), FILE, "data")))
    (inputs,) = warmed(model, {"data": data})
    assert inputs["x"].tolist() == [["one", ""]]


@pytest.mark.parametrize("data", [b"", b"1", b"12345", np.zeros(4, np.float32).tobytes()])
def test_a_file_of_another_size_is_a_load_error(data):
    model = config(inputs=(spec("x", dims=(3,)),), warmups=of(WarmupInput("x", (3,), FILE, "data")))
    with pytest.raises(LoadError):
        warm_up(Recording(), model, {"data": data})


@pytest.mark.parametrize("data", [b"\1\0\0", b"\2\0\0\0a", b"\1\0\0\0\xff"])
def test_a_file_of_strings_that_is_broken_is_a_load_error(data):
    model = config(inputs=(spec("x", "BYTES", (1,)),), warmups=of(WarmupInput("x", (1,), FILE, "data")))
    with pytest.raises(LoadError):
        warm_up(Recording(), model, {"data": data})
