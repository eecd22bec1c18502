"""What a ModelInferRequest may and may not hold, rule by rule."""

from typing import Any

import numpy as np
import pytest

from headrace.core.request import RequestedOutput
from headrace.errors import HeadraceError, Internal, InvalidArgument, Unimplemented
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.transport.grpc.decode import decode_request
from headrace.transport.limits import Limits


def an_input(
    name: str = "x", datatype: str = "FP32", shape: tuple[int, ...] = (1, 2), **fields: Any
) -> pb.ModelInferRequest.InferInputTensor:
    return pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape, **fields)


def a_request(*inputs: pb.ModelInferRequest.InferInputTensor, **fields: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(model_name="m", inputs=inputs, **fields)


def a_raw_request(**fields: Any) -> pb.ModelInferRequest:
    return a_request(an_input(), raw_input_contents=[bytes(8)], **fields)


def with_parameter(name: str, **value: Any) -> pb.ModelInferRequest:
    return a_raw_request(parameters={name: pb.InferParameter(**value)})


def refusal(message: pb.ModelInferRequest, limits: Limits | None = None) -> HeadraceError:
    with pytest.raises(HeadraceError) as error:
        decode_request(message.SerializeToString(), 0, None, limits or Limits())
    return error.value


def decode(message: pb.ModelInferRequest) -> Any:
    return decode_request(message.SerializeToString(), 0)


def test_bytes_that_are_no_message_are_internal() -> None:
    with pytest.raises(Internal, match=r"not a valid inference\.ModelInferRequest message"):
        decode_request(b"\xff", 0)


def test_a_request_without_inputs_is_for_the_model_to_judge() -> None:
    assert decode(a_request()).inputs == []


def test_contents_beside_raw_contents() -> None:
    error = refusal(a_request(an_input(contents={"fp32_contents": [1, 2]}), raw_input_contents=[bytes(8)]))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        "contents field must not be specified when using raw_input_contents for 'x' for model 'm'"
    )


def test_no_data() -> None:
    error = refusal(a_request(an_input()))

    assert isinstance(error, InvalidArgument)
    assert str(error) == "unable to find data for input tensor 'x' for model 'm' in request."


@pytest.mark.parametrize(
    "message",
    [
        a_request(an_input(datatype="BYTES", shape=(4,), contents={"bytes_contents": [b""] * 4})),
        a_request(an_input(datatype="BYTES", shape=(1,), contents={"bytes_contents": [b""] * 4})),
        a_request(an_input(datatype="BYTES", shape=(2, 2)), raw_input_contents=[bytes(16)]),
    ],
    ids=["typed", "typed, of another shape", "raw"],
)
def test_more_texts_than_are_allowed(message: pb.ModelInferRequest) -> None:
    error = refusal(message, Limits(text_elements=3))

    assert isinstance(error, InvalidArgument)
    assert str(error) == (
        "input 'x' has 4 BYTES elements, but at most 3 are allowed (limits.max_text_elements)"
    )
    assert decode_request(message.SerializeToString(), 0, None, Limits(text_elements=4))


def test_fewer_raw_contents_than_inputs() -> None:
    error = refusal(a_request(an_input("a"), an_input("b"), raw_input_contents=[bytes(8)]))

    assert str(error) == "unable to find data for input tensor 'b' for model 'm' in request."


def test_more_raw_contents_than_inputs() -> None:
    error = refusal(a_request(an_input(), raw_input_contents=[bytes(8), b""]))

    assert str(error) == "the request for model 'm' has 2 raw_input_contents for 1 inputs"


def test_an_input_twice() -> None:
    error = refusal(a_request(an_input(), an_input(), raw_input_contents=[bytes(8)] * 2))

    assert str(error) == "input 'x' already exists in request"


@pytest.mark.parametrize("datatype", ["", "fp32", "TYPE_FP32", "STRING", "INT4"])
def test_an_unknown_datatype(datatype: str) -> None:
    error = refusal(a_request(an_input(datatype=datatype), raw_input_contents=[b""]))

    assert isinstance(error, InvalidArgument)
    assert str(error) == f"input 'x' for model 'm' has the unknown datatype '{datatype}'"


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        ((-1, 2), "input 'x' has a dimension of -1, expected 0 to 2147483647"),
        ((1, 2**31), "input 'x' has a dimension of 2147483648, expected 0 to 2147483647"),
        ((0, -(2**63)), "input 'x' has a dimension of -9223372036854775808, expected 0 to 2147483647"),
        ((0, 2**31 - 1, 2**31 - 1), "input 'x' has a shape that no message can hold"),
        ((1,) * 33, "input 'x' has 33 dimensions, but at most 32 are allowed"),
    ],
)
def test_absurd_shapes(shape: tuple[int, ...], text: str) -> None:
    error = refusal(a_request(an_input(shape=shape), raw_input_contents=[b""]))

    assert isinstance(error, InvalidArgument)
    assert str(error) == text


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (2**31 - 1,), (1,) * 32])
def test_sound_shapes(shape: tuple[int, ...]) -> None:
    (tensor,) = decode(a_request(an_input(shape=shape), raw_input_contents=[b""])).inputs

    assert tensor.shape == shape


@pytest.mark.parametrize(
    ("datatype", "contents", "array"),
    [
        ("BOOL", {"bool_contents": [True, False]}, np.array([1, 0], "?")),
        ("INT8", {"int_contents": [-128, 127]}, np.array([-128, 127], "i1")),
        ("INT16", {"int_contents": [-32768, 5]}, np.array([-32768, 5], "<i2")),
        ("INT32", {"int_contents": [-1, 5]}, np.array([-1, 5], "<i4")),
        ("INT64", {"int64_contents": [-1, 5]}, np.array([-1, 5], "<i8")),
        ("UINT8", {"uint_contents": [0, 255]}, np.array([0, 255], "u1")),
        ("UINT16", {"uint_contents": [0, 65535]}, np.array([0, 65535], "<u2")),
        ("UINT32", {"uint_contents": [0, 7]}, np.array([0, 7], "<u4")),
        ("UINT64", {"uint64_contents": [0, 2**64 - 1]}, np.array([0, 2**64 - 1], "<u8")),
        ("FP32", {"fp32_contents": [0.1, -2]}, np.array([0.1, -2], "<f4")),
        ("FP64", {"fp64_contents": [0.1, -2]}, np.array([0.1, -2], "<f8")),
    ],
)
def test_typed_contents(datatype: str, contents: dict[str, list[Any]], array: np.ndarray) -> None:
    (tensor,) = decode(a_request(an_input(datatype=datatype, contents=contents))).inputs

    assert tensor.data == array.tobytes()


def test_typed_bytes() -> None:
    contents = {"bytes_contents": [b"ab", b"", b"\x00"]}

    (tensor,) = decode(a_request(an_input(datatype="BYTES", shape=(3,), contents=contents))).inputs

    assert tensor.data == b"\x02\x00\x00\x00ab\x00\x00\x00\x00\x01\x00\x00\x00\x00"


def test_empty_contents_are_an_empty_tensor() -> None:
    message = a_request(an_input(shape=(0, 2), contents=pb.InferTensorContents()))

    assert decode(message).inputs[0].data == b""


@pytest.mark.parametrize(
    ("datatype", "contents", "text"),
    [
        ("FP32", {"int_contents": [1]}, "of type 'INT32', expected datatype 'FP32'"),
        ("INT64", {"int_contents": [1]}, "of type 'INT32', expected datatype 'INT64'"),
        ("UINT8", {"int_contents": [1]}, "of type 'INT32', expected datatype 'UINT8'"),
        ("FP16", {"fp32_contents": [1]}, "of type 'FP32', expected datatype 'FP16'"),
        ("BF16", {"fp32_contents": [1]}, "of type 'FP32', expected datatype 'BF16'"),
        ("BYTES", {"bool_contents": [True]}, "of type 'BOOL', expected datatype 'BYTES'"),
    ],
)
def test_contents_of_another_type(datatype: str, contents: dict[str, list[Any]], text: str) -> None:
    error = refusal(a_request(an_input(datatype=datatype, contents=contents)))

    assert isinstance(error, InvalidArgument)
    assert str(error) == f"unexpected explicit tensor data for input tensor 'x' for model 'm' {text}"


def test_contents_of_two_types() -> None:
    error = refusal(a_request(an_input(contents={"fp32_contents": [1], "int_contents": [1]})))

    assert str(error) == (
        "unexpected explicit tensor data for input tensor 'x' for model 'm', "
        "binary data was already supplied."
    )


@pytest.mark.parametrize(
    ("datatype", "contents", "value"),
    [
        ("INT8", {"int_contents": [0, 128]}, 128),
        ("INT16", {"int_contents": [-32769]}, -32769),
        ("UINT8", {"uint_contents": [256]}, 256),
        ("UINT16", {"uint_contents": [65536]}, 65536),
    ],
)
def test_narrow_contents_out_of_range(datatype: str, contents: dict[str, list[int]], value: int) -> None:
    error = refusal(a_request(an_input(datatype=datatype, contents=contents)))

    assert str(error) == f"value {value} of input 'x' is out of range for its datatype {datatype}"


def test_limits_are_checked_first() -> None:
    limits = Limits(inputs=1, outputs=1, parameters=1)
    parameters = {"a": pb.InferParameter(bool_param=True), "b": pb.InferParameter(bool_param=True)}
    output = pb.ModelInferRequest.InferRequestedOutputTensor
    raw = [bytes(8)]

    texts = [
        str(refusal(message, limits))
        for message in (
            a_request(an_input(datatype="?"), an_input()),
            a_raw_request(outputs=[output(name="a"), output(name="b")]),
            a_raw_request(parameters=parameters),
            a_request(an_input(parameters=parameters), raw_input_contents=raw),
            a_raw_request(outputs=[output(name="a", parameters=parameters)]),
        )
    ]

    assert texts == [
        f"the request has 2 {what}, but at most 1 are allowed"
        for what in ("inputs", "outputs", "parameters", "parameters of an input", "parameters of an output")
    ]


LONG = "x" * 101


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"model_name": LONG}, "the model's name"),
        ({"id": LONG}, "the request's id"),
        ({"inputs": [an_input(name=LONG)]}, "an input's name"),
        ({"outputs": [pb.ModelInferRequest.InferRequestedOutputTensor(name=LONG)]}, "an output's name"),
        ({"parameters": {LONG: pb.InferParameter(bool_param=True)}}, "a parameter's name"),
        ({"parameters": {"a": pb.InferParameter(string_param=LONG)}}, "parameter 'a'"),
    ],
)
def test_texts_that_are_longer_than_the_limit(fields: dict[str, Any], what: str) -> None:
    message = a_raw_request()
    for name, value in fields.items():
        message.ClearField(name)
        message.MergeFrom(pb.ModelInferRequest(**{name: value}))
    expected = f"{what} has 101 characters, but at most 100 are allowed (limits.max_text_characters)"
    assert str(refusal(message, Limits(text_characters=100))) == expected
    decode_request(message.SerializeToString(), 0, None, Limits(text_characters=101))


def test_parameters_reach_the_model() -> None:
    values = {
        "flag": pb.InferParameter(bool_param=False),
        "count": pb.InferParameter(int64_param=-3),
        "large": pb.InferParameter(uint64_param=2**64 - 1),
        "ratio": pb.InferParameter(double_param=0.5),
        "word": pb.InferParameter(string_param="ü"),
        "sequence_id": pb.InferParameter(string_param="s"),
        "sequence_start": pb.InferParameter(bool_param=True),
        "sequence_end": pb.InferParameter(bool_param=False),
        "priority": pb.InferParameter(uint64_param=1),
        "timeout": pb.InferParameter(int64_param=100),
    }

    assert decode(a_raw_request(parameters=values)).parameters == {
        "flag": False,
        "count": -3,
        "large": 2**64 - 1,
        "ratio": 0.5,
        "word": "ü",
        "sequence_id": "s",
        "sequence_start": True,
        "sequence_end": False,
        "priority": 1,
        "timeout": 100,
    }


def test_parameters_for_the_transport_do_not_reach_the_model() -> None:
    request = decode(
        a_raw_request(
            parameters={
                "headrace_timings": pb.InferParameter(bool_param=True),
                "triton_enable_empty_final_response": pb.InferParameter(bool_param=True),
                "binary_data_output": pb.InferParameter(bool_param=True),
            }
        )
    )

    assert request.wants_timings
    assert request.parameters == {}
    assert not decode(a_raw_request()).wants_timings


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        (
            "sequence_id",
            {"bool_param": True},
            "invalid value type for 'sequence_id' parameter, "
            "expected int64_param, uint64_param or string_param.",
        ),
        (
            "sequence_start",
            {"int64_param": 1},
            "invalid value type for 'sequence_start' parameter, expected bool_param.",
        ),
        (
            "priority",
            {"string_param": "1"},
            "invalid value type for 'priority' parameter, expected int64_param or uint64_param.",
        ),
        ("priority", {"int64_param": -1}, "invalid value for 'priority', expected value >= 0."),
        (
            "timeout",
            {"uint64_param": 1},
            "invalid value type for 'timeout' parameter, expected int64_param.",
        ),
        ("timeout", {"int64_param": -1}, "invalid value for 'timeout', expected value >= 0."),
        (
            "headrace_timings",
            {"string_param": "true"},
            "invalid value type for 'headrace_timings' parameter, expected bool_param.",
        ),
        ("headers", {"string_param": "x"}, "parameter 'headers' is reserved and must not be sent"),
        (
            "triton_x",
            {"bool_param": True},
            "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys "
            "starting with 'triton_' are allowed: triton_enable_empty_final_response",
        ),
        (
            "headrace_x",
            {"bool_param": True},
            "parameter keys starting with 'headrace_' are reserved. Only the following keys starting with "
            "'headrace_' are allowed: headrace_timings, headrace_route",
        ),
        ("any", {}, "parameter 'any' has no value"),
    ],
)
def test_refused_parameters(name: str, value: dict[str, Any], text: str) -> None:
    error = refusal(with_parameter(name, **value))

    assert isinstance(error, InvalidArgument)
    assert str(error) == text


def wanting(**parameters: pb.InferParameter) -> pb.ModelInferRequest:
    output = pb.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=parameters)
    return a_raw_request(outputs=[output])


def test_requested_outputs() -> None:
    assert decode(wanting()).outputs == [RequestedOutput("y")]
    assert decode(wanting(classification=pb.InferParameter(int64_param=3))).outputs == [
        RequestedOutput("y", 3)
    ]


def test_an_output_asked_for_twice_is_one_output() -> None:
    output = pb.ModelInferRequest.InferRequestedOutputTensor
    message = a_raw_request(outputs=[output(name="y"), output(name="z"), output(name="y")])

    assert decode(message).outputs == [RequestedOutput("y"), RequestedOutput("z")]


def test_refused_classification() -> None:
    wrong_type = refusal(wanting(classification=pb.InferParameter(string_param="3")))
    wrong_value = refusal(wanting(classification=pb.InferParameter(int64_param=0)))

    assert str(wrong_type) == "invalid value type for 'classification' parameter, expected int64_param"
    assert str(wrong_value) == "invalid value for 'classification' parameter, expected >= 1"


def test_shared_memory_is_refused() -> None:
    region = {"shared_memory_region": pb.InferParameter(string_param="r")}
    of_an_input = refusal(a_request(an_input(parameters=region)))
    of_an_output = refusal(wanting(**region))

    for error in (of_an_input, of_an_output):
        assert isinstance(error, Unimplemented)
        assert str(error) == (
            "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable."
        )
