"""Inference requests over HTTP: an encoder of the test's own against the reader, and JSON of any kind."""

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.core.request import InferenceResponse
from headrace.core.tensor import DATATYPES, DataType, Tensor, TensorSpec
from headrace.errors import HeadraceError, InvalidArgument, Status
from headrace.service.answers import ModelTensors
from headrace.transport.http.infer_document import OutputForm
from headrace.transport.http.infer_response import infer_response
from headrace.transport.http.messages import HttpRequest
from headrace.transport.http.raw_request import read_raw_request
from headrace.transport.limits import Limits
from support.http_requests import read_infer_request

HEADER = "inference-header-content-length"
Shape = tuple[int, ...]

INTEGERS = {
    f"{sign}INT{bits}": (0 if sign else -(1 << bits - 1), (1 << bits - (not sign)) - 1)
    for sign in ("U", "")
    for bits in (8, 16, 32, 64)
}
CODES = dict(zip(["UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"], "BHIQbhiq"))
WIDTHS = {"FP16": 2, "BF16": 2, "FP32": 4, "FP64": 8}


@dataclass(frozen=True)
class Sent:
    """One input: what it holds, and how it is to be sent."""

    name: str
    datatype: str
    shape: Shape
    values: list[Any]
    is_binary: bool
    is_nested: bool

    @property
    def wire(self) -> bytes:
        """The bytes that the protocol wants, element by element."""
        return b"".join(element(self.datatype, value) for value in self.values)

    @property
    def described(self) -> dict[str, Any]:
        tensor: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": self.shape}
        if self.is_binary:
            return {**tensor, "parameters": {"binary_data_size": len(self.wire)}}
        return {**tensor, "data": nested(self.values, self.shape) if self.is_nested else self.values}


def element(datatype: str, value: Any) -> bytes:
    if datatype == "BYTES":
        data = value.encode() if isinstance(value, str) else value
        return struct.pack("<I", len(data)) + data
    if datatype == "BOOL":
        return b"\x01" if value else b"\x00"
    if datatype in CODES:
        return struct.pack("<" + CODES[datatype], value)
    return value if isinstance(value, bytes) else struct.pack("<f" if datatype == "FP32" else "<d", value)


def nested(values: list[Any], shape: Shape) -> Any:
    """`values`, row-major, as lists within lists."""
    if not shape:
        return values[0]
    step = math.prod(shape[1:])
    return [nested(values[index * step : (index + 1) * step], shape[1:]) for index in range(shape[0])]


def values_of(datatype: str, is_binary: bool) -> st.SearchStrategy[Any]:
    """Elements that can be sent so; floats in binary are of any bit pattern."""
    if datatype == "BYTES":
        return st.binary(max_size=9) if is_binary else st.text(st.characters(codec="utf-8"), max_size=9)
    if datatype == "BOOL":
        return st.booleans()
    if datatype in INTEGERS:
        return st.integers(*INTEGERS[datatype])
    if is_binary:
        return st.binary(min_size=WIDTHS[datatype], max_size=WIDTHS[datatype])
    width = 8 * WIDTHS[datatype]
    return st.floats(allow_nan=False, allow_infinity=False, width=width) | st.integers(-(2**24), 2**24)


shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)


@st.composite
def inputs(draw: Any, name: str = "x") -> Sent:
    datatype = draw(st.sampled_from(sorted(DATATYPES)))
    is_binary = datatype in ("FP16", "BF16") or draw(st.booleans())
    shape = draw(shapes)
    count = math.prod(shape)
    values = draw(st.lists(values_of(datatype, is_binary), min_size=count, max_size=count))
    return Sent(name, datatype, shape, values, is_binary, draw(st.booleans()))


several_inputs = st.lists(st.sampled_from("abcü"), max_size=3, unique=True).flatmap(
    lambda names: st.tuples(*map(inputs, names)).map(list)
)


def encoded(tensors: list[Sent], indent: int | None = None, **fields: Any) -> HttpRequest:
    """The request, by Python's own JSON; its binary data lies behind that."""
    text = json.dumps(
        {"inputs": [each.described for each in tensors], **fields},
        ensure_ascii=indent is None,
        indent=indent,
    ).encode()
    blobs = [each.wire for each in tensors if each.is_binary]
    return a_request(b"".join([text, *blobs]), {HEADER: str(len(text))} if blobs else {})


def a_request(body: bytes, headers: Mapping[str, str]) -> HttpRequest:
    return HttpRequest("POST", "/v2/models/m/infer", "", headers, body, 0, {"model": "m"})


@settings(max_examples=150, deadline=None)
@given(several_inputs, st.sampled_from([None, 2]))
def test_tensors_arrive_byte_by_byte_in_either_form(tensors: list[Sent], indent: int | None) -> None:
    request, _ = read_infer_request(encoded(tensors, indent), Limits())

    got = [(each.name, each.datatype.value, each.shape, bytes(each.data)) for each in request.inputs]
    assert got == [(each.name, each.datatype, each.shape, each.wire) for each in tensors]


@settings(max_examples=80, deadline=None)
@given(inputs(), st.data())
def test_a_tensor_of_another_count_is_refused(tensor: Sent, data: st.DataObject) -> None:
    shape = data.draw(shapes.filter(lambda shape: math.prod(shape) != math.prod(tensor.shape)))
    described = {**tensor.described, "shape": shape}
    if tensor.is_binary:
        return  # whether the bytes are those of the shape is for the model to judge
    body = json.dumps({"inputs": [described]}).encode()

    try:
        read_infer_request(a_request(body, {}), Limits())
    except InvalidArgument as error:
        assert "elements, but shape" in str(error)
    else:
        raise AssertionError("taken in spite of its count")


# Answers


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.sampled_from("abcd"), max_size=3, unique=True).flatmap(
        lambda names: st.tuples(*map(inputs, names))
    )
)
def test_answers_read_back_as_they_were(tensors: list[Sent]) -> None:
    outputs = [Tensor(each.name, DATATYPES[each.datatype], each.shape, each.wire) for each in tensors]
    form = OutputForm(by_name={each.name: each.is_binary for each in tensors})

    response = infer_response(InferenceResponse("m", "1", "", outputs), form)

    body = b"".join(map(bytes, response.body))
    length = int(dict(response.headers).get("Inference-Header-Content-Length", len(body)))
    at = length
    for each, output in zip(tensors, json.loads(body[:length])["outputs"], strict=True):
        assert (output["name"], output["datatype"], tuple(output["shape"])) == (
            each.name,
            each.datatype,
            each.shape,
        )
        if each.is_binary:
            size = output["parameters"]["binary_data_size"]
            assert body[at : at + size] == each.wire
            at += size
        else:
            assert b"".join(element(each.datatype, value) for value in output["data"]) == each.wire
    assert at == len(body)


# What is broken

KEYS = [
    "inputs",
    "outputs",
    "parameters",
    "id",
    "name",
    "shape",
    "datatype",
    "data",
    "binary_data_size",
    "binary_data",
    "binary_data_output",
    "classification",
    "sequence_id",
    "priority",
    "timeout",
    "headers",
    "shared_memory_region",
    "triton_x",
    "headrace_timings",
    "é",
]
NUMBERS = [
    0,
    -1,
    1,
    255,
    256,
    2**31 - 1,
    2**31,
    2**63,
    2**64 - 1,
    2**64,
    -(2**63) - 1,
    0.0,
    -0.5,
    1e39,
    1e308,
]
scalars = (
    st.none()
    | st.booleans()
    | st.sampled_from(NUMBERS)
    | st.integers(-3, 300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "x", "y", "1", "FP32", "BYTES", "INT8", "\0", "🙂", "٣", *sorted(DATATYPES)])
)
documents = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
lengths = st.sampled_from(
    ["", "0", "1", "-1", "+2", " 5", "5 ", "1e1", "٣", "²", "9" * 30, "9223372036854775808", "0x4", "00"]
)


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) within `value`."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in [(value, key), *places(value[key])]]


@st.composite
def broken_requests(draw: Any) -> HttpRequest:
    """A sound request after some changes of its document, its bytes or its header."""
    tensors = [draw(inputs(name)) for name in draw(st.sampled_from(["x", "xy", "xx", ""]))]
    text = encoded(
        tensors,
        id=draw(st.sampled_from(["", "7"])),
        parameters=draw(st.dictionaries(st.sampled_from(KEYS), scalars, max_size=2)),
        outputs=[{"name": "y", "parameters": {draw(st.sampled_from(KEYS)): draw(scalars)}}],
    )
    length = int(text.headers.get(HEADER, len(text.body)))
    document = json.loads(bytes(text.body)[:length])
    for _ in range(draw(st.integers(0, 3))):
        found = places(document)
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        match draw(st.integers(0, 3)):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[draw(st.sampled_from(KEYS))] = container.pop(key)
            case _:
                container[key] = draw(documents)
    changed = json.dumps(document).encode()
    body = bytearray(changed + bytes(text.body)[length:])
    if draw(st.integers(0, 3)) == 0:
        for _ in range(draw(st.integers(1, 3))):
            body[draw(st.integers(0, len(body) - 1))] = draw(st.integers(0, 255))
    headers = {HEADER: str(len(changed))} if HEADER in text.headers else {}
    if draw(st.integers(0, 3)) == 0:
        headers = {HEADER: draw(lengths | st.integers(-2, len(body) + 2).map(str))}
    return a_request(bytes(body), headers)


@settings(max_examples=300, deadline=None)
@given(broken_requests())
@example(a_request(b'{"inputs":[{"name":"x","datatype":"INT8","shape":[1],"data":[[[]]]}]}', {}))
@example(a_request(b'{"inputs":[{"name":"x","datatype":"BYTES","shape":[],"data":null}]}', {}))
def test_a_request_is_read_or_refused_and_nothing_else(request: HttpRequest) -> None:
    try:
        inference, form = read_infer_request(request, Limits())
    except HeadraceError as error:
        assert error.status in (Status.INVALID_ARGUMENT, Status.UNIMPLEMENTED)
        assert str(error)
        return

    assert len({each.name for each in inference.inputs}) == len(inference.inputs)
    for tensor in inference.inputs:
        assert all(type(size) is int and 0 <= size < 2**31 for size in tensor.shape)
        assert isinstance(tensor.data, bytes | bytearray | memoryview)
    assert all(type(form.is_binary_for(output.name)) is bool for output in inference.outputs)
    assert all(output.class_count >= 0 for output in inference.outputs)


@settings(max_examples=120, deadline=None)
@given(documents)
def test_any_json_is_read_or_refused(document: Any) -> None:
    for body in (document, {"inputs": document}, {"inputs": [document]}, {"inputs": [], "outputs": document}):
        try:
            read_infer_request(a_request(json.dumps(body).encode(), {}), Limits())
        except HeadraceError as error:
            assert str(error)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.none() | lengths)
def test_any_bytes_are_read_or_refused(body: bytes, length: str | None) -> None:
    try:
        read_infer_request(a_request(body, {} if length is None else {HEADER: length}), Limits())
    except HeadraceError as error:
        assert error.status is Status.INVALID_ARGUMENT


# Requests without any JSON


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(sorted(DATATYPES)),
    st.lists(st.sampled_from([-1, 0, 1, 2, 3]), max_size=4).map(tuple),
    st.booleans(),
    st.binary(max_size=96),
)
def test_a_raw_body_is_of_its_shape_or_refused(
    datatype: str, dims: Shape, batches: bool, body: bytes
) -> None:
    kind = DATATYPES[datatype]
    model = ModelTensors("m", batches, (TensorSpec("x", kind, dims, dims),), (), None)

    try:
        (tensor,) = read_raw_request(a_request(body, {HEADER: "0"}), model).inputs
    except InvalidArgument as error:
        assert -1 in dims
        assert str(error)
        return

    if kind is DataType.BYTES:
        assert np.prod(tensor.shape) == 1
        assert bytes(tensor.data) == struct.pack("<I", len(body)) + body
        return
    declared = (1, *dims) if batches else dims
    assert all(want in (-1, got) for want, got in zip(declared, tensor.shape, strict=True))
    assert bytes(tensor.data) == body
    if -1 in dims:
        assert math.prod(tensor.shape) * kind.item_bytes == len(body)
