"""The codec against protobuf's own classes: both write and read the same."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from headrace.core.request import InferenceResponse, Parameter, Timings
from headrace.core.tensor import DATATYPES, DataType, Tensor
from headrace.core.varint import varint
from headrace.errors import HeadraceError, Internal
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.transport.grpc import encode
from headrace.transport.grpc.decode import decode_request
from headrace.transport.grpc.raw_contents import split

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text("xyzé_", min_size=1, max_size=200)
int64s = st.integers(-(2**63), 2**63 - 1)
parameter_values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), texts
)
buffers = st.binary(max_size=300).flatmap(
    lambda data: st.sampled_from([data, bytearray(data), memoryview(data), memoryview(data)[1:]])
)
tensors = st.builds(
    Tensor,
    name=names,
    datatype=st.sampled_from(DataType),
    shape=st.lists(st.integers(0, 2**62), max_size=5).map(tuple),
    data=buffers,
)
timings = st.builds(Timings, *[st.integers(0, 2**60) for _ in range(5)], batch_rows=st.integers(0, 2**40))
responses = st.builds(
    InferenceResponse,
    model_name=texts,
    model_version=texts,
    id=texts,
    outputs=st.lists(tensors, max_size=4),
    parameters=st.dictionaries(texts, parameter_values, max_size=4),
    timings=st.none() | timings,
)


def parameter(value: Parameter) -> pb.InferParameter:
    match value:
        case bool():
            return pb.InferParameter(bool_param=value)
        case int():
            return (
                pb.InferParameter(uint64_param=value)
                if value >= 2**63
                else pb.InferParameter(int64_param=value)
            )
        case float():
            return pb.InferParameter(double_param=value)
        case str():
            return pb.InferParameter(string_param=value)


def by_protobuf(response: InferenceResponse) -> pb.ModelInferResponse:
    parameters = dict(response.parameters)
    if response.timings is not None:
        parameters |= response.timings.to_parameters()
    return pb.ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.id,
        parameters={name: parameter(value) for name, value in parameters.items()},
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=output.name, datatype=output.datatype.value, shape=output.shape
            )
            for output in response.outputs
        ],
        raw_output_contents=[bytes(output.data) for output in response.outputs],
    )


@given(responses)
def test_a_written_response_is_protobufs(response: InferenceResponse) -> None:
    for _ in range(2):  # the second time from what is remembered
        assert pb.ModelInferResponse.FromString(encode.encode_response(response)) == by_protobuf(response)


@given(responses)
def test_a_written_stream_response_is_protobufs(response: InferenceResponse) -> None:
    expected = pb.ModelStreamInferResponse(infer_response=by_protobuf(response))
    expected.infer_response.parameters["triton_final_response"].bool_param = True

    assert pb.ModelStreamInferResponse.FromString(encode.encode_stream_response(response)) == expected


@given(texts, texts)
def test_a_written_stream_error_is_protobufs(request_id: str, message: str) -> None:
    written = pb.ModelStreamInferResponse.FromString(encode.encode_stream_error(request_id, message))

    assert written.error_message == message
    assert written.infer_response.id == request_id
    assert written.infer_response.parameters["triton_final_response"].bool_param


@given(st.integers(0, 2**64 - 1))
def test_varint(value: int) -> None:
    assert pb.StatisticDuration.FromString(b"\x08" + varint(value)).count == value


def test_what_is_remembered_is_bounded() -> None:
    for index in range(3 * encode.MAX_HEADS):
        response = InferenceResponse("m", str(index), "", [Tensor("y", DataType.BYTES, (1,), bytes(index))])
        assert pb.ModelInferResponse.FromString(encode.encode_response(response)) == by_protobuf(response)

    assert len(encode._heads) <= encode.MAX_HEADS
    assert len(encode._raw_prefixes) <= encode.MAX_RAW_PREFIXES


request_tensors = st.builds(
    Tensor,
    name=names,
    datatype=st.sampled_from(DataType),
    shape=st.lists(st.integers(0, 15), max_size=5).map(tuple),
    data=st.binary(max_size=100),
)


@given(st.lists(request_tensors, max_size=5, unique_by=lambda tensor: tensor.name), texts, texts, texts)
def test_a_raw_request_is_read_as_it_was_written(
    inputs: list[Tensor], model_name: str, model_version: str, request_id: str
) -> None:
    message = pb.ModelInferRequest(
        model_name=model_name,
        model_version=model_version,
        id=request_id,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=each.name, datatype=each.datatype.value, shape=each.shape
            )
            for each in inputs
        ],
        raw_input_contents=[bytes(each.data) for each in inputs],
    )

    data = message.SerializeToString()
    read(data)

    request = decode_request(data, 5, 9)

    assert (request.model_name, request.model_version, request.id) == (model_name, model_version, request_id)
    assert request.inputs == inputs
    assert (request.arrived_ns, request.deadline_ns, request.outputs) == (5, 9, [])


TYPED = {
    "BOOL": ("bool_contents", st.booleans()),
    "INT8": ("int_contents", st.integers(-128, 127)),
    "INT16": ("int_contents", st.integers(-(2**15), 2**15 - 1)),
    "INT32": ("int_contents", st.integers(-(2**31), 2**31 - 1)),
    "INT64": ("int64_contents", int64s),
    "UINT8": ("uint_contents", st.integers(0, 255)),
    "UINT16": ("uint_contents", st.integers(0, 2**16 - 1)),
    "UINT32": ("uint_contents", st.integers(0, 2**32 - 1)),
    "UINT64": ("uint64_contents", st.integers(0, 2**64 - 1)),
    "FP32": ("fp32_contents", st.floats(width=32)),
    "FP64": ("fp64_contents", st.floats()),
}


@given(st.data(), st.sampled_from(sorted(TYPED)))
def test_typed_contents_become_raw_ones(data: st.DataObject, datatype: str) -> None:
    field, values = TYPED[datatype]
    elements = data.draw(st.lists(values, min_size=1, max_size=20))
    message = pb.ModelInferRequest(
        model_name="m",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name="x", datatype=datatype, shape=[len(elements)], contents={field: elements}
            )
        ],
    )

    (tensor,) = decode_request(message.SerializeToString(), 0).inputs

    assert tensor.data == np.array(elements, DATATYPES[datatype].numpy).tobytes()


def parsed(data: bytes) -> pb.ModelInferRequest | None:
    try:
        return pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return None


def read(data: bytes) -> None:
    """A request, or a documented error, and nothing else; and splitting it changes nothing."""
    message = parsed(data)
    parts = split(data)
    if parts is not None:
        rest, raws = parts
        joined = parsed(rest)
        if joined is not None:
            joined.raw_input_contents.extend(bytes(raw) for raw in raws)
        assert joined == message
    try:
        decode_request(data, 0)
    except HeadraceError as error:
        assert str(error)
        assert isinstance(error, Internal) is (message is None)
    else:
        assert message is not None


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    read(data)


@pytest.mark.parametrize("model_name", ["m" * length for length in range(1, 9)])
def test_a_large_request_is_read_as_it_was_written_and_aligned(model_name: str) -> None:
    raws = [bytes([index]) * 30_000 for index in range(3)]
    message = pb.ModelInferRequest(
        model_name=model_name,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=str(index), datatype="UINT8", shape=[30_000])
            for index in range(3)
        ],
        raw_input_contents=raws,
    )

    tensors = decode_request(message.SerializeToString(), 0).inputs

    assert [tensor.name for tensor in tensors] == ["0", "1", "2"]
    assert [tensor.data for tensor in tensors] == raws
    assert all(np.frombuffer(tensor.data, np.float64).flags.aligned for tensor in tensors)
    read(message.SerializeToString())


@given(st.data())
def test_a_damaged_request_is_read_or_refused(data: st.DataObject) -> None:
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="x", datatype="FP32", shape=[1, 2], contents={"fp32_contents": [1, 2]}
    )
    message = pb.ModelInferRequest(
        model_name="m", id="1", inputs=[tensor, tensor], raw_input_contents=[b"12"]
    )
    message.parameters["priority"].int64_param = 3
    message.outputs.add(name="y").parameters["classification"].int64_param = 2
    damaged = bytearray(message.SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    read(bytes(damaged))
