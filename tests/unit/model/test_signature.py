"""The signature: requests become entries, or an error that names what is wrong."""

import re
import struct

import numpy as np
import pytest

from headrace.core.tensor import DATATYPES, Tensor
from headrace.errors import InvalidArgument
from headrace.model.signature import Signature, queue_policies
from headrace.repository.config import DynamicBatching, QueuePolicy
from support.scheduling import RecordedReply, config, outputs, request, spec, tensor

X = np.ones((2, 3), np.float32)


def admit(model, **changes):
    asked = request(X, **changes)
    return Signature(model, queue_policies(model, 7)).admit(asked, RecordedReply())


def refusal(model, **changes) -> str:
    with pytest.raises(InvalidArgument) as raised:
        admit(model, **changes)
    return str(raised.value)


def packed(*elements: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


TWO_INPUTS = config(inputs=(spec("x", dims=(3,)), spec("ids", "INT64", (1,), is_optional=True)))
TEXTS = config(inputs=(spec("x", "BYTES", (-1,)),))


def test_an_entry_has_the_inputs_in_the_models_order_and_the_rows_of_the_batch():
    ids = tensor("ids", np.array([[1], [2]]))
    entry = admit(TWO_INPUTS, inputs=[ids, tensor("x", X)])
    assert entry.rows == 2
    assert [bytes(data) for data in entry.data] == [X.tobytes(), ids.data]
    assert entry.shapes == ((3,), (1,))
    assert entry.outputs == ("y",)


def test_an_optional_input_may_be_missing():
    entry = admit(TWO_INPUTS)
    assert entry.data[1] is None
    assert entry.shapes[1] is None


def test_without_batching_the_whole_shape_is_the_models():
    model = config(max_batch_size=0, dynamic_batching=None, inputs=(spec("x", dims=(2, -1)),))
    entry = admit(model)
    assert (entry.rows, entry.shapes) == (1, ((2, 3),))


def test_a_reshape_is_applied():
    model = config(inputs=(spec("x", dims=(3,)).__class__("x", DATATYPES["FP32"], (3,), (3, 1, 1)),))
    assert admit(model).shapes == ((3, 1, 1),)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([], "expected 2 inputs but got 0 inputs for model 'm'.*missing required input.*'x'"),
        ([tensor("y", X)], "unexpected inference input 'y' for model 'm': it has 'x','ids'"),
        ([tensor("x", X), tensor("x", X)], "input 'x' for model 'm' is given twice"),
        ([tensor("x", X.astype(np.float64))], "data-type is 'FP64', but model 'm' expects 'FP32'"),
        ([tensor("x", X[:, :2])], r"Expected \[-1,3\], got \[2,2\].*first dimension is the batch"),
        ([tensor("x", X[0])], r"Expected \[-1,3\], got \[3\]"),
        ([tensor("x", np.float32(1))], r"Expected \[-1,3\], got \[\]"),
        ([tensor("x", X), tensor("ids", np.array([[1]]))], "it has 1 rows, others 2"),
        ([tensor("x", X[:0])], "batch-size must be >= 1 for 'm', got 0"),
        ([tensor("x", np.ones((9, 3), np.float32))], "batch-size must be <= 8 for 'm', got 9"),
        ([Tensor("x", DATATYPES["FP32"], (2, 3), b"1234")], "Expected 24, got 4"),
        ([Tensor("x", DATATYPES["FP32"], (-1, 3), b"")], "batch-size must be >= 1"),
        ([Tensor("x", DATATYPES["FP32"], (2, -3), b"")], r"got \[2,-3\]"),
    ],
)
def test_what_contradicts_the_model_is_refused_by_name(inputs, words):
    message = refusal(TWO_INPUTS, inputs=inputs)
    assert re.search(words, message, re.DOTALL), message


def test_sizes_beyond_any_memory_are_refused_without_touching_it():
    huge = Tensor("x", DATATYPES["FP32"], (2, 2**62, 4), b"")
    assert "Expected 147573952589676412928, got 0" in refusal(
        config(inputs=(spec("x", dims=(-1, -1)),)), inputs=[huge]
    )


@pytest.mark.parametrize(
    ("data", "shape", "words"),
    [
        (packed(b"a"), (1, 2), "holds 1 elements, but shape"),
        (packed(b"a", b"b")[:-1], (1, 2), "incorrect bytes of BYTES input 'x'"),
        (b"\xff\xff\xff\xff", (1, 1), "incorrect bytes of BYTES input 'x'"),
        (packed(b"\xff"), (1, 1), "has an element that is not UTF-8"),
    ],
)
def test_strings_are_checked_element_by_element(data, shape, words):
    assert words in refusal(TEXTS, inputs=[Tensor("x", DATATYPES["BYTES"], shape, data)])


def test_strings_are_decoded_once():
    data = packed("h\u00e9".encode(), b"", b"a\0b")
    entry = admit(TEXTS, inputs=[Tensor("x", DATATYPES["BYTES"], (1, 3), data)])
    assert entry.data == (["h\u00e9", "", "a\0b"],)


def test_outputs_are_those_asked_for_in_that_order():
    model = config(outputs=(spec("y"), spec("z"), spec("t", "BYTES")))
    assert admit(model).outputs == ("y", "z", "t")
    assert admit(model, outputs=outputs("z", "y")).outputs == ("z", "y")
    assert "unexpected inference output 'q'" in refusal(model, outputs=outputs("q"))
    assert "requested twice" in refusal(model, outputs=outputs("y", "y"))
    ranked = outputs("t")
    ranked[0].class_count = 3
    assert "has no classes to rank" in refusal(model, outputs=ranked)


def test_requests_share_a_line_where_shapes_and_outputs_are_equal():
    model = config(outputs=(spec("y"), spec("z")))
    lines = [
        admit(model, **changes).line
        for changes in (
            {},
            {"inputs": [tensor("x", X[:1])]},
            {"inputs": [tensor("x", X[:, :2])]},
            {"outputs": outputs("z")},
            {"outputs": outputs("y", "z")},
        )
    ]
    assert lines[0] == lines[1] == lines[4]
    assert len({lines[0], lines[2], lines[3]}) == 3


def test_priorities_choose_a_level_and_unknown_ones_the_default():
    levels = {level: QueuePolicy(max_queue_size=level) for level in (1, 2, 3)}
    batching = DynamicBatching(priority_levels=3, default_priority_level=2, priority_queue_policies=levels)
    model = config(dynamic_batching=batching)
    asked = {None: 1, 0: 1, 1: 0, 2: 1, 3: 2, 4: 1, 2**63: 1}
    for priority, level in asked.items():
        parameters = {} if priority is None else {"priority": priority}
        assert admit(model, parameters=parameters).level == level


@pytest.mark.parametrize(
    ("policy", "wanted_us", "expected_us"),
    [
        (QueuePolicy(), 5, None),
        (QueuePolicy(default_timeout_us=100), 5, 100),
        (QueuePolicy(default_timeout_us=100, allow_timeout_override=True), 5, 5),
        (QueuePolicy(default_timeout_us=100, allow_timeout_override=True), 500, 100),
        (QueuePolicy(default_timeout_us=100, allow_timeout_override=True), 0, 100),
        (QueuePolicy(allow_timeout_override=True), 5, 5),
        (QueuePolicy(allow_timeout_override=True), -5, None),
    ],
)
def test_a_request_may_only_lower_its_time_in_the_queue(policy, wanted_us, expected_us):
    model = config(dynamic_batching=DynamicBatching(default_queue_policy=policy))
    entry = admit(model, parameters={"timeout": wanted_us}, arrived_ns=1000)
    assert entry.expires_ns == (None if expected_us is None else 1000 + expected_us * 1000)
