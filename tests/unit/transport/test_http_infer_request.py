"""What a V2 inference request over HTTP may and may not hold, rule by rule, and the form of its answer."""

import json
import struct
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np
import orjson
import pytest

from headrace.core import strings
from headrace.core.request import InferenceRequest, InferenceResponse, RequestedOutput, Timings
from headrace.core.tensor import ALIGNMENT, DATATYPES, DataType, Shape, Tensor, TensorSpec
from headrace.errors import HeadraceError, InvalidArgument, Unimplemented
from headrace.service.answers import ModelTensors
from headrace.transport.http.infer_document import OutputForm, parse_json
from headrace.transport.http.infer_response import infer_response
from headrace.transport.http.messages import HttpRequest, HttpResponse
from headrace.transport.http.raw_request import read_raw_request
from headrace.transport.limits import Limits
from support.http_requests import read_infer_request

HEADER = "inference-header-content-length"
SHARED_MEMORY_DISABLED = (
    "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
)


class Missing(Enum):
    """Stands for a field that is not there."""

    MISSING = "missing"


MISSING = Missing.MISSING


def an_input(name: str = "x", datatype: Any = "FP32", shape: Any = (1, 2), **fields: Any) -> dict[str, Any]:
    given = {"name": name, "datatype": datatype, "shape": shape, **(fields or {"data": [1, 2]})}
    return {key: value for key, value in given.items() if value is not MISSING}


def a_binary_input(name: str, datatype: str, shape: Shape, size: Any, **more: Any) -> dict[str, Any]:
    return an_input(name, datatype, shape, parameters={"binary_data_size": size, **more})


def a_document(*inputs: Any, **fields: Any) -> dict[str, Any]:
    return {"inputs": inputs or [an_input()], **fields}


def a_body(
    body: bytes, headers: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
) -> HttpRequest:
    return HttpRequest("POST", "/v2/models/m/infer", "", headers or {}, body, 5, params or {"model": "m"})


def a_request(document: Any, *blobs: bytes, header: str | None = None) -> HttpRequest:
    """`blobs` behind the JSON, whose length is in the header, unless that is given."""
    text = orjson.dumps(document)
    if blobs and header is None:
        header = str(len(text))
    return a_body(b"".join([text, *blobs]), {} if header is None else {HEADER: header})


def read(document: Any, *blobs: bytes) -> InferenceRequest:
    return read_infer_request(a_request(document, *blobs), Limits())[0]


def form_of(**fields: Any) -> OutputForm:
    return read_infer_request(a_request(a_document(**fields)), Limits())[1]


def refused(request: HttpRequest, limits: Limits | None = None) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        read_infer_request(request, limits or Limits())
    return error.value


def refusal(document: Any, *blobs: bytes, limits: Limits | None = None) -> HeadraceError:
    return refused(a_request(document, *blobs), limits)


# The document


def test_a_request_is_read_whole() -> None:
    document = a_document(
        id="7",
        parameters={"word": "ü", "binary_data_output": True},
        outputs=[{"name": "y", "parameters": {"classification": 3}}],
    )
    request = a_request(document)
    request.params = {"model": "m", "version": "2"}

    inference, form = read_infer_request(request, Limits())

    assert inference == InferenceRequest(
        "m",
        "2",
        "7",
        [Tensor("x", DataType.FP32, (1, 2), struct.pack("<2f", 1, 2))],
        [RequestedOutput("y", 3)],
        {"word": "ü"},
        5,
    )
    assert form.is_binary_for("y")


def test_only_inputs_are_needed() -> None:
    inference = read({"inputs": [an_input()]})

    assert (inference.id, inference.model_version, inference.outputs) == ("", "", [])
    assert inference.parameters == {}
    assert not inference.wants_timings


def test_unknown_fields_are_passed_over() -> None:
    document = a_document(an_input(data=[1, 2], more=None), extra={"a": [1]}, outputs=[{"name": "y", "z": 1}])

    assert read(document).outputs == [RequestedOutput("y")]


def test_of_a_field_that_comes_twice_the_last_counts() -> None:
    body = b'{"id": "a", "inputs": 7, "id": "b", "inputs": []}'

    assert read_infer_request(a_body(body), Limits())[0].id == "b"


def test_a_request_without_inputs_is_for_the_model_to_judge() -> None:
    assert read({"inputs": []}).inputs == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b'{"inputs": []',
        b'{"inputs": []} x',
        b'{"inputs": [],}',
        b"{'inputs': []}",
        b"\xef\xbb\xbf{}",
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e400}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        bytes(10),
    ],
    ids=lambda body: repr(body[:16]),
)
def test_what_is_no_json(body: bytes) -> None:
    error = refused(a_body(body))

    assert isinstance(error, InvalidArgument)
    assert str(error).startswith("failed to parse the request JSON buffer: ")


@pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"a"', b"true"])
def test_json_that_is_no_object(body: bytes) -> None:
    error = refused(a_body(body))

    assert isinstance(error, InvalidArgument)
    assert str(error) == "failed to parse the request JSON buffer: expected an object"


@pytest.mark.parametrize("inputs", [MISSING, None, {}, "x", 1, True], ids=repr)
def test_inputs_that_are_no_list(inputs: Any) -> None:
    error = refusal({} if inputs is MISSING else {"inputs": inputs})

    assert isinstance(error, InvalidArgument)
    assert str(error) == "Unable to parse 'inputs': expected a list of objects"


@pytest.mark.parametrize("item", [None, [], "x", 1, True], ids=repr)
def test_inputs_that_are_no_objects(item: Any) -> None:
    error = refusal({"inputs": [an_input(), item]})

    assert str(error) == "Unable to parse 'inputs': expected a list of objects"


@pytest.mark.parametrize("value", [1, 1.5, True, [], {}], ids=repr)
def test_an_id_that_is_no_text(value: Any) -> None:
    assert str(refusal(a_document(id=value))) == "Unable to parse 'id': expected a string"


@pytest.mark.parametrize("value", ["", "ü-漢-🙂", "two\nlines", "x" * 65536])
def test_an_id_is_kept_as_it_is(value: str) -> None:
    assert read(a_document(id=value)).id == value


# Inputs


@pytest.mark.parametrize("name", [MISSING, None, 1, [], {}], ids=repr)
def test_an_input_without_a_name(name: Any) -> None:
    assert str(refusal(a_document(an_input(name)))) == (
        "Unable to parse 'name' of an input: expected a string"
    )


@pytest.mark.parametrize(
    "datatype", ["", "fp32", "TYPE_FP32", "STRING", "INT4", None, 1, ["FP32"], {}], ids=repr
)
def test_an_unknown_datatype(datatype: Any) -> None:
    error = refusal(a_document(an_input(datatype=datatype)))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        f"input 'x' has the unknown datatype '{datatype}': expected one of {', '.join(DATATYPES)}"
    )


def test_a_missing_datatype() -> None:
    assert "has the unknown datatype 'None'" in str(refusal(a_document(an_input(datatype=MISSING))))


@pytest.mark.parametrize(
    "shape",
    [MISSING, None, 1, "1", {}, [1.0, 2], [1, 2.5], [True, 2], ["1", 2], [None], [[1], 2], [2**64], [1e3]],
    ids=repr,
)
def test_a_shape_that_is_no_list_of_integers(shape: Any) -> None:
    body = json.dumps(a_document(an_input(shape=shape))).encode()

    error = refused(a_body(body))

    assert isinstance(error, InvalidArgument)
    assert str(error) == "Unable to parse 'shape' of input 'x': expected a list of integers"


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((-1, 2), "input 'x' has a dimension of -1, expected 0 to 2147483647"),
        ((1, 2**31), "input 'x' has a dimension of 2147483648, expected 0 to 2147483647"),
        ((2**64 - 1,), "input 'x' has a dimension of 18446744073709551615, expected 0 to 2147483647"),
        ((0, -(2**63)), "input 'x' has a dimension of -9223372036854775808, expected 0 to 2147483647"),
        ((0, 2**31 - 1, 2**31 - 1), "input 'x' has a shape that no message can hold"),
        ((65536, 65536), "input 'x' has a shape that no message can hold"),
        ((2**21, 2**21, 2**22), "input 'x' has a shape that no message can hold"),
        ((1,) * 33, "input 'x' has 33 dimensions, but at most 32 are allowed"),
        ((2,) * 32, "input 'x' has a shape that no message can hold"),
    ],
)
@pytest.mark.parametrize("is_binary", [False, True])
def test_absurd_shapes(shape: Shape, text: str, is_binary: bool) -> None:
    tensor = a_binary_input("x", "FP32", shape, 8) if is_binary else an_input(shape=shape)

    error = refusal(a_document(tensor), *[bytes(8)] * is_binary)

    assert isinstance(error, InvalidArgument)
    assert str(error) == text


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,) * 32, (2**31 - 1, 0)])
def test_sound_shapes(shape: Shape) -> None:
    data = [1] * int(np.prod(shape))

    assert read(a_document(an_input(shape=shape, data=data))).inputs[0].shape == shape


def test_a_sound_shape_is_none_of_the_equal_ones_that_are_not() -> None:
    read(a_document(an_input(shape=[1, 2])))

    for shape in ([True, 2], [1.0, 2]):
        assert "Unable to parse 'shape'" in str(refusal(a_document(an_input(shape=shape))))


def test_an_input_twice() -> None:
    inputs = [an_input("a"), an_input("x"), an_input("x")]

    assert str(refusal(a_document(*inputs))) == "input 'x' already exists in request"


def test_an_input_without_data() -> None:
    for fields in (
        {"parameters": {}},
        {"parameters": {"mine": 1}},
        {"parameters": {"binary_data_size": None}},
    ):
        error = refusal(a_document(an_input(**fields)))

        assert isinstance(error, InvalidArgument)
        assert str(error) == (
            "unable to find data for input 'x': expected 'data', or a binary_data_size in its 'parameters'"
        )


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_in_json(datatype: str) -> None:
    assert str(refusal(a_document(an_input(datatype=datatype)))) == (
        f"sending {datatype} data via JSON is not supported. Please use the binary data format"
    )


# Binary data


@pytest.mark.parametrize("datatype", DATATYPES)
def test_each_datatype_as_binary_data(datatype: str) -> None:
    kind = DATATYPES[datatype]
    blob = strings.pack([b"\xff", b"", b"abc"]) if datatype == "BYTES" else bytes(range(3 * kind.item_bytes))

    (tensor,) = read(a_document(a_binary_input("x", datatype, (3,), len(blob))), blob).inputs

    assert (tensor.name, tensor.datatype, tensor.shape) == ("x", kind, (3,))
    assert bytes(tensor.data) == blob


def test_binary_data_is_taken_in_the_order_of_the_inputs() -> None:
    document = a_document(
        a_binary_input("a", "INT8", (3,), 3),
        an_input("b", "INT8", (1,), data=[9]),
        a_binary_input("c", "FP64", (0,), 0),
        a_binary_input("d", "INT16", (1,), 2),
    )

    tensors = read(document, b"\x01\x02\x03", b"", b"\x04\x05").inputs

    assert [bytes(each.data) for each in tensors] == [b"\x01\x02\x03", b"\x09", b"", b"\x04\x05"]


@pytest.mark.parametrize("padding", range(ALIGNMENT))
def test_binary_data_is_aligned_wherever_it_lies(padding: int) -> None:
    document = a_document(
        a_binary_input("a", "UINT8", (padding,), padding), a_binary_input("b", "FP64", (2,), 16)
    )
    blob = struct.pack("<2d", 1.5, -2.5)

    data = read(document, bytes(padding), blob).inputs[1].data

    assert np.frombuffer(data, "<f8").flags.aligned
    assert np.frombuffer(data, "<f8").tolist() == [1.5, -2.5]


def test_a_header_length_of_the_whole_body_is_plain_json() -> None:
    text = orjson.dumps(a_document())

    inference, _ = read_infer_request(a_body(text, {HEADER: str(len(text))}), Limits())

    assert inference.inputs[0].shape == (1, 2)


def test_a_body_that_came_in_pieces() -> None:
    request = a_request(a_document(a_binary_input("x", "INT8", (2,), 2)), b"\x07\x08")
    request.body = bytearray(request.body)

    (tensor,) = read_infer_request(request, Limits())[0].inputs

    assert bytes(tensor.data) == b"\x07\x08"


@pytest.mark.parametrize(
    "header",
    [
        "-1",
        "+1",
        "1.0",
        "",
        " ",
        "x",
        "0x10",
        "1e1",
        "1_0",
        "1, 1",
        "9223372036854775808",
        "18446744073709551616",
        "99999999999999999999999",
        "9" * 5000,
        "٣",
        "²",
        "1000",
    ],
    ids=lambda header: header[:24],
)
def test_a_header_length_that_cannot_be(header: str) -> None:
    request = a_request(a_document(), header=header)

    error = refused(request)

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        f"Inference-Header-Content-Length is '{header[:64]}': expected the length of the JSON, 0 to "
        f"{len(request.body)} bytes"
    )


def test_a_header_length_that_cuts_the_json() -> None:
    size = len(orjson.dumps(a_document()))

    for length in (1, size - 1):
        error = refused(a_request(a_document(), header=str(length)))

        assert str(error).startswith("failed to parse the request JSON buffer: ")


def test_a_header_length_of_more_than_the_json() -> None:
    error = refused(a_request(a_document(), b"\x01\x02", header=str(len(orjson.dumps(a_document())) + 1)))

    assert str(error).startswith("failed to parse the request JSON buffer: ")


@pytest.mark.parametrize("size", [-1, 1.0, "8", True, [8], {}, 2**64], ids=repr)
def test_a_binary_size_that_is_no_size(size: Any) -> None:
    error = refusal(a_document(a_binary_input("x", "FP32", (1, 2), float(size) if size == 2**64 else size)))

    assert str(error) == "Unable to parse 'binary_data_size' of input 'x': expected an integer of 0 or more"


@pytest.mark.parametrize("size", [9, 2**31, 2**63, 2**64 - 1])
def test_more_binary_data_than_there_is(size: int) -> None:
    document = a_document(a_binary_input("a", "INT8", (4,), 4), a_binary_input("x", "FP32", (1, 2), size))

    error = refusal(document, bytes(4), bytes(8))

    assert isinstance(error, InvalidArgument)
    assert str(error) == f"input 'x' has a binary_data_size of {size}, but only 8 bytes are left for it"


def test_less_binary_data_than_there_is() -> None:
    error = refusal(a_document(a_binary_input("x", "FP32", (1, 2), 7)), bytes(8))

    assert str(error) == (
        "unexpected additional input data: 1 bytes more than the inputs' binary_data_size say"
    )


def test_binary_data_without_the_header() -> None:
    text = orjson.dumps(a_document(a_binary_input("x", "FP32", (1, 2), 8)))

    assert str(refused(a_body(text))) == (
        "input 'x' has a binary_data_size of 8, but only 0 bytes are left for it"
    )
    assert str(refused(a_body(text + bytes(8)))).startswith("failed to parse the request JSON buffer: ")


@pytest.mark.parametrize("data", [[1, 2], [], None], ids=repr)
def test_data_in_both_forms(data: Any) -> None:
    tensor = a_binary_input("x", "FP32", (1, 2), 8) | {"data": data}

    assert str(refusal(a_document(tensor), bytes(8))) == "input 'x' has both 'data' and a binary_data_size"


# Limits


def test_limits_are_checked() -> None:
    limits = Limits(inputs=1, outputs=1, parameters=1)
    two = {"a": 1, "b": 2}

    texts = [
        str(refusal(document, limits=limits))
        for document in (
            a_document(an_input(datatype="?"), an_input()),
            a_document(outputs=[{"name": "a"}, {"name": "b"}]),
            a_document(parameters=two),
            a_document(an_input(parameters=two)),
            a_document(outputs=[{"name": "a", "parameters": two}]),
        )
    ]

    assert texts == [
        f"the request has 2 {what}, but at most 1 are allowed"
        for what in (
            "inputs",
            "outputs",
            "entries of 'parameters'",
            "entries of 'parameters' of input 'x'",
            "entries of 'parameters' of output 'a'",
        )
    ]


def test_as_many_as_the_limits_allow() -> None:
    limits = Limits(inputs=2, outputs=2, parameters=2)
    document = a_document(
        an_input("a"), an_input("b"), outputs=[{"name": "a"}, {"name": "b"}], parameters={"a": 1, "b": 2}
    )

    inference, _ = read_infer_request(a_request(document), limits)

    assert (len(inference.inputs), len(inference.outputs), len(inference.parameters)) == (2, 2, 2)


LONG = "x" * 101


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (a_document(id=LONG), "the request's id"),
        (a_document(an_input(LONG)), "an input's name"),
        (a_document(outputs=[{"name": LONG}]), "an output's name"),
        (a_document(parameters={LONG: 1}), "a parameter's name"),
        (a_document(parameters={"a": LONG}), "parameter 'a'"),
    ],
)
def test_texts_that_are_longer_than_the_limit(document: Any, what: str) -> None:
    error = refusal(document, limits=Limits(text_characters=100))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        f"{what} has 101 characters, but at most 100 are allowed (limits.max_text_characters)"
    )
    read_infer_request(a_request(document), Limits(text_characters=101))


def test_more_values_than_the_limit() -> None:
    limits = Limits(json_values=100)
    document = a_document(an_input("x", "INT8", (200,), data=[1] * 200))

    error = refusal(document, limits=limits)

    assert isinstance(error, InvalidArgument)
    assert str(error).endswith(
        "but at most 100 are allowed (limits.max_json_values): send large tensors as binary data"
    )


@pytest.mark.parametrize("value", [b"[[[[[]]]]]", b'{"b":1}', b'{"b":{"b":{}}}', b"[]", b"1", b'"a"'])
def test_lists_objects_and_fields_are_values(value: bytes) -> None:
    limits = Limits(json_values=100)
    marks = 1 + sum(map(value.count, (b"[", b"{", b":")))

    with pytest.raises(InvalidArgument, match=r"some 1[0-9]+ values, but at most 100 are allowed"):
        parse_json(b"[" + b",".join([value] * (1 + 100 // marks)) + b"]", limits)


def test_json_of_as_many_values_as_allowed_is_read() -> None:
    assert parse_json(b"[" + b",".join([b"1"] * 100) + b"]", Limits(json_values=100)) == [1] * 100


def test_commas_in_binary_data_are_no_values() -> None:
    limits = Limits(json_values=20)
    request = a_request(a_document(a_binary_input("x", "UINT8", (200,), 200)), b"," * 200)

    inference, _ = read_infer_request(request, limits)

    assert bytes(inference.inputs[0].data) == b"," * 200


# Parameters


def test_parameters_reach_the_model() -> None:
    values = {
        "flag": False,
        "count": -3,
        "large": 2**64 - 1,
        "small": -(2**63),
        "ratio": 0.5,
        "word": "ü",
        "sequence_id": "s",
        "sequence_start": True,
        "sequence_end": False,
        "priority": 1,
        "timeout": 100,
    }

    assert read(a_document(parameters=values)).parameters == values
    assert read(a_document(parameters={"sequence_id": 7})).parameters == {"sequence_id": 7}


def test_parameters_for_the_transport_do_not_reach_the_model() -> None:
    values = {
        "headrace_timings": True,
        "triton_enable_empty_final_response": True,
        "binary_data_output": True,
    }

    inference = read(a_document(parameters=values))

    assert inference.wants_timings
    assert inference.parameters == {}
    assert not read(a_document(parameters={"headrace_timings": False})).wants_timings


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "sequence_id",
            True,
            "invalid value type for 'sequence_id' parameter, expected an integer or a string.",
        ),
        (
            "sequence_id",
            1.5,
            "invalid value type for 'sequence_id' parameter, expected an integer or a string.",
        ),
        ("sequence_start", 1, "invalid value type for 'sequence_start' parameter, expected a boolean."),
        ("sequence_end", "true", "invalid value type for 'sequence_end' parameter, expected a boolean."),
        ("priority", "1", "invalid value type for 'priority' parameter, expected an integer."),
        ("priority", True, "invalid value type for 'priority' parameter, expected an integer."),
        ("priority", -1, "invalid value for 'priority', expected value >= 0."),
        ("timeout", 1.0, "invalid value type for 'timeout' parameter, expected an integer."),
        ("timeout", -1, "invalid value for 'timeout', expected value >= 0."),
        (
            "binary_data_output",
            1,
            "invalid value type for 'binary_data_output' parameter, expected a boolean.",
        ),
        (
            "headrace_timings",
            "true",
            "invalid value type for 'headrace_timings' parameter, expected a boolean.",
        ),
        (
            "triton_enable_empty_final_response",
            "x",
            "invalid value type for 'triton_enable_empty_final_response' parameter, expected a boolean.",
        ),
        ("headers", "x", "parameter 'headers' is reserved and must not be sent"),
        (
            "triton_x",
            True,
            "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
            "starting with 'triton_' are allowed: triton_enable_empty_final_response",
        ),
        (
            "headrace_x",
            True,
            "parameter keys starting with 'headrace_' are reserved. Only the following keys starting with "
            "'headrace_' are allowed: headrace_timings, headrace_route",
        ),
        ("any", None, "parameter 'any' is no string, number or boolean"),
        ("any", [1], "parameter 'any' is no string, number or boolean"),
        ("any", {"a": 1}, "parameter 'any' is no string, number or boolean"),
        ("priority", None, "parameter 'priority' is no string, number or boolean"),
    ],
)
def test_refused_parameters(name: str, value: Any, text: str) -> None:
    error = refusal(a_document(parameters={name: value}))

    assert isinstance(error, InvalidArgument)
    assert str(error) == text


@pytest.mark.parametrize("parameters", [[1], "x", 1, True, [], "", 0, False], ids=repr)
def test_parameters_that_are_no_object(parameters: Any) -> None:
    of_the_request = refusal(a_document(parameters=parameters))
    of_an_input = refusal(a_document(an_input(data=[1, 2], parameters=parameters)))
    of_an_output = refusal(a_document(outputs=[{"name": "y", "parameters": parameters}]))

    assert [str(error) for error in (of_the_request, of_an_input, of_an_output)] == [
        "Unable to parse 'parameters': expected an object",
        "Unable to parse 'parameters' of input 'x': expected an object",
        "Unable to parse 'parameters' of output 'y': expected an object",
    ]


@pytest.mark.parametrize(
    "name", ["shared_memory_region", "shared_memory_offset", "shared_memory_byte_size", "shared_memory_x"]
)
def test_shared_memory_is_refused(name: str) -> None:
    of_an_input = refusal(a_document(an_input(parameters={name: 0})))
    of_an_output = refusal(
        a_document(outputs=[{"name": "y", "parameters": {name: "r", "binary_data": False}}])
    )

    for error in (of_an_input, of_an_output):
        assert isinstance(error, Unimplemented)
        assert str(error) == SHARED_MEMORY_DISABLED


# Requested outputs


def test_requested_outputs_in_their_order() -> None:
    outputs = [{"name": "b"}, {"name": "a", "parameters": {"classification": 2}}]

    assert read(a_document(outputs=outputs)).outputs == [RequestedOutput("b"), RequestedOutput("a", 2)]


def test_an_output_asked_for_twice_is_one_output() -> None:
    outputs = [
        {"name": "y", "parameters": {"binary_data": True}},
        {"name": "z"},
        {"name": "y", "parameters": {"classification": 1, "binary_data": False}},
    ]

    inference, form = read_infer_request(a_request(a_document(outputs=outputs)), Limits())

    assert inference.outputs == [RequestedOutput("y", 1), RequestedOutput("z")]
    assert not form.is_binary_for("y")


@pytest.mark.parametrize("outputs", [{"name": "y"}, "y", 1, True, {}, "", 0, False], ids=repr)
def test_outputs_that_are_no_list(outputs: Any) -> None:
    assert str(refusal(a_document(outputs=outputs))) == (
        "Unable to parse 'outputs': expected a list of objects"
    )


@pytest.mark.parametrize("item", [None, "y", 1, [], {}, {"name": 1}, {"name": None}], ids=repr)
def test_outputs_without_a_name(item: Any) -> None:
    assert str(refusal(a_document(outputs=[{"name": "y"}, item]))) == (
        "Unable to parse 'outputs': expected objects with a 'name'"
    )


@pytest.mark.parametrize("class_count", ["3", 1.0, True, [1]], ids=repr)
def test_a_class_count_that_is_no_integer(class_count: Any) -> None:
    output = {"name": "y", "parameters": {"classification": class_count}}

    assert str(refusal(a_document(outputs=[output]))) == (
        "invalid value type for 'classification' parameter, expected an integer"
    )


@pytest.mark.parametrize("class_count", [0, -1])
def test_a_class_count_of_none(class_count: int) -> None:
    output = {"name": "y", "parameters": {"classification": class_count}}

    assert str(refusal(a_document(outputs=[output]))) == (
        "invalid value for 'classification' parameter, expected >= 1"
    )


@pytest.mark.parametrize("value", [1, "true", None, []], ids=repr)
def test_a_form_that_is_no_boolean(value: Any) -> None:
    output = {"name": "y", "parameters": {"binary_data": value}}

    assert str(refusal(a_document(outputs=[output]))) == (
        "Unable to parse 'binary_data' of output 'y': expected a boolean"
    )


@pytest.mark.parametrize("of_the_request", [None, False, True])
@pytest.mark.parametrize("of_the_output", [None, False, True])
def test_an_output_goes_before_the_request_in_saying_its_form(
    of_the_request: bool | None, of_the_output: bool | None
) -> None:
    parameters = {} if of_the_request is None else {"binary_data_output": of_the_request}
    output = {"name": "y", "parameters": {} if of_the_output is None else {"binary_data": of_the_output}}

    form = form_of(parameters=parameters, outputs=[output])

    assert form.is_binary_for("y") is bool(of_the_request if of_the_output is None else of_the_output)


def test_outputs_that_are_not_asked_for_have_the_form_of_the_request() -> None:
    assert form_of(parameters={"binary_data_output": True}).is_binary_for("y")
    assert not form_of(parameters={"binary_data_output": False}).is_binary_for("y")
    assert not form_of().is_binary_for("y")


# Responses


def a_tensor(name: str, datatype: str, shape: Shape, data: bytes) -> Tensor:
    return Tensor(name, DATATYPES[datatype], shape, memoryview(data))


def a_response(**fields: Any) -> InferenceResponse:
    outputs = [
        a_tensor("n", "INT32", (2,), struct.pack("<2i", 1, -1)),
        a_tensor("t", "BYTES", (1, 1), strings.pack([b"a"])),
    ]
    return InferenceResponse("m", "3", fields.pop("id", "7"), outputs, **fields)


def body_of(response: HttpResponse) -> bytes:
    return b"".join(map(bytes, response.body))


def test_a_response_in_json() -> None:
    response = infer_response(a_response(parameters={"p": 1}), OutputForm())

    assert response.status == 200
    assert response.content_type == "application/json"
    assert response.headers == ()
    assert body_of(response) == (
        b'{"id":"7","model_name":"m","model_version":"3","parameters":{"p":1},"outputs":['
        b'{"name":"n","datatype":"INT32","shape":[2],"data":[1,-1]},'
        b'{"name":"t","datatype":"BYTES","shape":[1,1],"data":["a"]}]}'
    )


def test_a_response_says_only_what_there_is_to_say() -> None:
    response = infer_response(a_response(id=""), OutputForm())

    assert list(json.loads(body_of(response))) == ["model_name", "model_version", "outputs"]


def test_a_response_with_binary_data_behind_its_json() -> None:
    response = infer_response(a_response(), OutputForm(is_binary=True))

    assert response.content_type == "application/octet-stream"
    ((name, length),) = response.headers
    assert name == "Inference-Header-Content-Length"
    assert body_of(response)[: int(length)] == (
        b'{"id":"7","model_name":"m","model_version":"3","outputs":['
        b'{"name":"n","datatype":"INT32","shape":[2],"parameters":{"binary_data_size":8}},'
        b'{"name":"t","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":5}}]}'
    )
    assert body_of(response)[int(length) :] == struct.pack("<2i", 1, -1) + b"\x01\x00\x00\x00a"


def test_a_response_in_both_forms() -> None:
    response = infer_response(a_response(), OutputForm(True, {"n": False}))

    length = int(dict(response.headers)["Inference-Header-Content-Length"])
    numbers, texts = json.loads(body_of(response)[:length])["outputs"]
    assert numbers["data"] == [1, -1]
    assert "parameters" not in numbers
    assert texts["parameters"] == {"binary_data_size": 5}
    assert "data" not in texts
    assert body_of(response)[length:] == b"\x01\x00\x00\x00a"


def test_a_binary_output_without_elements_still_makes_a_binary_response() -> None:
    empty = InferenceResponse("m", "1", "", [a_tensor("y", "FP32", (0, 3), b"")])

    response = infer_response(empty, OutputForm(is_binary=True))

    length = int(dict(response.headers)["Inference-Header-Content-Length"])
    assert length == len(body_of(response))
    assert json.loads(body_of(response))["outputs"][0]["parameters"] == {"binary_data_size": 0}


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_precision_is_answered_in_binary_only(datatype: str) -> None:
    response = InferenceResponse("m", "1", "", [a_tensor("y", datatype, (2,), b"abcd")])

    assert body_of(infer_response(response, OutputForm(is_binary=True))).endswith(b"abcd")
    with pytest.raises(InvalidArgument) as error:
        infer_response(response, OutputForm())
    assert str(error.value) == (
        f"sending {datatype} data via JSON is not supported. Please use the binary data format"
    )


def test_timings_are_parameters_of_the_response() -> None:
    timings = Timings(queue_ns=10_000, compute_infer_ns=40_000, batch_rows=4)

    response = infer_response(a_response(parameters={"p": "q"}, timings=timings), OutputForm())

    parameters = json.loads(body_of(response))["parameters"]
    assert parameters["p"] == "q"
    assert (parameters["headrace_queue_us"], parameters["headrace_batch_rows"]) == (10, 4)


# Requests without any JSON


def a_model(*inputs: tuple[str, str, Shape], batches: bool = False) -> ModelTensors:
    specs = tuple(TensorSpec(name, DATATYPES[datatype], dims, dims) for name, datatype, dims in inputs)
    return ModelTensors("m", batches, specs, (), None)


def raw(body: bytes, model: ModelTensors) -> Tensor:
    (tensor,) = read_raw_request(a_body(body, {HEADER: "0"}), model).inputs
    return tensor


def raw_refusal(body: bytes, model: ModelTensors) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        raw(body, model)
    return error.value


def test_a_raw_request_is_for_all_outputs_of_the_version_asked_for() -> None:
    request = a_body(bytes(8), {HEADER: "0"}, {"model": "m", "version": "2"})

    inference = read_raw_request(request, a_model(("x", "FP32", (2,))))

    assert (inference.model_name, inference.model_version, inference.id) == ("m", "2", "")
    assert inference.outputs == []
    assert inference.arrived_ns == 5


@pytest.mark.parametrize(
    ("datatype", "dims", "batches", "byte_size", "shape"),
    [
        ("FP32", (2, 3), False, 24, (2, 3)),
        ("FP32", (2, 3), True, 24, (1, 2, 3)),
        ("FP32", (-1,), False, 12, (3,)),
        ("FP32", (-1,), True, 12, (1, 3)),
        ("FP16", (2, -1, 2), False, 24, (2, 3, 2)),
        ("INT64", (3, -1), True, 24, (1, 3, 1)),
        ("UINT8", (-1,), False, 0, (0,)),
        ("FP64", (), False, 8, ()),
        ("FP64", (), True, 8, (1,)),
    ],
)
def test_the_shape_of_a_raw_request_follows_from_its_size(
    datatype: str, dims: Shape, batches: bool, byte_size: int, shape: Shape
) -> None:
    body = bytes(range(byte_size))

    tensor = raw(body, a_model(("x", datatype, dims), batches=batches))

    assert (tensor.name, tensor.datatype, tensor.shape) == ("x", DATATYPES[datatype], shape)
    assert bytes(tensor.data) == body


def test_a_raw_request_of_another_size_is_for_the_model_to_judge() -> None:
    tensor = raw(bytes(7), a_model(("x", "FP32", (2,))))

    assert (tensor.shape, len(tensor.data)) == ((2,), 7)


@pytest.mark.parametrize(
    ("dims", "batches", "shape"), [((1,), False, (1,)), ((1,), True, (1, 1)), ((-1,), True, (1, 1))]
)
@pytest.mark.parametrize("body", [b"", b"text", b"\xff\x00" * 100])
def test_a_raw_request_of_bytes_is_one_element(body: bytes, dims: Shape, batches: bool, shape: Shape) -> None:
    tensor = raw(body, a_model(("x", "BYTES", dims), batches=batches))

    assert tensor.shape == shape
    assert strings.unpack(tensor.data) == [body]


def test_a_raw_request_for_a_model_of_two_inputs() -> None:
    error = raw_refusal(bytes(8), a_model(("a", "FP32", (1,)), ("b", "FP32", (1,))))

    assert isinstance(error, InvalidArgument)
    assert str(error) == "a raw request carries one input, but model 'm' has 2"


def test_a_raw_request_of_two_sizes_that_vary() -> None:
    error = raw_refusal(bytes(8), a_model(("x", "FP32", (-1, 2, -1)), batches=True))

    assert isinstance(error, InvalidArgument)
    assert "of which 2 sizes vary: send its shape in JSON" in str(error)


@pytest.mark.parametrize("byte_size", [1, 23, 25])
def test_a_raw_request_of_a_size_that_fits_no_shape(byte_size: int) -> None:
    error = raw_refusal(bytes(byte_size), a_model(("x", "FP32", (3, -1)), batches=True))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (f"the body of {byte_size} bytes does not fit input 'x': expected a multiple of 12")
