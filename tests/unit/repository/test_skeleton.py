"""A graph without its weights says what the whole graph says."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_graphs import graph_model, value

from headrace.core.varint import varint
from headrace.repository.graph.skeleton import LONG_FILE_BYTES, LONG_TENSOR_BYTES, Skeleton
from headrace.repository.graph.walk import PlacedTensor, walk

LONG = LONG_TENSOR_BYTES // 4 + 1


def numbers(name: str, count: int) -> TensorProto:
    return numpy_helper.from_array(np.arange(count, dtype=np.float32), name)


def everywhere() -> ModelProto:
    """Long and short tensors wherever a model can hold some."""
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["c"], value=numbers("deep", 2 * LONG))],
        "inner",
        [],
        [value("c", None)],
        [numbers("inner", 3 * LONG), numbers("inner short", 3)],
    )
    model = graph_model([value("x", ["batch", 4])], [value("y", ["batch", 4])])
    graph = model.graph
    graph.initializer.extend([numbers("long", LONG_FILE_BYTES // 4), numbers("short", 5)])
    graph.initializer.append(helper.make_tensor("typed", TensorProto.FLOAT, [LONG], [1.0] * LONG))
    graph.node.append(helper.make_node("If", ["x"], ["z"], then_branch=inner, else_branch=inner))
    graph.node.append(helper.make_node("Scan", ["x"], ["w"], tensors=[numbers("many", LONG)] * 2))
    graph.sparse_initializer.add().values.CopyFrom(numbers("sparse", LONG))
    function = model.functions.add(name="f", domain="d", output=["c"])
    function.node.append(helper.make_node("Constant", [], ["c"], value=numbers("in a function", LONG)))
    graph.doc_string = "d" * 2 * LONG_TENSOR_BYTES
    return model


WHOLE = everywhere()
FILE = WHOLE.SerializeToString()


def tensors(model: ModelProto) -> list[TensorProto]:
    return [found.tensor for found in walk(model) if isinstance(found, PlacedTensor)]


def assert_same(skeleton: Skeleton, whole: ModelProto) -> None:
    """The sizes of all tensors agree, and but for them the messages are equal."""
    assert [skeleton.raw_size(each) for each in tensors(skeleton.model)] == [
        len(each.raw_data) for each in tensors(whole)
    ]
    ours, theirs = ModelProto(), ModelProto()
    ours.CopyFrom(skeleton.model)
    theirs.CopyFrom(whole)
    for tensor in (*tensors(ours), *tensors(theirs)):
        if tensor.HasField("raw_data"):
            tensor.raw_data = b""
    assert ours == theirs


def test_sizes_stay_and_weights_go() -> None:
    skeleton = Skeleton.parse(FILE)
    assert_same(skeleton, WHOLE)
    # What stays is the typed tensor, the text and what is short.
    assert skeleton.model.ByteSize() < 4 * LONG + 2 * LONG_TENSOR_BYTES + 2_000 < len(FILE) / 4


def test_short_files_are_parsed_whole() -> None:
    model = graph_model([value("x", ["batch", 4])], [value("y", ["batch", 4])])
    model.graph.initializer.append(numbers("long for a tensor", 2 * LONG))
    assert Skeleton.parse(model.SerializeToString()).model == model


def test_a_tensor_cannot_pretend_to_be_longer() -> None:
    """What stood for a tensor once is data like any other the next time."""
    token = next(each for each in tensors(Skeleton.parse(FILE).model) if each.name == "long").raw_data
    model = everywhere()
    model.graph.initializer.add(name="forged").raw_data = token
    skeleton = Skeleton.parse(model.SerializeToString())
    forged = next(each for each in tensors(skeleton.model) if each.name == "forged")
    assert skeleton.raw_size(forged) == len(token)


def test_a_tensor_written_twice_counts_as_protobuf_says() -> None:
    """The last one of a field's values is the one that holds, and parts of a message are put together."""
    extra = ModelProto()
    extra.graph.initializer.add(name="long").raw_data = bytes(LONG_TENSOR_BYTES)
    data = FILE + extra.SerializeToString()
    twice = TensorProto(raw_data=bytes(3 * LONG_TENSOR_BYTES)).SerializeToString() * 2
    twice += TensorProto(raw_data=b"last").SerializeToString()
    graph = b"\x2a" + varint(len(twice)) + twice
    data += b"\x3a" + varint(len(graph)) + graph
    assert_same(Skeleton.parse(data), ModelProto.FromString(data))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_files_are_never_understood_in_another_way(data: st.DataObject) -> None:
    """Whatever protobuf makes of the whole, it makes of the skeleton."""
    damaged = bytearray(FILE)
    heads = [FILE.index(each.name.encode()) for each in tensors(WHOLE)]
    for _ in range(data.draw(st.integers(1, 4))):
        near = data.draw(st.sampled_from([0, len(FILE) - 16, *heads]))
        at = min(max(near + data.draw(st.integers(-24, 24)), 0), len(FILE) - 1)
        damaged[at] = data.draw(st.integers(0, 255))
    file = bytes(damaged[: data.draw(st.sampled_from([len(FILE), len(FILE) - 1, len(FILE) // 2]))])
    try:
        whole = ModelProto.FromString(file)
    except DecodeError:
        return
    try:
        sizes = [len(each.raw_data) for each in tensors(whole)]
    except ValueError:  # a name that is not text
        return
    skeleton = Skeleton.parse(file)
    assert [skeleton.raw_size(each) for each in tensors(skeleton.model)] == sizes


@pytest.mark.parametrize(
    "tail",
    [b"\x0b", b"\x3a\xff\xff\xff\x7f", b"\x3a", b"\xff" * 11, b"\x0d\0"],
    ids=["a group", "a length beyond the end", "no length", "an endless number", "a fixed number cut short"],
)
def test_what_protobuf_refuses_is_refused(tail: bytes) -> None:
    with pytest.raises(DecodeError):
        Skeleton.parse(FILE + tail)
