"""What people send for a prediction, as values that fit the model's inputs, and what they get back."""

import io
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from headrace.core import strings
from headrace.core.request import InferenceResponse
from headrace.core.tensor import DataType, Tensor, TensorSpec
from headrace.errors import HeadraceError, InvalidArgument
from headrace.repository.config import ImageInput, ImageLayout, ImageResize
from headrace.service.answers import ModelTensors
from headrace.transport.http.fitting import fit
from headrace.transport.http.image_body import PictureInput, picture_input, read_image, to_input
from headrace.transport.http.messages import HttpError, HttpRequest
from headrace.transport.http.predict_body import read_body, to_array
from headrace.transport.http.rows import rows_of
from headrace.transport.limits import DEFAULT_LIMITS, Limits

JSON = "application/json"
F4 = np.dtype("f4")


def spec(name="x", datatype=DataType.FP32, dims=(2,), is_optional=False):
    return TensorSpec(name, datatype, dims, dims, is_optional)


def model(*inputs, outputs=(), max_batch_size=8, image=None):
    return ModelTensors("m", max_batch_size, inputs or (spec(),), tuple(outputs), image)


def columns(body, media_type=JSON, of=None):
    headers = {"content-type": media_type} if media_type else {}
    request = HttpRequest("POST", "/v1/predict/m", "", headers, body, 0)
    return read_body(request, of or model(), DEFAULT_LIMITS)


def refusal(body, media_type=JSON, of=None):
    with pytest.raises(HeadraceError) as refused:
        columns(body, media_type, of)
    return str(refused.value)


def listed(found):
    return {name: values.tolist() for name, values in found.items()}


TWO = model(spec("a", dims=(1,)), spec("b", DataType.INT64, (1,)))


@pytest.mark.parametrize(
    ("body", "of", "expected"),
    [
        (b"[[1, 2], [3, 4]]", None, {"x": [[1, 2], [3, 4]]}),
        (b"[1, 2]", None, {"x": [1, 2]}),
        (b'{"inputs": [[1, 2]]}', None, {"x": [[1, 2]]}),
        (b'{"inputs": {"x": [[1, 2]]}}', None, {"x": [[1, 2]]}),
        (b'{"x": [[1, 2]]}', None, {"x": [[1, 2]]}),
        (b'[{"a": 1.5, "b": 2}, {"b": 4, "a": 3.5}]', TWO, {"a": [1.5, 3.5], "b": [2, 4]}),
        (b'{"inputs": {"a": [1.5], "b": [2]}}', TWO, {"a": [1.5], "b": [2]}),
    ],
    ids=["rows", "one row", "inputs as rows", "inputs by name", "columns", "records", "several inputs"],
)
def test_json_in_the_forms_that_people_have(body, of, expected):
    assert listed(columns(body, of=of)) == expected


def test_curl_says_form_where_it_is_not_told_otherwise():
    assert listed(columns(b"[1, 2]", "application/x-www-form-urlencoded")) == {"x": [1, 2]}
    assert listed(columns(b"[1, 2]", "")) == {"x": [1, 2]}
    assert listed(columns(b"[1, 2]", "application/json; charset=utf-8")) == {"x": [1, 2]}


@pytest.mark.parametrize(
    ("body", "of", "message"),
    [
        (b"[[1, 2], [3]]", None, "the rows is no regular array: its lists differ in length"),
        (b"[[1, 2]]", TWO, "model 'm' has several inputs: give values for a, b by name"),
        (b'[{"a": 1}, {"b": 1}]', TWO, "row 1 has the fields b: expected a"),
        (b'{"inputs": [], "parameters": {}}', None, "'parameters' is not known beside 'inputs'"),
        (b"[1,", None, "failed to parse the request JSON buffer"),
    ],
    ids=["ragged", "unnamed", "records differ", "extra", "broken"],
)
def test_json_that_cannot_be_told(body, of, message):
    assert message in refusal(body, of=of)


@pytest.mark.parametrize(
    ("text", "of", "expected"),
    [
        ("1,2\n3,4\n", None, {"x": [[1, 2], [3, 4]]}),
        ("left,right\r\n1,2\r\n", None, {"x": [[1, 2]]}),
        ("﻿1,2", None, {"x": [[1, 2]]}),
        ("b,a\n4,1.5\n5,2.5\n", TWO, {"a": [1.5, 2.5], "b": [4, 5]}),
        ('text\nhello\n"a, b"\n', model(spec("text", DataType.BYTES, (1,))), {"text": ["hello", "a, b"]}),
        ("true\n0\n", model(spec("x", DataType.BOOL, (1,))), {"x": [[True], [False]]}),
    ],
    ids=["numbers", "header", "byte order mark", "columns by name", "texts", "booleans"],
)
def test_csv(text, of, expected):
    assert listed(columns(text.encode(), "text/csv", of)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the CSV has no lines"),
        ("1,2\n3\n", "row 2 of the CSV has 1 values, but the first one has 2"),
        ("1,2\n3,x\n", "the CSV has a value that is not FP32, for input 'x'"),
    ],
)
def test_csv_that_cannot_be_told(text, message):
    assert message in refusal(text.encode(), "text/csv")


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_npy_is_known_by_its_first_bytes():
    array = np.array([[1, 2]], np.float64)
    assert listed(columns(npy(array), "application/x-www-form-urlencoded")) == {"x": [[1, 2]]}
    assert listed(columns(npy(array), "application/octet-stream")) == {"x": [[1, 2]]}


def test_npy_with_pickled_objects_is_never_opened():
    assert "elements of type |O:" in refusal(npy(np.array([{}], object), allow_pickle=True))
    assert "has 71 bytes of data" in refusal(npy(np.zeros(9))[:-1])


def test_text_is_one_string():
    of = model(spec("text", DataType.BYTES, (1,)))
    assert listed(columns("grüß".encode(), "text/plain", of)) == {"text": ["grüß"]}
    assert "the body is not UTF-8" in refusal(b"\xff", "text/plain", of)
    assert "but input 'x' is FP32" in refusal(b"1", "text/plain")


def test_other_kinds_of_bodies_are_told_what_is_taken():
    with pytest.raises(
        HttpError, match="'application/xml' is not known: expected application/json"
    ) as refused:
        columns(b"<x/>", "application/xml")
    assert refused.value.http_status == 415


@pytest.mark.parametrize(
    ("dims", "given", "shape"),
    [
        ((2,), (5, 2), (5, 2)),
        ((2,), (2,), (1, 2)),
        ((8, 8), (3, 64), (3, 8, 8)),
        ((8, 8), (64,), (1, 8, 8)),
        ((8, 8), (8, 8), (1, 8, 8)),
        ((1,), (7,), (7, 1)),
        ((), (7,), (7,)),
        ((), (), (1,)),
        ((1,), (), (1, 1)),
        ((-1, 3), (2, 3), (1, 2, 3)),
        ((-1, 3), (4, 2, 3), (4, 2, 3)),
        ((8, 8), (3, 63), None),
        ((-1, 3), (6,), None),
    ],
)
def test_shapes_that_people_mean(dims, given, shape):
    values = np.zeros(given, np.float32)
    if shape is not None:
        assert fit(spec(dims=dims), values, batches=True).shape == shape
        return
    with pytest.raises(InvalidArgument, match="has values of shape"):
        fit(spec(dims=dims), values, batches=True)


def test_without_a_batch_the_values_are_the_tensor():
    assert fit(spec(dims=(2, 3)), np.zeros((2, 3)), batches=False).shape == (2, 3)
    assert fit(spec(dims=(2, 3)), np.zeros(6), batches=False).shape == (2, 3)
    assert fit(spec(dims=(-1,)), np.zeros(6), batches=False).shape == (6,)


@pytest.mark.parametrize(
    ("datatype", "values", "message"),
    [
        (DataType.INT8, [[1, 300]], "has the value 300, which INT8 cannot hold"),
        (DataType.UINT8, [[1, -1]], "has the value -1, which UINT8 cannot hold"),
        (DataType.INT32, [[1.5, 2]], "has the value 1.5, which INT32 cannot hold"),
        (DataType.FP32, [[1e39, 0]], "has the value 1e\\+39, which FP32 cannot hold"),
        (DataType.FP32, [["1", "2"]], "is FP32: expected numbers"),
        (DataType.BOOL, [[1, 0]], "is BOOL: expected true or false"),
        (DataType.BYTES, [[1, 2]], "is BYTES: expected strings"),
    ],
)
def test_values_that_a_datatype_cannot_hold(datatype, values, message):
    with pytest.raises(InvalidArgument, match=message):
        fit(spec(datatype=datatype), np.array(values), batches=True)


@pytest.mark.parametrize("datatype", [each for each in DataType if each is not DataType.BYTES])
def test_every_datatype_of_numbers_keeps_its_values(datatype):
    values = np.array([[0, 1]], bool) if datatype is DataType.BOOL else np.array([[0, 1]])
    tensor = fit(spec(datatype=datatype), values, batches=True)
    response = InferenceResponse("m", "1", "", [Tensor("x", datatype, tensor.shape, tensor.data)])
    (row,) = rows_of(response, model())
    assert row["x"].tolist() == [0, 1]


def test_bf16_is_rounded_to_the_nearest_with_ties_to_even():
    values = np.array([1.00390625, 1.01171875, -1.00390625, 3.0], np.float32)  # two are halfway
    tensor = fit(spec(datatype=DataType.BF16, dims=(4,)), values, batches=True)
    assert np.frombuffer(tensor.data, "<u2").tolist() == [0x3F80, 0x3F82, 0xBF80, 0x4040]


def test_rows_have_values_of_one_element_without_lists_and_texts_as_texts():
    outputs = [
        Tensor("score", DataType.FP32, (2, 1), np.array([0.5, 1.5], np.float32).tobytes()),
        Tensor("pair", DataType.INT64, (2, 2), np.arange(4).tobytes()),
        Tensor("word", DataType.BYTES, (2, 1), strings.pack([b"a", b"\xff"])),
    ]
    first, second = rows_of(InferenceResponse("m", "1", "", outputs), model())
    assert (first["score"], first["pair"].tolist(), first["word"]) == (0.5, [0, 1], "a")
    assert second["word"] == "�"


def test_a_model_without_batches_gives_one_row():
    output = Tensor("y", DataType.INT64, (3,), np.arange(3).tobytes())
    (row,) = rows_of(InferenceResponse("m", "1", "", [output]), model(max_batch_size=0))
    assert row["y"].tolist() == [0, 1, 2]


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(file, "PNG")
    return file.getvalue()


def image(**changes):
    settings = {"name": "x", "mode": "L", "layout": ImageLayout.HW, "width": None, "height": None}
    return ImageInput(**(settings | changes))


def test_a_picture_becomes_the_input_that_the_configuration_describes():
    body = png([[0, 255], [51, 102]])
    found = read_image(body, PictureInput(image(scale=1 / 255), F4))
    assert np.allclose(found["x"], [[0, 1], [0.2, 0.4]])


def test_channels_are_ordered_scaled_and_normalised_as_declared():
    pixels = np.array([[[10.0, 20.0, 30.0]]], np.float32)
    chw = to_input(pixels, image(mode="RGB", layout=ImageLayout.CHW, mean=(10, 10, 10), std=(1, 2, 4)), F4)
    assert chw.tolist() == [[[0]], [[5]], [[5]]]
    hwc = to_input(pixels, image(mode="BGR", layout=ImageLayout.HWC), F4)
    assert hwc.tolist() == [[[30, 20, 10]]]


@pytest.mark.parametrize(
    ("resize", "expected"),
    [
        (ImageResize.STRETCH, [[255, 255], [255, 255]]),
        (ImageResize.CROP, [[255, 255], [255, 255]]),
        (ImageResize.PAD, [[255, 255], [0, 0]]),
    ],
)
def test_pictures_of_another_size_are_made_to_fit(resize, expected):
    body = png(np.full((2, 4), 255))
    (values,) = read_image(body, PictureInput(image(width=2, height=2, resize=resize), F4)).values()
    assert values.tolist() == expected


def test_what_is_no_picture_is_told_what_would_be_one():
    with pytest.raises(InvalidArgument, match="the body is no picture: expected one of PNG, JPEG"):
        read_image(b"GIF?", PictureInput(image(), F4))
    with pytest.raises(InvalidArgument, match="the picture cannot be read"):
        read_image(png(np.zeros((50, 50)))[:-40], PictureInput(image(), F4))


def test_a_picture_of_too_many_pixels_is_not_unpacked():
    small = png([[0]])
    start, end = small.index(b"IHDR"), small.index(b"IHDR") + 17
    head = b"IHDR" + (60000).to_bytes(4, "big") * 2 + small[start + 12 : end]
    huge = small[:start] + head + zlib.crc32(head).to_bytes(4, "big") + small[end + 4 :]
    with pytest.raises(InvalidArgument, match="has 60000 x 60000 pixels: at most 67108864 are allowed"):
        read_image(huge, PictureInput(image(), F4))


def test_models_that_take_no_pictures_say_so():
    with pytest.raises(HttpError, match="does not say how a picture becomes an input") as refused:
        picture_input(model())
    assert refused.value.http_status == 415


def test_integers_may_be_written_with_a_point():
    tensor = fit(spec(datatype=DataType.INT64), np.array([[1.0, 2.0]]), batches=True)
    assert np.frombuffer(tensor.data, np.int64).tolist() == [1, 2]


def test_truth_is_no_number():
    with pytest.raises(InvalidArgument, match="is FP32: expected numbers"):
        fit(spec(), np.array([[True, False]]), batches=True)


def header(text):
    """The first bytes of an .npy file that says `text` of itself."""
    padded = text.ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{'descr': '<U0', 'fortran_order': False, 'shape': (2000000000,), }", "elements of type <U0"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 30), }", "has 0 bytes of data"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", "elements of type [|]O:"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", "no valid .npy file|means"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "no dictionary with a simple"),
        ("nonsense", "no valid .npy file"),
    ],
)
def test_npy_headers_are_held_against_the_body(text, words):
    with pytest.raises(InvalidArgument, match=words):
        columns(header(text), "application/x-npy")


HOSTILE_HEADERS = {
    "deep brackets": "(" * 500,
    "deep lists": "[" * 300,
    "deep dictionaries": "{" * 150,
    "signs": "-" * 4000 + "1",
    "a sum": "1" + "+1" * 2000,
    "signs in the shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (%s1,), }" % ("-" * 3000),
    "a long text": "{'descr': '<f4%s', 'fortran_order': False, 'shape': (1,), }" % ("4" * 3000),
    "a text without an end": "{'descr': '<f4, 'fortran_order': False, 'shape': (1,), }",
    "many commas": "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }" % ("," * 3000),
    "many dimensions": "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }" % ("1," * 33),
    "a large product": "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 999999999999, 999999999999), }",
    "a large number": "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000000000,), }",
    "truth as a size": "{'descr': '<f4', 'fortran_order': False, 'shape': (True,), }",
    "no order": "{'descr': '<f4', 'fortran_order': 'x', 'shape': (1,), }",
    "a width that there is not": "{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }",
    "a width beyond all": "{'descr': '<U999999999', 'fortran_order': False, 'shape': (1,), }",
    "an entry twice": "{'descr': '<f4', 'descr': '<f4', 'shape': (1,), }",
    "an entry more": "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1, }",
    "too long": " " * 5000,
    "nothing": "",
}


@pytest.mark.parametrize("text", HOSTILE_HEADERS.values(), ids=HOSTILE_HEADERS)
def test_npy_headers_that_are_anything_else_are_refused(text):
    began_s = time.perf_counter()
    with pytest.raises(InvalidArgument, match="npy file"):
        columns(header(text), "application/x-npy")
    assert time.perf_counter() - began_s < 1


@pytest.mark.parametrize("version", [b"\x03\x00", b"\xff\xff", b"\x01", b""])
def test_npy_of_other_versions_and_npy_that_breaks_off_are_refused(version):
    with pytest.raises(InvalidArgument, match="no valid"):
        columns(b"\x93NUMPY" + version, "application/x-npy")


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
        '{"shape":(1L,2L),"fortran_order":False,"descr":"<f4"}',
        "{ 'fortran_order' : False , 'descr' : '=f4' , 'shape' : ( 1 , 2 , ) }",
    ],
)
def test_npy_headers_as_others_write_them(text):
    body = header(text) + np.array([3, 4], "<f4").tobytes()
    assert listed(columns(body, "application/x-npy")) == {"x": [[3, 4]]}


def test_texts_take_the_room_of_their_characters_and_not_of_the_longest():
    values = ["a" * 1_000_000, *["b"] * 300]
    tracemalloc.start()
    try:
        array = to_array(values, "the rows")
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert array.tolist() == values
    assert peak_bytes < 1_000_000


@pytest.mark.parametrize("values", [["a", 1, None], [["a", "b"], ["c", 2]], [None], [{"a": 1}], "text"])
def test_what_is_no_number_stays_as_it_is(values):
    array = to_array(values, "the rows")
    assert array.dtype == object
    assert array.tolist() == values


@pytest.mark.parametrize("values", [[1, [2]], [[1], [2, 3]], [["a"], "b"], [[], [1]]])
def test_lists_that_differ_are_no_array(values):
    with pytest.raises(InvalidArgument, match="the rows is no regular array"):
        to_array(values, "the rows")


def test_npz_is_no_npy():
    file = io.BytesIO()
    np.savez(file, x=np.zeros(2))
    assert "the body is no valid .npy file" in refusal(file.getvalue(), "application/octet-stream")


def test_npy_in_the_order_of_fortran():
    array = np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3))
    of = model(spec("x", dims=(3,)))
    assert listed(columns(npy(array), "application/x-npy", of)) == {"x": array.tolist()}


def test_csv_with_the_line_ends_of_old_machines_and_long_texts():
    assert listed(columns(b"1,2\r3,4\r", "text/csv")) == {"x": [[1, 2], [3, 4]]}
    of = model(spec("text", DataType.BYTES, (1,)))
    assert listed(columns(b"x" * 200_000, "text/csv", of)) == {"text": [["x" * 200_000]]}


def test_a_first_row_with_a_hole_is_no_header():
    assert "the CSV has a value that is not FP32" in refusal(b"1,\n3,4\n", "text/csv")


def test_semicolons_are_told_of():
    assert "one line, which is no line of numbers with commas" in refusal(b"1;2\n", "text/csv")
    assert "are separated by commas" in refusal(b"1;2,5\n3;4,5\n", "text/csv")


def test_csv_of_too_many_values_is_not_read():
    limits = Limits(json_values=10)
    request = HttpRequest("POST", "/v1/predict/m", "", {"content-type": "text/csv"}, b"1\n" * 12, 0)
    with pytest.raises(InvalidArgument, match="has 12 values, but at most 10 are allowed"):
        read_body(request, model(), limits)


def test_who_says_nothing_of_a_body_is_told_how():
    assert "say it, as in -H 'Content-Type: text/csv'" in refusal(
        b"1,2\n", "application/x-www-form-urlencoded"
    )
    assert "say it" not in refusal(b"1,2\n", JSON)


def test_inputs_of_integers_get_rounded_pixels_within_their_range():
    pixels = np.array([[0.0, 100.6, 255.0]], np.float32)
    values = to_input(pixels, image(scale=2.0), np.dtype("u1"))
    assert (values.dtype, values.tolist()) == (np.dtype("u1"), [[0, 201, 255]])


def test_grey_of_16_bits_becomes_8_bits():
    file = io.BytesIO()
    Image.fromarray(np.array([[0, 30000, 65535]], np.uint16)).save(file, "PNG")
    (values,) = read_image(file.getvalue(), PictureInput(image(), F4)).values()
    assert values.tolist() == [[0, 117, 255]]


def test_what_is_transparent_is_white():
    file = io.BytesIO()
    Image.fromarray(np.array([[[0, 0, 0, 0], [0, 0, 0, 255]]], np.uint8)).save(file, "PNG")
    (values,) = read_image(file.getvalue(), PictureInput(image(), F4)).values()
    assert values.tolist() == [[255, 0]]


def test_broken_orientations_do_no_harm():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(
        file, "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff"
    )
    try:
        read_image(file.getvalue(), PictureInput(image(), F4))
    except InvalidArgument as error:
        assert "cannot be read" in str(error)
