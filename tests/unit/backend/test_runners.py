"""The ways to run a session give the same arrays; bound buffers are reused and never show in an answer."""

import gc

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from headrace.backend.runners import BindingRunner, PlainRunner, ValueRunner, to_array
from headrace.core.tensor import DATATYPES
from support.adversity_models import identity
from support.scheduling import spec

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
}


def session_of(model):
    options = ort.SessionOptions()
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def bound(session, output, *, batches=True, **more) -> BindingRunner:
    outputs = {output.name: output}
    return BindingRunner(ort, session, ort.RunOptions(), "cpu", 0, outputs, batches=batches, **more)


def values(datatype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Any bits there are, NaN's and infinity's included."""
    kind = DATATYPES[datatype].numpy
    generator = np.random.default_rng(seed)
    if kind == np.bool_:
        return generator.integers(0, 2, shape).astype(kind)
    count = int(np.prod(shape)) * kind.itemsize
    return np.frombuffer(generator.bytes(count), kind).reshape(shape)


@pytest.mark.parametrize("dims", [(3,), (-1,), (2, 2)], ids=str)
@pytest.mark.parametrize("datatype", ELEMENT_TYPES)
def test_bound_buffers_give_the_same_bits_as_plain_arrays(datatype, dims):
    names = ["rows", *(f"d{index}" if size == -1 else size for index, size in enumerate(dims))]
    session = session_of(identity(ELEMENT_TYPES[datatype], names))
    binding = bound(session, spec("out", datatype, dims))
    plain = PlainRunner(session, ort.RunOptions())
    for rows in (1, 4, 2, 4):
        shape = (rows, *(5 if size == -1 else size for size in dims))
        array = values(datatype, shape, rows)
        (expected,) = plain.run({"in": array}, ["out"])
        (got,) = binding.run({"in": array}, ["out"])
        assert got.dtype == expected.dtype == DATATYPES[datatype].numpy
        assert got.shape == expected.shape == shape
        assert got.tobytes() == expected.tobytes() == array.tobytes()


@pytest.mark.parametrize("dims", [(4,), (-1,)], ids=["fixed", "variable"])
def test_an_answer_is_not_overwritten_by_later_batches(dims):
    session = session_of(identity(TensorProto.FLOAT, ["rows", 4 if dims == (4,) else "width"]))
    runner = bound(session, spec("out", "FP32", dims))
    answers = []
    for start in range(40):
        array = np.full((3, 4), start, np.float32)
        answers.append(runner.run({"in": array}, ["out"])[0])
        array.fill(-1)
    gc.collect()
    for start, answer in enumerate(answers):
        np.testing.assert_array_equal(answer, np.full((3, 4), start, np.float32))


def test_buffers_of_known_shapes_are_kept_and_used_again_and_bounded_in_number():
    session = session_of(identity(TensorProto.FLOAT, ["rows", 4]))
    runner = bound(session, spec("out", dims=(4,)))
    array = np.zeros((2, 4), np.float32)
    runner.run({"in": array}, ["out"])
    (first,) = runner._buffers.values()
    runner.run({"in": array}, ["out"])
    (second,) = runner._buffers.values()
    assert first is second
    for rows in range(1, 60):
        runner.run({"in": np.zeros((rows, 4), np.float32)}, ["out"])
    assert len(runner._buffers) == BindingRunner.KEPT_SHAPES
    runner.run({"in": array}, ["out"])
    assert ("out", (2, 4)) in runner._buffers


def test_variable_dimensions_have_no_buffers_of_their_own():
    session = session_of(identity(TensorProto.FLOAT, ["rows", "width"]))
    runner = bound(session, spec("out", dims=(-1,)))
    for width in (1, 7, 3):
        array = np.arange(2 * width, dtype=np.float32).reshape(2, width)
        np.testing.assert_array_equal(runner.run({"in": array}, ["out"])[0], array)
    assert not runner._buffers


def test_a_model_that_does_not_batch_is_bound_by_its_whole_shape():
    session = session_of(identity(TensorProto.INT64, [2, 3]))
    runner = bound(session, spec("out", "INT64", (2, 3)), batches=False)
    array = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(runner.run({"in": array}, ["out"])[0], array)


def test_only_the_outputs_asked_for_are_computed_in_the_order_asked():
    values_ = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in "xab"]
    nodes = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("Abs", ["x"], ["b"])]
    graph = helper.make_graph(nodes, "graph", values_[:1], values_[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = session_of(model)
    specs = {name: spec(name, dims=(2,)) for name in "ab"}
    runner = BindingRunner(ort, session, ort.RunOptions(), "cpu", 0, specs, batches=True)
    array = np.array([[1, -2]], np.float32)
    b, a = runner.run({"x": array}, ["b", "a"])
    np.testing.assert_array_equal(a, -array)
    np.testing.assert_array_equal(b, abs(array))
    (only,) = runner.run({"x": array}, ["a"])
    np.testing.assert_array_equal(only, -array)


def test_inputs_may_be_views_of_other_memory():
    session = session_of(identity(TensorProto.FLOAT, ["rows", 4]))
    runner = bound(session, spec("out", dims=(4,)))
    whole = np.arange(32, dtype=np.float32).reshape(4, 8)
    for view in (whole[:, ::2], whole[::-1, :4], np.frombuffer(whole.tobytes(), np.float32).reshape(8, 4)):
        np.testing.assert_array_equal(runner.run({"in": view}, ["out"])[0], view)


@pytest.mark.parametrize("runner_of", ["binding", "value"])
@pytest.mark.parametrize("shape", [(2, 3), (0, 3)], ids=str)
def test_bfloat16_travels_as_bits(runner_of, shape):
    session = session_of(identity(TensorProto.BFLOAT16, ["rows", 3]))
    inputs = frozenset({"in"})
    if runner_of == "binding":
        runner = bound(session, spec("out", "BF16", (3,)), bfloat16_inputs=inputs)
    else:
        runner = ValueRunner(ort, session, ort.RunOptions(), inputs)
    array = np.arange(int(np.prod(shape)), dtype=np.uint16).reshape(shape) + np.uint16(0x3F80)
    (got,) = runner.run({"in": array}, ["out"])
    assert got.dtype == np.uint16
    np.testing.assert_array_equal(got, array)


def test_no_rows_are_an_answer_without_rows():
    session = session_of(identity(TensorProto.FLOAT, ["rows", 4]))
    (got,) = bound(session, spec("out", dims=(4,))).run({"in": np.zeros((0, 4), np.float32)}, ["out"])
    assert got.shape == (0, 4)


def test_a_value_read_to_the_host_is_a_copy():
    value = ort.OrtValue.ortvalue_from_numpy(np.arange(4, dtype=np.float32))
    array = to_array(value)
    array += 1
    np.testing.assert_array_equal(to_array(value), np.arange(4, dtype=np.float32))
