"""Golden requests of any content: read as what they say, or refused with a reason."""

import json
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.tensor import DATATYPES, TensorSpec
from headrace.repository.config import ModelConfig
from headrace.repository.golden.elements import read_elements, to_tensor
from headrace.repository.golden.files import GoldenFiles
from headrace.repository.golden.reader import read_requests
from headrace.repository.problems import InvalidModel


def spec(name: str, datatype: str, dims: tuple[int, ...]) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], dims, dims, labels=("one", "two"))


CONFIGS = [
    ModelConfig("m", 4, (spec("x", "FP32", (2,)),), (spec("y", "FP32", (-1,)), spec("z", "BYTES", (1,)))),
    ModelConfig("m", 0, (spec("x", "INT8", (-1,)),), (spec("y", "BF16", ()), spec("z", "BOOL", (2, 2)))),
]

NAMES = [
    "name",
    "datatype",
    "shape",
    "data",
    "inputs",
    "outputs",
    "argmax",
    "finite",
    "absolute_tolerance",
    "id",
]
NUMBERS = st.integers(-5, 5) | st.integers() | st.floats()
LEAVES = (
    st.none()
    | st.booleans()
    | NUMBERS
    | st.sampled_from(["x", "y", "z", "FP32", "INT8", "NaN", "one", "\ud800"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=12,
)
TENSORS = st.fixed_dictionaries(
    {"name": st.sampled_from("xyz")},
    optional={
        "datatype": st.sampled_from(["FP32", "INT8", "BF16", "BYTES"]) | LEAVES,
        "shape": st.lists(st.integers(0, 4), max_size=3) | VALUES,
        "data": st.lists(NUMBERS, max_size=8) | VALUES,
        "argmax": st.lists(NUMBERS, max_size=4) | VALUES,
        "finite": st.booleans() | VALUES,
        "absolute_tolerance": NUMBERS | VALUES,
        "mean_absolute_tolerance": NUMBERS | VALUES,
    },
)
DOCUMENTS = st.fixed_dictionaries(
    {"inputs": st.lists(TENSORS, max_size=2) | VALUES, "outputs": st.lists(TENSORS, max_size=3) | VALUES},
    optional={"absolute_tolerance": VALUES, "description": VALUES, "desc": VALUES},
)


def read(config: ModelConfig, data: bytes) -> None:
    """Reads `data`; nothing but InvalidModel, with a line for each problem, may come of it."""
    try:
        requests = read_requests(GoldenFiles("m/1", {"golden/a.json": data}), config)
    except InvalidModel as error:
        assert error.problems
        assert all(problem.file == "m/1/golden/a.json" and problem.message for problem in error.problems)
        assert str(error).isprintable() or "\n" in str(error)
    else:
        (request,) = requests
        assert {tensor.name for tensor in request.inputs} == {"x"}
        assert request.outputs


@given(
    st.sampled_from(CONFIGS),
    st.binary(max_size=40) | st.text(alphabet='{}[]":,0eN\\u', max_size=30).map(str.encode),
)
def test_bytes_that_are_no_document_are_refused(config: ModelConfig, data: bytes) -> None:
    read(config, data)


@given(st.sampled_from(CONFIGS), DOCUMENTS)
def test_any_document_is_read_or_refused(config: ModelConfig, document: Any) -> None:
    read(config, json.dumps(document).encode())


@given(st.sampled_from(["FP16", "FP32", "FP64", "BF16", "INT64", "UINT8", "BOOL", "BYTES"]), st.data())
def test_elements_that_fit_are_the_same_in_the_tensor(datatype: str, drawn: st.DataObject) -> None:
    kind = DATATYPES[datatype]
    shape = tuple(drawn.draw(st.lists(st.integers(0, 3), max_size=3)))
    count = int(np.prod(shape, dtype=int))
    elements: Any = {"BOOL": st.booleans(), "BYTES": st.text(), "UINT8": st.integers(0, 255)}.get(
        datatype, st.integers(-100, 100)
    )
    flat = drawn.draw(st.lists(elements, min_size=count, max_size=count))
    read_back = read_elements(flat, kind, shape)
    tensor = to_tensor("x", kind, read_back)
    assert tensor.shape == shape
    assert read_back.ravel().tolist() == flat
    if count and shape:
        nested = np.array([*flat, None], object)[:-1].reshape(shape).tolist()
        assert read_elements(nested, kind, shape).tolist() == read_back.tolist()
