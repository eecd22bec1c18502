"""Requests that are wrong in every way a payload can be: each is refused, and nobody else notices.

The case ids (C01, ...) are those of the hardening matrix. Around every case a control request on a connection
of its own is answered; after all of them the log tells of no bug, memory is back and the statistics add up.
"""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from adversity.observing import assert_sound, resident_bytes
from adversity.payloads import SERVICE, Caller, add, assert_counters_add_up, raw, request
from headrace.core.strings import pack
from headrace.pb.inference import grpc_service_pb2 as pb
from support import onnx_models
from support.server import ServerProcess

MEBIBYTE = 1 << 20
# What the process may keep after all of this: malloc's and ONNX Runtime's arenas keep what they once had.
KEPT_BYTES = 250 * MEBIBYTE
BATCH_OF_32 = """\
max_batch_size: 32
dynamic_batching: {preferred_batch_size: [32], max_queue_delay_microseconds: 500000}
"""

OK = grpc.StatusCode.OK
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
INTERNAL = grpc.StatusCode.INTERNAL

Case = tuple[pb.ModelInferRequest, str]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    onnx_models.write_models(folder)
    onnx_models.write(folder, "batch_of_32", onnx_models.lookup(), BATCH_OF_32)
    onnx_models.write(folder, "texts_of_32", onnx_models.identity("BYTES"), BATCH_OF_32)
    onnx_models.write(folder.parent / f"{folder.name}-outside", "outside", onnx_models.identity("FP32"))
    return folder


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[ServerProcess]:
    arguments = ("--model-control-mode=explicit", "--load-model=*")
    with ServerProcess(repository, *arguments) as server:
        yield server


@pytest.fixture(scope="module")
def caller(server: ServerProcess) -> Iterator[Caller]:
    caller = Caller(server.grpc_url)
    warm_up(caller)
    yield caller
    caller.channel.close()


@pytest.fixture(scope="module", autouse=True)
def sound_at_the_end(server: ServerProcess, caller: Caller) -> Iterator[None]:
    """The invariants around all cases: memory, log, queues, counters."""
    before = resident_bytes(server)
    pid = server.pid
    yield
    assert server.pid == pid
    assert_sound(server)
    assert_counters_add_up(server, caller)
    assert resident_bytes(server) - before < KEPT_BYTES
    assert server.terminate() == 0, server.log


@pytest.fixture(autouse=True)
def control(server: ServerProcess, caller: Caller) -> Iterator[None]:
    """A request by somebody else is answered after each case."""
    yield
    other = Caller(server.grpc_url)
    try:
        response = other.infer(request("fixed_fp64", x=("FP64", np.ones((2, 3)))), timeout_s=5)
        assert response.raw_output_contents[0] == np.ones((2, 3)).tobytes()
    finally:
        caller.answered += other.answered
        other.channel.close()


def warm_up(caller: Caller) -> None:
    for _ in range(100):
        caller.infer(request("identity_fp32", x=("FP32", np.ones((1, 64), np.float32))))


def of_size(datatype: str, rows: int, width: int) -> np.ndarray:
    """Elements of which no byte is cut off unnoticed."""
    array = onnx_models.array(datatype, (rows, width), seed=3)
    if datatype == "BYTES":
        array[...] = b"abcd"
    return array


# C01: the shape and the size of the data disagree.
def sizes_that_disagree() -> Iterator[Case]:
    for datatype in onnx_models.ELEMENT_TYPES:
        model = f"identity_{datatype.lower()}"
        for width in (3, 20_000):
            data = raw(of_size(datatype, 2, width))
            element = 8 if datatype == "BYTES" else len(data) // (2 * width)
            for cut in (data[:-1], data[:-element], data + data[:element], b""):
                yield request(model, x=(datatype, (2, width), cut)), "input 'x' for model"
            if element > 1:
                yield request(model, x=(datatype, (2, width), data + b"\0")), "input 'x' for model"
    four = np.ones((1, 4), np.float32)
    yield request("sums", a=("FP32", four), b=("FP32", (1, 4), bytes(15))), "input 'b' for model 'sums'"
    yield request("sums", a=("FP32", (1, 4), bytes(17)), b=("FP32", four)), "Expected 16, got 17"
    yield request("fixed_fp32", x=("FP32", (2, 3), bytes(20))), "Expected 24, got 20"
    yield request("identity_fp32", x=("FP32", (1, 2), {"fp32_contents": [1.0]})), "Expected 8, got 4"
    yield request("identity_int8", x=("INT8", (1, 2), {"int_contents": [1, 2, 3]})), "Expected 2, got 3"
    yield request("identity_bytes", x=("BYTES", (1, 2), {"bytes_contents": [b"a"]})), "holds 1 elements"


# C02: sizes that are no sizes, or whose product overflows.
def absurd_shapes() -> Iterator[Case]:
    data = np.ones(4, np.float32).tobytes()
    for shape in (
        (-1, 4),
        (1, -1),
        (-2, -2),
        (-(2**63), 1),
        (1, 2**31),
        (2**31, 1),
        (1, 2**63 - 1),
        (2**63 - 1, 2**63 - 1),
        (2**32, 2**32),
        (2**62, 4),
        (0, 2**63 - 1),
        (1, 2**31 - 1),
        (32, 2**29),
        (2**31 - 1, 1),
        (),
        (4,),
        (1, 1, 4),
        (1,) * 1000,
        (0,) * 33,
    ):
        yield request("identity_fp32", x=("FP32", shape, data)), ""
        yield request("identity_bytes", x=("BYTES", shape, data)), ""
    for shape in ((-1, 3, 1), (0, 3, 2**31), (0, 3, 2**31 - 1), (1, -3, 1), (1, 2, 1), (2**30, 3, 2**30)):
        yield request("variable", x=("FP32", shape, b"")), ""


# C03: datatypes that there are not, or that the model has not.
def wrong_datatypes() -> Iterator[Case]:
    for datatype in ("", "fp32", "FP8", "STRING", "TYPE_FP32", "FP32 ", "FP32\0", "ＦＰ３２", "x" * 10_000):
        yield request("identity_fp32", x=(datatype, (1, 1), bytes(4))), "unknown datatype"
    for datatype in onnx_models.ELEMENT_TYPES:
        if datatype != "FP32":
            yield (
                request("identity_fp32", x=(datatype, of_size(datatype, 1, 2))),
                f"data-type is '{datatype}', but model 'identity_fp32' expects 'FP32'",
            )


# C04: BYTES elements whose lengths lie.
def broken_strings() -> Iterator[Case]:
    for data, text in (
        (b"\x04\0\0\0abc", "declares 4 bytes, but only 3 bytes follow"),
        (b"\xff\xff\xff\xffabc", "declares 4294967295 bytes"),
        (b"\xff\xff\xff\x7f", "declares 2147483647 bytes"),
        (b"\x01\0\0", "breaks off within its 4-byte length"),
        (pack([b"a"]) + b"\0", "breaks off within its 4-byte length"),
        (pack([b"a"]) + b"junk junk", "declares"),
        (pack([b"a", b"b"]), "holds 2 elements, but shape [1"),
        (b"", "holds 0 elements"),
        (pack([b"\xff"]), "not UTF-8"),
        (pack(["é".encode()[:1]]), "not UTF-8"),
        (pack(["\ud800".encode("utf-8", "surrogatepass")]), "not UTF-8"),
    ):
        yield request("identity_bytes", x=("BYTES", (1, 1), data)), text


# C05: raw data and typed contents in each wrong combination.
def wrong_contents() -> Iterator[Case]:
    one = ("FP32", (1, 4), bytes(16))
    typed = ("FP32", (1, 4), {"fp32_contents": [1.0] * 4})
    nothing = ("FP32", (1, 4), None)
    yield request("sums", a=one, b=nothing), "unable to find data for input tensor 'b' for model 'sums'"
    yield request("sums", a=nothing, b=nothing), "unable to find data for input tensor 'a'"
    yield (
        request("sums", a=one, b=typed),
        "contents field must not be specified when using raw_input_contents",
    )
    yield (
        request("sums", a=typed, b=one),
        "contents field must not be specified when using raw_input_contents",
    )
    both = request("identity_fp32", x=("FP32", (1, 4), {"fp32_contents": [1.0] * 4}))
    both.raw_input_contents.append(bytes(16))
    yield both, "contents field must not be specified when using raw_input_contents for 'x'"
    more = request("sums", a=one, b=one)
    more.raw_input_contents.append(bytes(16))
    yield more, "3 raw_input_contents for 2 inputs"
    none = request("sums")
    none.raw_input_contents.append(bytes(16))
    yield none, "1 raw_input_contents for 0 inputs"
    for datatype, contents in (
        ("FP32", {"fp64_contents": [1.0]}),
        ("FP64", {"fp32_contents": [1.0]}),
        ("INT64", {"int_contents": [1]}),
        ("UINT8", {"int_contents": [1]}),
        ("BOOL", {"int_contents": [1]}),
        ("BYTES", {"fp32_contents": [1.0]}),
        ("FP16", {"fp32_contents": [1.0]}),
        ("BF16", {"fp32_contents": [1.0]}),
        ("FP32", {"fp32_contents": [1.0], "int_contents": [1]}),
    ):
        yield (
            request(f"identity_{datatype.lower()}", x=(datatype, (1, 1), contents)),
            "unexpected explicit tensor data for input tensor 'x' for model",
        )
    for datatype, field, value in (
        ("INT8", "int_contents", 128),
        ("INT16", "int_contents", -(2**15) - 1),
        ("UINT8", "uint_contents", 256),
        ("UINT16", "uint_contents", 2**16),
    ):
        contents = {field: [value]}
        yield (
            request(f"identity_{datatype.lower()}", x=(datatype, (1, 1), contents)),
            f"value {value} of input",
        )
    yield request("fixed_bytes", x=("BYTES", (2, 3), {})), "holds 0 elements"


# C06: inputs and outputs that are missing, too many, twice or unknown.
def wrong_names() -> Iterator[Case]:
    four = ("FP32", (1, 4), bytes(16))
    yield request("sums"), "expected 2 inputs but got 0 inputs for model 'sums'"
    yield request("sums", a=four), "missing required input(s) ['b']"
    yield request("sums", a=four, b=four, c=four), "unexpected inference input 'c' for model 'sums'"
    yield request("sums", a=four, A=four), "unexpected inference input 'A' for model 'sums'"
    twice = request("sums", a=four, b=four)
    add(twice, "a", *four)
    yield twice, "input 'a' already exists in request"
    nameless = request("identity_fp32")
    add(nameless, "", *four)
    yield nameless, "unexpected inference input ''"
    for name in ("z", "", "sum\0", "SUM", "x" * 5000):
        yield request("sums", a=four, b=four, outputs=("sum", name)), "unexpected inference output"
    many = request("sums", a=four, b=four, outputs=("sum",) * 100_000)
    yield many, "100000 outputs, but at most 256 are allowed"
    crowd = request("sums")
    for number in range(257):
        add(crowd, str(number), *four)
    yield crowd, "257 inputs, but at most 256 are allowed"


# C07: batches of no rows, of too many, of different sizes.
def wrong_batches() -> Iterator[Case]:
    def rows(count: int) -> tuple[str, tuple[int, int], bytes]:
        return "FP32", (count, 4), bytes(16 * count)

    yield request("sums", a=rows(0), b=rows(0)), "batch-size must be >= 1 for 'sums'"
    yield request("sums", a=rows(33), b=rows(33)), "batch-size must be <= 32 for 'sums', got 33"
    yield request("sums", a=rows(1), b=rows(2)), "input 'b' batch size does not match other inputs for 'sums'"
    yield request("fixed_batch", x=("FP32", (5, 3), bytes(60))), "batch-size must be <= 4 for 'fixed_batch'"
    yield request("reshaped", x=("FP32", (9, 1), bytes(36))), "batch-size must be <= 8 for 'reshaped'"


# C10: parameters of the wrong type, out of range, or reserved.
def wrong_parameters() -> Iterator[Case]:
    def asking(**value: Any) -> pb.ModelInferRequest:
        message = request("labelled", outputs=("y",), x=("FP32", (1, 3), bytes(12)))
        message.outputs[0].parameters["classification"].CopyFrom(pb.InferParameter(**value))
        return message

    def given(name: str, **value: Any) -> pb.ModelInferRequest:
        message = request("labelled", x=("FP32", (1, 3), bytes(12)))
        message.parameters[name].CopyFrom(pb.InferParameter(**value))
        return message

    for value in (
        {"string_param": "1"},
        {"bool_param": True},
        {"double_param": 1.0},
        {"uint64_param": 1},
        {},
    ):
        yield asking(**value), "invalid value type for 'classification' parameter"
    for count in (0, -1, -(2**63)):
        yield asking(int64_param=count), "invalid value for 'classification' parameter, expected >= 1"
    texts = request("fixed_bytes", outputs=("y",), x=("BYTES", (2, 3), pack([b""] * 6)))
    texts.outputs[0].parameters["classification"].int64_param = 1
    yield texts, "is BYTES"
    for name, value in (
        ("priority", {"string_param": "1"}),
        ("priority", {"int64_param": -1}),
        ("timeout", {"double_param": 1.0}),
        ("timeout", {"int64_param": -1}),
        ("sequence_start", {"int64_param": 1}),
        ("sequence_id", {"bool_param": True}),
        ("binary_data_output", {"string_param": "x"}),
        ("headrace_timings", {"int64_param": 1}),
        ("triton_enable_empty_final_response", {"string_param": "x"}),
        ("headers", {"string_param": "x"}),
        ("anything", {}),
    ):
        yield given(name, **value), f"'{name}'"
    for name in ("triton_final_response", "triton_", "headrace_anything"):
        yield given(name, bool_param=True), f"keys starting with '{name.split('_')[0]}_' are reserved"
    crowd = request("labelled", x=("FP32", (1, 3), bytes(12)))
    for number in range(257):
        crowd.parameters[str(number)].bool_param = True
    yield crowd, "257 parameters, but at most 256 are allowed"


CASES = {
    "C01 sizes that disagree": sizes_that_disagree,
    "C02 absurd shapes": absurd_shapes,
    "C03 wrong datatypes": wrong_datatypes,
    "C04 broken strings": broken_strings,
    "C05 wrong contents": wrong_contents,
    "C06 wrong names": wrong_names,
    "C07 wrong batches": wrong_batches,
    "C10 wrong parameters": wrong_parameters,
}


@pytest.mark.parametrize("cases", CASES.values(), ids=CASES)
def test_what_contradicts_the_protocol_or_the_model_is_an_invalid_argument(
    caller: Caller, cases: Any
) -> None:
    for number, (message, text) in enumerate(cases()):
        status, details = caller.outcome(message)
        where = f"case {number}: {str(message)[:300]}"
        assert status is INVALID_ARGUMENT, f"{where} got {status}: {details[:300]}"
        assert text in details, f"{where} got {details[:300]}"


@pytest.mark.parametrize("cases", CASES.values(), ids=CASES)
def test_the_same_is_told_in_a_stream_which_goes_on(caller: Caller, cases: Any) -> None:
    """Each wrong request stands between two good ones; the answers come in the order of the requests."""
    wrong = list(cases())
    good = request("fixed_int64", id="good", x=("INT64", np.arange(6).reshape(2, 3)))
    sent = [good]
    for number, (message, _) in enumerate(wrong):
        message.id = str(number)
        sent += [message, good]

    call = caller.channel.stream_stream(
        SERVICE + "ModelStreamInfer",
        pb.ModelInferRequest.SerializeToString,
        pb.ModelStreamInferResponse.FromString,
    )
    answers = list(call(iter(sent), timeout=60))

    caller.answered["fixed_int64"] += len(wrong) + 1
    assert len(answers) == len(sent)
    for index, answer in enumerate(answers):
        if index % 2 == 0:
            assert not answer.error_message
            assert answer.infer_response.raw_output_contents == good.raw_input_contents
        else:
            assert wrong[index // 2][1] in answer.error_message
            assert answer.error_message
            assert answer.infer_response.id == str(index // 2)


def test_refusals_are_quick(caller: Caller) -> None:
    """C02: a shape is judged by its numbers alone, whatever they would need in memory."""
    cases = [message for message, _ in absurd_shapes()]
    began_s = time.monotonic()
    for _ in range(5):
        for message in cases:
            assert caller.outcome(message)[0] is INVALID_ARGUMENT

    assert (time.monotonic() - began_s) / (5 * len(cases)) < 0.05


def test_refused_requests_leave_nothing_behind(server: ServerProcess, caller: Caller) -> None:
    """I3: thousands of them are no reason to grow."""
    cases = [message for cases in CASES.values() for message, _ in cases() if message.ByteSize() < 10_000]
    before = 0
    for turn in range(12):
        if turn == 2:
            before = resident_bytes(server)
        for message in cases:
            caller.outcome(message)

    assert resident_bytes(server) - before < 10 * MEBIBYTE


def test_a_shape_with_no_elements_is_served(caller: Caller) -> None:
    """C02: sizes of 0 are sizes, as long as the others are possible."""
    for model, datatype, shape in (
        ("identity_fp32", "FP32", (3, 0)),
        ("identity_bytes", "BYTES", (1, 0)),
        ("variable", "FP32", (0, 3, 0)),
        ("variable", "FP32", (0, 3, 2**20)),
        ("variable", "FP32", (2**20, 3, 0)),
    ):
        response = caller.infer(request(model, x=(datatype, shape, b"")))
        assert tuple(response.outputs[0].shape) == shape
        assert response.raw_output_contents[0] == b""


@pytest.mark.parametrize("byte", [2, 0x80, 0xFF])
def test_a_bool_that_is_neither_0_nor_1(caller: Caller, byte: int) -> None:
    """C03: it is refused, or taken for true; it never leaves the server as what no bool is."""
    message = request("identity_bool", x=("BOOL", (1, 2), bytes([byte, 1])))

    try:
        response = caller.infer(message)
    except grpc.RpcError as error:
        assert error.code() is INVALID_ARGUMENT
    else:
        assert response.raw_output_contents[0] == b"\1\1"


def test_strings_of_any_content(caller: Caller) -> None:
    """C04: NUL bytes, empty strings and every plane of Unicode come back as sent."""
    texts = [
        b"\0",
        b"",
        b"a\0b",
        b"\0\0\0",
        "é漢🙂\U0010ffff".encode(),
        b"x" * 100_000,
        "\ufeff\u202e".encode(),
    ]
    message = request("identity_bytes", x=("BYTES", (1, len(texts)), pack(texts)))

    assert caller.infer(message).raw_output_contents[0] == pack(texts)


def test_large_strings_are_refused_in_the_same_words(caller: Caller) -> None:
    """C04: wherever they are read."""
    small, large = (
        caller.outcome(request("identity_bytes", id="7", x=("BYTES", (1, count), bytes(4 * count - 1))))[1]
        for count in (10, 50_000)
    )

    assert small.replace("element 9 ", "") == large.replace("element 49999 ", "")


def test_inputs_in_any_order(caller: Caller) -> None:
    """C06: order is of no importance, names are."""
    a, b = np.ones((2, 4), np.float32), np.full((2, 4), 5, np.float32)

    response = caller.infer(request("sums", b=("FP32", b), a=("FP32", a)))

    values = dict(zip([output.name for output in response.outputs], response.raw_output_contents))
    assert values["difference"] == (a - b).tobytes()


def test_an_output_asked_for_twice_comes_once(caller: Caller) -> None:
    """C06"""
    four = np.ones((1, 4), np.float32)

    response = caller.infer(
        request("sums", a=("FP32", four), b=("FP32", four), outputs=("sum", "first", "sum"))
    )

    assert [output.name for output in response.outputs] == ["sum", "first"]


@pytest.mark.parametrize(
    ("field", "status"),
    [(b"\x2a\x00", INVALID_ARGUMENT), (b"\x32\x00", INVALID_ARGUMENT), (b"\x0a\x00", NOT_FOUND)],
)
def test_millions_of_empty_fields_are_refused(caller: Caller, field: bytes, status: grpc.StatusCode) -> None:
    """C06: 4 MiB of empty inputs, of empty requested outputs, of empty model names."""
    began_s = time.monotonic()

    assert caller.send_bytes(field * (2 * MEBIBYTE))[0] is status
    assert time.monotonic() - began_s < 5


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 100,
        b"\x0a\x05ab",
        b"\x0a\xff\xff\xff\xff\x0f",
        b"\x0a\x02\xff\xfe",
        b"\x2a\x03\x0a\x05a",
        b"\xf3\x01" * 10_000,
        b"\x00\x00",
        b"\x08" + b"\xff" * 20,
    ],
    ids=["noise", "cut off", "4 GiB long", "not UTF-8", "nested", "groups", "field 0", "varint"],
)
def test_bytes_that_are_no_message(caller: Caller, data: bytes) -> None:
    status, details = caller.send_bytes(data)

    assert status is INTERNAL
    assert details == "the request is not a valid inference.ModelInferRequest message"


SPECIAL = {
    "FP16": np.array([0, 0x8000, 1, 0x03FF, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0xFFFF, 0x7BFF], "<u2"),
    "BF16": np.array([0, 0x8000, 1, 0x007F, 0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0xFFFF, 0x7F7F], "<u2"),
    "FP32": np.array(
        [0, 1 << 31, 1, 0x7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 2**32 - 1], "<u4"
    ),
    "FP64": np.array(
        [0, 1 << 63, 1, 2**52 - 1, 0x7FF << 52, 0xFFF << 52, 0x7FF8 << 48, (0x7FF << 52) + 1], "<u8"
    ),
    **{
        name: np.array([np.iinfo(onnx_models.NUMPY[name]).min, -1 % 2, np.iinfo(onnx_models.NUMPY[name]).max])
        for name in ("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32")
    },
    "UINT64": np.array([0, 1, 2**64 - 1], "<u8"),
}


@pytest.mark.parametrize("datatype", SPECIAL)
def test_special_numbers_keep_every_bit(caller: Caller, datatype: str) -> None:
    """C08: signed zeros, denormals, infinities, quiet and signalling NaNs, least and greatest integers."""
    bits = SPECIAL[datatype]
    size = onnx_models.NUMPY[datatype].itemsize
    data = bits.astype(f"<u{size}" if bits.dtype.kind == "u" else f"<i{size}").tobytes()

    response = caller.infer(request(f"identity_{datatype.lower()}", x=(datatype, (1, len(bits)), data)))

    assert response.raw_output_contents[0] == data


@pytest.mark.parametrize(("datatype", "field"), [("FP32", "fp32_contents"), ("FP64", "fp64_contents")])
def test_special_numbers_in_typed_contents(caller: Caller, datatype: str, field: str) -> None:
    """C08: a NaN's payload is not kept by every client's protobuf; that it is one is."""
    numbers = [-0.0, float("inf"), float("-inf"), 1e-45 if datatype == "FP32" else 5e-324, float("nan")]
    contents = {field: numbers}

    data = caller.infer(request(f"identity_{datatype.lower()}", x=(datatype, (1, 5), contents)))

    got = np.frombuffer(data.raw_output_contents[0], onnx_models.NUMPY[datatype])
    assert np.array_equal(got, np.array(numbers, got.dtype), equal_nan=True)
    assert np.signbit(got[0])


@pytest.mark.parametrize("count", [2, 3, 4, 2**31, 2**63 - 1])
def test_any_number_of_classes_above_0(caller: Caller, count: int) -> None:
    """C10: no more come than there are."""
    message = request("labelled", outputs=("y",), x=("FP32", np.array([[3, 1, 2]], np.float32)))
    message.outputs[0].parameters["classification"].int64_param = count

    response = caller.infer(message)

    best = [b"3.000000:0:zero", b"2.000000:2:two", b"1.000000:1:one"][:count]
    assert response.raw_output_contents[0] == pack(best)
    assert list(response.outputs[0].shape) == [1, len(best)]


def test_parameters_nobody_knows_are_the_models_affair(caller: Caller) -> None:
    """C10: as in Triton, they are handed on."""
    message = request("labelled", x=("FP32", (1, 3), bytes(12)))
    message.parameters["my own"].string_param = "x" * 10_000
    message.parameters[""].double_param = float("nan")
    message.parameters["big"].uint64_param = 2**64 - 1
    for number in range(200):
        message.parameters[str(number)].int64_param = number

    assert caller.infer(message).model_name == "labelled"


IDS = {
    "empty": "",
    "long": "i" * 65536,
    "unicode": "ü漢🙂\u202e",
    "newline": "a\nFATAL forged line",
    "terminal": "\x1b[31mred\x1b[0m\r\x07",
    "path": "../../etc/passwd",
    "nul": "a\0b",
}


@pytest.mark.parametrize("request_id", IDS.values(), ids=IDS)
def test_the_request_id_comes_back_and_nowhere_else(
    server: ServerProcess, caller: Caller, request_id: str
) -> None:
    """C11: in answers and in errors; in the log only what cannot forge a line."""
    good = request("fixed_int8", id=request_id, x=("INT8", (2, 3), bytes(6)))
    wrong = request("fixed_int8", id=request_id, x=("INT8", (2, 3), bytes(5)))
    failing = request("lookup", id=request_id, x=("INT64", np.array([[99]])))

    assert caller.infer(good).id == request_id
    assert caller.outcome(wrong)[0] is INVALID_ARGUMENT
    assert caller.outcome(failing)[0] is INTERNAL
    assert "\x1b" not in server.log
    assert "\nFATAL" not in server.log


def test_a_long_request_id_leaves_room_for_the_reason(caller: Caller) -> None:
    """C11"""
    message = request("fixed_int8", id="i" * 65536, x=("INT8", (2, 3), bytes(5)))

    assert "Expected 6, got 5" in caller.outcome(message)[1]


NAMES = [
    "",
    " ",
    ".",
    "..",
    "../x",
    "/etc",
    "/etc/passwd",
    "a/b",
    "a\\b",
    "%2e%2e",
    "%2e%2e%2f",
    "..%5cx",
    ".hidden",
    "con",
    "nul\0nul",
    "new\nline",
    "fixed_int8 ",
    "Fixed_int8",
    "fixed_int8/1",
    "ｆixed_int8",
    "fixed_int8\u202e",
    "é",
    "e\u0301",
    "x" * 10_240,
    "http://169.254.169.254/latest",
    "file:///etc/passwd",
    "s3://bucket/model",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:30])
def test_names_that_are_no_models(caller: Caller, name: str) -> None:
    """C12: unknown to every method, and never a path."""
    status, details = caller.outcome(request(name, x=("INT8", (2, 3), bytes(6))))
    assert status is NOT_FOUND
    assert "Request for unknown model" in details

    for message in (
        pb.ModelMetadataRequest(name=name),
        pb.ModelConfigRequest(name=name),
    ):
        method = type(message).DESCRIPTOR.name.removesuffix("Request")
        assert refused(caller, method, message) is NOT_FOUND
    ready = caller.call("ModelReady", pb.ModelReadyRequest(name=name), pb.ModelReadyResponse)
    assert not ready.ready
    for message in (
        pb.RepositoryModelLoadRequest(model_name=name),
        pb.RepositoryModelUnloadRequest(model_name=name),
    ):
        method = type(message).DESCRIPTOR.name.removesuffix("Request")
        assert refused(caller, method, message) in (NOT_FOUND, INVALID_ARGUMENT, INTERNAL)
    index = caller.call("RepositoryIndex", pb.RepositoryIndexRequest(), pb.RepositoryIndexResponse)
    assert name not in {model.name for model in index.models}


def test_a_model_beside_the_repository_is_out_of_reach(caller: Caller, repository: Path) -> None:
    """C12: it is there, and could be loaded if a name were a path."""
    folder = f"{repository.name}-outside"
    assert (repository.parent / folder / "outside" / "1" / "model.onnx").is_file()

    for name in (
        f"../{folder}/outside",
        f"{repository.parent}/{folder}/outside",
        f"sums/../../{folder}/outside",
    ):
        load = pb.RepositoryModelLoadRequest(model_name=name)
        assert refused(caller, "RepositoryModelLoad", load) in (NOT_FOUND, INVALID_ARGUMENT, INTERNAL)
        assert caller.outcome(request(name, x=("FP32", (1, 1), bytes(4))))[0] is NOT_FOUND


def refused(caller: Caller, method: str, message: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        caller.call(method, message)
    status: grpc.StatusCode = caught.value.code()
    return status


VERSIONS = [
    "-1",
    "0",
    "00",
    "1.0",
    "+1",
    " 1",
    "1 ",
    "0x1",
    "1e0",
    "１",
    "latest",
    "../1",
    "9" * 19,
    "9" * 5000,
    "\0",
]


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: repr(version)[:30])
def test_versions_that_are_none(caller: Caller, version: str) -> None:
    """C12"""
    message = request("fixed_int8", version=version, x=("INT8", (2, 3), bytes(6)))

    assert caller.outcome(message)[0] in (INVALID_ARGUMENT, NOT_FOUND)
    for asking in (
        pb.ModelMetadataRequest(name="fixed_int8", version=version),
        pb.ModelConfigRequest(name="fixed_int8", version=version),
        pb.ModelStatisticsRequest(name="fixed_int8", version=version),
        pb.ModelReadyRequest(name="fixed_int8", version=version),
    ):
        method = type(asking).DESCRIPTOR.name.removesuffix("Request")
        assert refused(caller, method, asking) in (INVALID_ARGUMENT, NOT_FOUND)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            request("select", x=("FP32", (2, 4), bytes(32)), flag=("BOOL", (2, 1), b"\0\1")),
            "gave output 'y' with shape [1, 4], but [2, 4] was expected",
        ),
        (request("fill", shape=("INT64", np.array([2**25, 2**25]))), "Failed to allocate memory"),
        (request("fill", shape=("INT64", np.array([-1, 2]))), "model 'fill' failed"),
        (request("fill", shape=("INT64", np.array([2**62, 2**62]))), "model 'fill' failed"),
        (request("lookup", x=("INT64", np.array([[99]]))), "indices element out of data bounds"),
    ],
    ids=["wrong shape", "4 PiB", "negative", "overflow", "raises"],
)
def test_a_model_that_fails_is_an_internal_error_with_its_reason(
    caller: Caller, message: pb.ModelInferRequest, text: str
) -> None:
    """C13"""
    status, details = caller.outcome(message)

    assert status is INTERNAL
    assert text in details


def test_a_model_may_answer_with_nothing(caller: Caller) -> None:
    """C13: an output without elements is an answer."""
    response = caller.infer(request("fill", shape=("INT64", np.array([0, 7]))))

    assert list(response.outputs[0].shape) == [0, 7]
    assert response.raw_output_contents[0] == b""


def test_an_output_that_is_the_input_is_each_callers_own(server: ServerProcess, caller: Caller) -> None:
    """C14: `first` may share memory with the batch's input; neighbours and later batches leave it alone."""

    def one(number: int) -> bool:
        a = np.full((2, 4), number, np.float32)
        message = request("sums", a=("FP32", a), b=("FP32", -a), outputs=("first", "sum"))
        response = caller.infer(message)
        return list(response.raw_output_contents) == [a.tobytes(), bytes(32)]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(1, 801)))


def test_an_invalid_request_leaves_its_neighbours_unharmed(caller: Caller) -> None:
    """C15: 1 of 32 is refused, 31 are answered."""
    outcomes = together(caller, wrong=request("batch_of_32", x=("INT64", (1, 2), bytes(8))))

    assert Counter(outcomes) == {OK: 31, INVALID_ARGUMENT: 1}


def test_a_request_that_fails_in_the_model_leaves_its_batch_unharmed(caller: Caller) -> None:
    """C15: 1 of 32 makes the model raise, 31 are answered."""
    outcomes = together(caller, wrong=request("batch_of_32", x=("INT64", (1, 1), (99).to_bytes(8, "little"))))

    assert Counter(outcomes) == {OK: 31, INTERNAL: 1}


def test_large_strings_that_break_off_leave_their_batch_unharmed(caller: Caller) -> None:
    """C15: such are read with their batch, not before."""

    def one(number: int) -> grpc.StatusCode:
        data = pack([b"%d" % number] * 20_000)
        if number == 7:
            data = data[:-1] + b"\xff"
        return caller.outcome(request("texts_of_32", x=("BYTES", (1, 20_000), data)))[0]

    with ThreadPoolExecutor(32) as pool:
        outcomes = list(pool.map(one, range(32)))

    assert [number for number, status in enumerate(outcomes) if status is not OK] == [7]
    assert outcomes[7] is INVALID_ARGUMENT


def together(caller: Caller, wrong: pb.ModelInferRequest) -> list[grpc.StatusCode]:
    """What 31 good requests and `wrong` among them are answered with, sent at the same time."""

    def one(number: int) -> grpc.StatusCode:
        if number == 7:
            return caller.outcome(wrong)[0]
        value = number % onnx_models.LOOKUP_SIZE
        message = request("batch_of_32", x=("INT64", np.array([[value]])))
        try:
            response = caller.infer(message)
        except grpc.RpcError as error:
            status: grpc.StatusCode = error.code()
            return status
        assert response.raw_output_contents[0] == np.array([[value * 11]]).tobytes()
        return OK

    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(one, range(32)))
