"""Golden requests as files: what is read of them, and how each mistake is told."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.errors import ConfigError, LoadError
from headrace.repository.golden import files as golden_files
from headrace.repository.override import Override
from headrace.repository.problems import InvalidModel
from headrace.repository.repository import Repository, VersionSource
from support import onnx_models

X = {"name": "x", "datatype": "FP32", "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
Y = {"name": "y", "data": [1, 2, 3, 4, 5, 6]}
GOOD = {"inputs": [X], "outputs": [Y]}


def golden_folder(repository: Path, model: str = "labelled") -> Path:
    if not (repository / model).exists():
        onnx_models.write_models(repository, model)
    folder = repository / model / "1" / "golden"
    folder.mkdir(exist_ok=True)
    return folder


def write(repository: Path, content: object, model: str = "labelled", name: str = "a.json") -> None:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    (golden_folder(repository, model) / name).write_bytes(data)


def read(repository: Path, model: str = "labelled", **options: bool) -> VersionSource:
    return Repository(repository, **options).read(model, 1)


def problems(repository: Path, model: str = "labelled") -> list[str]:
    with pytest.raises(InvalidModel) as caught:
        read(repository, model)
    return str(caught.value).split("\n")


def with_input(**changes: object) -> dict[str, object]:
    return {"inputs": [changed(X, changes)], "outputs": [Y]}


def with_output(**changes: object) -> dict[str, object]:
    return {"inputs": [X], "outputs": [changed(Y, changes)]}


def changed(tensor: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """`tensor` with `changes`, of which None takes a member away."""
    return {name: value for name, value in {**tensor, **changes}.items() if value is not None}


def golden(repository: Path, content: object, model: str = "labelled") -> Any:
    write(repository, content, model)
    (request,) = read(repository, model).golden
    return request


def test_a_golden_request_is_read_as_a_request_and_what_must_come_out(tmp_path: Path) -> None:
    request = golden(tmp_path, {"description": "counts", "id": "1", **GOOD})
    (tensor,), (output,) = request.inputs, request.outputs
    assert request.file == "labelled/1/golden/a.json"
    assert (tensor.name, tensor.shape, tensor.data) == (
        "x",
        (2, 3),
        np.arange(1, 7, dtype=np.float32).tobytes(),
    )
    assert (output.name, output.shape, output.data.tolist()) == ("y", (2, 3), [[1, 2, 3], [4, 5, 6]])
    assert (output.tolerance.absolute, output.tolerance.relative, output.tolerance.mean) == (1e-4, 1e-4, None)
    assert (output.best, output.is_finite) == (None, False)


def test_a_version_without_golden_requests_has_none(tmp_path: Path) -> None:
    onnx_models.write_models(tmp_path, "labelled")
    assert read(tmp_path).golden == ()
    golden_folder(tmp_path)
    assert read(tmp_path).golden == ()


def test_files_are_read_in_the_order_of_their_names_and_others_are_noted(tmp_path: Path) -> None:
    for name in ("b.json", "a.json", "README.md", ".hidden.json", "c.json.tmp"):
        write(tmp_path, GOOD, name=name)
    (golden_folder(tmp_path) / "more").mkdir()
    source = read(tmp_path)
    assert [request.file.rpartition("/")[2] for request in source.golden] == ["a.json", "b.json"]
    assert source.notes == (
        "labelled/1/golden/README.md is not read: golden requests are *.json files",
        "labelled/1/golden/more is not read: golden requests are *.json files",
    )


def test_a_changed_golden_request_is_a_changed_version(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    before = Repository(tmp_path).scan()
    write(tmp_path, with_output(absolute_tolerance=1))
    assert Repository(tmp_path).scan() != before
    assert "golden/a.json" in [stamp.path for stamp in read(tmp_path).fingerprint]


def test_files_that_come_with_a_load_request_are_read_as_well(tmp_path: Path) -> None:
    files = {
        "1/model.onnx": onnx_models.identity("FP32", ("batch", 3)).SerializeToString(),
        "1/golden/a.json": json.dumps(GOOD).encode(),
    }
    source = Repository(tmp_path).read("m", 1, Override('{"backend": "onnxruntime"}', files))
    assert [request.file for request in source.golden] == ["m/1/golden/a.json"]


@pytest.mark.parametrize(
    ("datatype", "data", "values"),
    [
        ("FP32", [[1, 2.5, "NaN"], ["Infinity", "-Infinity", -0.0]], [1, 2.5, np.nan, np.inf, -np.inf, 0]),
        ("FP64", [1e300, 5e-324, 3, 4, 5, 6], [1e300, 5e-324, 3, 4, 5, 6]),
        ("FP16", [65504, 0.1, 3, 4, 5, 6], [65504, np.float16(0.1), 3, 4, 5, 6]),
        ("BF16", [[1.0, 3.140625, 3], [4, 5, 6]], [1, 3.140625, 3, 4, 5, 6]),
        ("INT64", [-(2**63), 2**63 - 1, 3, 4, 5, 6], [-(2**63), 2**63 - 1, 3, 4, 5, 6]),
        ("UINT64", [2**64 - 1, 0, 3, 4, 5, 6], [2**64 - 1, 0, 3, 4, 5, 6]),
        ("INT8", [-128, 127, 3, 4, 5, 6], [-128, 127, 3, 4, 5, 6]),
        ("BOOL", [[True, False, True], [False, True, True]], [True, False, True, False, True, True]),
        ("BYTES", ["", "é", "c", "d", "e", "f"], ["", "é", "c", "d", "e", "f"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_datatype_is_read(tmp_path: Path, datatype: str, data: list[Any], values: list[Any]) -> None:
    model = f"fixed_{datatype.lower()}"
    x = {"name": "x", "datatype": datatype, "shape": [2, 3], "data": data}
    request = golden(tmp_path, {"inputs": [x], "outputs": [{"name": "y", "data": data}]}, model)
    expected = request.outputs[0].data
    assert expected.shape == (2, 3)
    np.testing.assert_array_equal(expected.ravel(), np.array(values, expected.dtype))
    if datatype not in ("BYTES", "BF16"):
        assert request.inputs[0].data == expected.tobytes()


def test_numbers_that_json_does_not_have_are_read_as_python_writes_them(tmp_path: Path) -> None:
    request = golden(tmp_path, with_output(data=[np.nan, np.inf, -np.inf, 4, 5, 6]))
    np.testing.assert_array_equal(request.outputs[0].data.ravel()[:3], [np.nan, np.inf, -np.inf])


def test_long_data_is_read_in_pieces(tmp_path: Path) -> None:
    count = 40_000
    x = {"name": "x", "datatype": "FP32", "shape": [1, count], "data": [list(range(count))]}
    request = golden(
        tmp_path, {"inputs": [x], "outputs": [{"name": "y", "shape": [1, count]}]}, "identity_fp32"
    )
    assert request.inputs[0].data == np.arange(count, dtype=np.float32).tobytes()
    x["data"] = [[*range(count - 1), "?"]]
    write(tmp_path, {"inputs": [x], "outputs": [{"name": "y", "finite": True}]}, "identity_fp32")
    (problem,) = problems(tmp_path, "identity_fp32")
    assert f"inputs[0].data: [0, {count - 1}] is '?'; expected a number" in problem


def test_what_the_model_leaves_open_stays_open(tmp_path: Path) -> None:
    x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    flat = golden(tmp_path, {"inputs": [x], "outputs": [{"name": "y", "data": [1, 2]}]}, "identity_fp32")
    assert (flat.outputs[0].shape, flat.outputs[0].data.shape) == (None, (2,))
    nested = golden(tmp_path, {"inputs": [x], "outputs": [{"name": "y", "data": [[1, 2]]}]}, "identity_fp32")
    assert (nested.outputs[0].shape, nested.outputs[0].data.shape) == (None, (1, 2))


def test_optional_inputs_may_be_left_out(tmp_path: Path) -> None:
    x = {"name": "x", "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]}
    request = golden(tmp_path, {"inputs": [x], "outputs": [{"name": "y", "finite": True}]}, "optional")
    assert [tensor.name for tensor in request.inputs] == ["x"]
    assert request.outputs[0].is_finite


def test_classes_are_indices_or_labels(tmp_path: Path) -> None:
    request = golden(tmp_path, with_output(data=None, argmax=[2, "one"]))
    assert request.outputs[0].best == (2, 1)


def test_a_model_that_does_not_batch_has_one_class(tmp_path: Path) -> None:
    x = {"name": "x", "datatype": "FP32", "shape": [4], "data": [1, 2, 3, 4]}
    content = {"inputs": [x], "outputs": [{"name": "y", "argmax": [3]}]}
    assert golden(tmp_path, content, "optional").outputs[0].best == (3,)


@pytest.mark.parametrize(
    ("parameters", "file", "output", "expected"),
    [
        ("", {}, {}, (1e-4, 1e-4, None)),
        ("golden_absolute_tolerance: 0.5", {}, {}, (0.5, 1e-4, None)),
        ("golden_absolute_tolerance: 0.5", {"absolute_tolerance": 0.25}, {}, (0.25, 1e-4, None)),
        ("", {"relative_tolerance": 0.25}, {"relative_tolerance": 0}, (1e-4, 0, None)),
        ("", {}, {"mean_absolute_tolerance": 0.1}, (np.inf, 0, 0.1)),
        ("", {}, {"mean_absolute_tolerance": 0.1, "absolute_tolerance": 2}, (2, 1e-4, 0.1)),
    ],
    ids=["ours", "model", "file", "output", "mean", "mean_and_each"],
)
def test_the_nearest_tolerance_counts(
    tmp_path: Path, parameters: str, file: Any, output: Any, expected: tuple[Any, ...]
) -> None:
    golden_folder(tmp_path)
    (tmp_path / "labelled" / "config.yaml").write_text(f"parameters: {{{parameters}}}\n")
    tolerance = golden(tmp_path, {**with_output(**output), **file}).outputs[0].tolerance
    assert (tolerance.absolute, tolerance.relative, tolerance.mean) == expected


@pytest.mark.parametrize(
    ("datatype", "expected"), [("FP16", 1e-2), ("BF16", 1e-2), ("FP64", 1e-4), ("INT8", 0.0)]
)
def test_tolerances_follow_the_datatype(tmp_path: Path, datatype: str, expected: float) -> None:
    x = {"name": "x", "datatype": datatype, "shape": [2, 3], "data": [1, 2, 3, 4, 5, 6]}
    request = golden(tmp_path, {"inputs": [x], "outputs": [Y]}, f"fixed_{datatype.lower()}")
    tolerance = request.outputs[0].tolerance
    assert (tolerance.absolute, tolerance.relative) == (expected, expected)


DOCUMENTS = {
    "empty": (b"", ":1: not valid JSON: Expecting value at column 1"),
    "no_json": (b'{"inputs": [\n}', ":2: not valid JSON: Expecting value at column 1"),
    "no_utf8": (b'{"inputs":\n"\xff"}', ":2: byte 0xff is not UTF-8"),
    "list": (b"[]", ": [] is given; expected an object with inputs and outputs"),
    "twice": (b'{"id": "a", "id": "b"}', ": not valid JSON: 'id' is given twice"),
    "too_large": (b'{"id": 1e999}', ": not valid JSON: '1e999' is beyond the largest number of 64 bits"),
    "too_deep": (b"[" * 100_000, ": not valid JSON: nested too deep"),
    "too_many_digits": (b'{"id": ' + b"1" * 5000 + b"}", ": not valid JSON: Exceeds the limit"),
}


@pytest.mark.parametrize(("data", "reason"), DOCUMENTS.values(), ids=DOCUMENTS.keys())
def test_what_is_no_document_is_refused(tmp_path: Path, data: bytes, reason: str) -> None:
    write(tmp_path, data)
    (problem,) = problems(tmp_path)
    assert problem.startswith(f"labelled/1/golden/a.json{reason}")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    write(tmp_path, b"\xef\xbb\xbf" + json.dumps(GOOD).encode())
    assert len(read(tmp_path).golden) == 1


LONG = "1" * 400
BAD: dict[str, tuple[object, str]] = {
    "misspelt": ({**GOOD, "output": []}, "'output' is unknown; did you mean 'outputs'?"),
    "unknown": (
        {**GOOD, "parameters": {}},
        "'parameters' is unknown; expected one of description, id, inputs",
    ),
    "description": ({**GOOD, "description": 1}, "description: 1 is given; expected a string"),
    "no_inputs": ({"outputs": [Y]}, "inputs: is missing; expected a list of objects"),
    "inputs_of_texts": ({**GOOD, "inputs": ["x"]}, "inputs: ['x'] is given; expected a list of objects"),
    "no_outputs": ({"inputs": [X]}, "outputs: is missing; expected a list of objects"),
    "empty_outputs": ({"inputs": [X], "outputs": []}, "outputs: is empty; expected what must come out of y"),
    "file_tolerance": (
        {**GOOD, "absolute_tolerance": -1},
        "absolute_tolerance: -1 is given; expected a number of 0 or more",
    ),
    "input_member": (with_input(shap=[1]), "inputs[0]: 'shap' is unknown; did you mean 'shape'?"),
    "input_unnamed": (with_input(name=None), "inputs[0]: has no name; expected one of x"),
    "input_name": (with_input(name="X1"), "inputs[0].name: the model has no input 'X1'; did you mean 'x'?"),
    "input_name_number": (with_input(name=1), "inputs[0].name: 1 is given; expected a string"),
    "input_twice": ({"inputs": [X, X], "outputs": [Y]}, "inputs[1].name: input 'x' is given twice"),
    "input_missing": ({"inputs": [], "outputs": [Y]}, "inputs: input 'x' is missing"),
    "input_datatype": (
        with_input(datatype="INT64"),
        "inputs[0].datatype: INT64 is given, but the input is FP32",
    ),
    "input_datatype_unknown": (
        with_input(datatype="FP23"),
        "inputs[0].datatype: 'FP23' is unknown; did you mean 'FP32'?",
    ),
    "input_incomplete": (with_input(datatype=None, data=None), "inputs[0]: has no datatype and no data"),
    "input_shape_text": (
        with_input(shape="2,3"),
        "inputs[0].shape: '2,3' is given; expected a list of sizes",
    ),
    "input_shape_open": (with_input(shape=[-1, 3]), "inputs[0].shape: [-1, 3] is given; expected a list of"),
    "input_shape": (
        with_input(shape=[3, 2]),
        "inputs[0].shape: [3, 2] is given, but the input is [-1, 3], where the first is the number of rows",
    ),
    "input_rows": (
        with_input(shape=[33, 3]),
        "inputs[0].shape: 33 rows are given; expected 1 to 32, by max_batch_size",
    ),
    "input_no_rows": (
        with_input(shape=[0, 3], data=[]),
        "inputs[0].shape: 0 rows are given; expected 1 to 32",
    ),
    "input_count": (with_input(data=[1, 2]), "inputs[0].data: has 2 elements, but the shape [2, 3] means 6"),
    "input_nesting": (
        with_input(data=[[1, 2], [3, 4], [5, 6]]),
        "inputs[0].data: is nested as [3, 2], but the shape is [2, 3]; nest it like that, or write it flat",
    ),
    "input_ragged": (with_input(data=[[1, 2, 3], [4]]), "inputs[0].data: has lists of 1 beside lists of 3"),
    "input_mixed": (with_input(data=[[1, 2, 3], 4]), "inputs[0].data: mixes lists and values"),
    "input_null": (
        with_input(data=[[1, 2, None], [4, 5, 6]]),
        'inputs[0].data: [0, 2] is null; expected a number or one of "NaN", "Infinity", "-Infinity"',
    ),
    "input_boolean": (
        with_input(data=[True, 2, 3, 4, 5, 6]),
        "inputs[0].data: [0] is true; expected a number",
    ),
    "input_beyond": (
        with_input(data=[1, 1e39, 3, 4, 5, 6]),
        "inputs[0].data: [1] is 1e+39, beyond the largest number of FP32",
    ),
    "input_far_beyond": (
        with_input(data=[1, 2, int(LONG), 4, 5, 6]),
        f"inputs[0].data: [2] is {LONG[:77]}..., beyond the largest number of FP32",
    ),
    "output_name": (
        with_output(name="why"),
        "outputs[0].name: the model has no output 'why'; it has y",
    ),
    "output_twice": ({"inputs": [X], "outputs": [Y, Y]}, "outputs[1].name: output 'y' is given twice"),
    "output_datatype": (
        with_output(datatype="FP64"),
        "outputs[0].datatype: FP64 is given, but the output is FP32",
    ),
    "output_asks_nothing": (
        with_output(data=None),
        "outputs[0]: asks for nothing; expected data, argmax, finite or shape",
    ),
    "output_shape": (
        with_output(shape=[3, 3]),
        "outputs[0].shape: [3, 3] is given, but the output is [2, 3] for 2 rows",
    ),
    "output_count": (with_output(data=[1]), "outputs[0].data: has 1 elements, but the shape [2, 3] means 6"),
    "output_element": (
        with_output(data=[1, 2, "x", 4, 5, 6]),
        "outputs[0].data: [2] is 'x'; expected a number",
    ),
    "tolerance_text": (
        with_output(absolute_tolerance="0.1"),
        "outputs[0].absolute_tolerance: '0.1' is given; expected a number of 0 or more",
    ),
    "tolerance_nan": (
        with_output(relative_tolerance=np.nan),
        "outputs[0].relative_tolerance: NaN is given; expected a number of 0 or more",
    ),
    "tolerance_alone": (
        with_output(data=None, finite=True, absolute_tolerance=1),
        "outputs[0].absolute_tolerance: has no effect without data",
    ),
    "finite": (with_output(finite="yes"), "outputs[0].finite: 'yes' is given; expected true or false"),
    "argmax_number": (
        with_output(argmax=1),
        "outputs[0].argmax: 1 is given; expected a list of 2, the best class of each row",
    ),
    "argmax_count": (with_output(argmax=[1]), "outputs[0].argmax: [1] is given; expected a list of 2"),
    "argmax_index": (
        with_output(argmax=[0, 3]),
        "outputs[0].argmax: 3 is given; expected an index of 0 to 2 or a label",
    ),
    "argmax_label": (
        with_output(argmax=["zero", "twoo"]),
        "outputs[0].argmax: 'twoo' is no label of output 'y'; did you mean 'two'?",
    ),
}


@pytest.mark.parametrize(("content", "reason"), BAD.values(), ids=BAD.keys())
def test_a_mistake_is_told_with_file_field_value_and_expectation(
    tmp_path: Path, content: object, reason: str
) -> None:
    write(tmp_path, content)
    told = problems(tmp_path)
    assert any(line.startswith(f"labelled/1/golden/a.json: {reason}") for line in told), told


OTHER_DATATYPES: dict[str, tuple[str, dict[str, object], str]] = {
    "fraction": ("INT64", {"data": [1, 2, 3.0, 4, 5, 6]}, "data: [2] is 3.0; expected an integer, for INT64"),
    "negative": ("UINT8", {"data": [1, -2, 3, 4, 5, 6]}, "data: [1] is -2; expected 0 to 255, for UINT8"),
    "too_large": ("INT8", {"data": [1, 2, 128, 4, 5, 6]}, "data: [2] is 128; expected -128 to 127, for INT8"),
    "number_for_bool": (
        "BOOL",
        {"data": [1, 0, 1, 0, 1, 0]},
        "data: [0] is 1; expected true or false, for BOOL",
    ),
    "number_for_text": (
        "BYTES",
        {"data": ["a", 1, "", "", "", ""]},
        "data: [1] is 1; expected a string, for BYTES",
    ),
    "half_a_character": ("BYTES", {"data": ["\ud800", *"abcde"]}, "data: [0] is '\\ud800', which holds half"),
    "exact_text": (
        "BYTES",
        {"data": [*"abcdef"], "absolute_tolerance": 1},
        "absolute_tolerance: output 'y' is BYTES, which is compared exactly",
    ),
    "largest_text": ("BYTES", {"argmax": [0]}, "argmax: output 'y' is BYTES, which has no largest one"),
    "finite_integer": ("INT64", {"finite": True}, "finite: output 'y' is INT64, which is always finite"),
    "beyond_fp16": (
        "FP16",
        {"data": [1, 65520, 3, 4, 5, 6]},
        "data: [1] is 65520, beyond the largest number",
    ),
}


@pytest.mark.parametrize(
    ("datatype", "output", "reason"), OTHER_DATATYPES.values(), ids=OTHER_DATATYPES.keys()
)
def test_mistakes_of_other_datatypes_are_told(
    tmp_path: Path, datatype: str, output: dict[str, object], reason: str
) -> None:
    element: object = {"BYTES": "", "BOOL": True}.get(datatype, 1)
    x = {"name": "x", "datatype": datatype, "shape": [2, 3], "data": [element] * 6}
    model = f"fixed_{datatype.lower()}"
    write(tmp_path, {"inputs": [x], "outputs": [{"name": "y", **output}]}, model)
    (problem,) = problems(tmp_path, model)
    assert problem.startswith(f"{model}/1/golden/a.json: outputs[0].{reason}")


def test_inputs_with_other_numbers_of_rows_are_refused(tmp_path: Path) -> None:
    a = {"name": "a", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
    b = {"name": "b", "datatype": "FP32", "shape": [2, 4], "data": [1] * 8}
    write(tmp_path, {"inputs": [a, b], "outputs": [{"name": "sum", "finite": True}]}, "sums")
    (problem,) = problems(tmp_path, "sums")
    assert problem.endswith("inputs[1].shape: 2 rows are given, but other inputs have 1")


def test_nested_data_of_a_shape_that_is_open_must_suit_the_output(tmp_path: Path) -> None:
    x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
    write(tmp_path, {"inputs": [x], "outputs": [{"name": "y", "data": [[1], [2]]}]}, "identity_fp32")
    (problem,) = problems(tmp_path, "identity_fp32")
    assert problem.endswith("outputs[0].data: is nested as [2, 1], but the output is [1, -1]")


def test_all_problems_of_all_files_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"outputs": [], "desc": ""}, name="a.json")
    write(tmp_path, b"{", name="b.json")
    write(tmp_path, GOOD, name="c.json")
    (golden_folder(tmp_path) / "d.json").symlink_to("c.json")
    (golden_folder(tmp_path) / "e.json").mkdir()
    places = [problem.split(": ")[0] for problem in problems(tmp_path)]
    assert [place.removeprefix("labelled/1/golden/") for place in places] == [
        "d.json",
        "e.json",
        "a.json",
        "a.json",
        "a.json",
        "b.json:1",
    ]


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_folder_that_is_none_is_refused(tmp_path: Path, kind: str) -> None:
    onnx_models.write_models(tmp_path, "labelled")
    place = tmp_path / "labelled" / "1" / "golden"
    if kind == "link":
        (tmp_path / "elsewhere").mkdir()
        place.symlink_to(tmp_path / "elsewhere")
    else:
        place.touch()
    reason = "is a symbolic link, which is never followed" if kind == "link" else "is not a folder"
    assert problems(tmp_path) == [f"labelled/1/golden: {reason}"]


def test_a_link_in_the_folder_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(GOOD))
    (golden_folder(tmp_path) / "a.json").symlink_to(secret)
    assert problems(tmp_path) == [
        "labelled/1/golden/a.json: is a symbolic link, which is never followed",
    ]


def test_too_many_files_and_too_many_bytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.json", "b.json", "c.json"):
        write(tmp_path, GOOD, name=name)
    size = len(json.dumps(GOOD))
    monkeypatch.setattr(golden_files, "MAX_BYTES", 2 * size)
    assert problems(tmp_path) == [f"labelled/1/golden: holds more than {2 * size} bytes of golden requests"]
    monkeypatch.setattr(golden_files, "MAX_BYTES", size - 1)
    assert problems(tmp_path)[0] == (
        f"labelled/1/golden/a.json: holds {size} bytes; at most {size - 1} are read"
    )
    monkeypatch.setattr(golden_files, "MAX_FILES", 2)
    assert problems(tmp_path) == ["labelled/1/golden: holds 3 golden requests; at most 2 are read"]


@pytest.mark.parametrize("word", ["off", "0", "false"])
def test_a_model_may_have_them_switched_off(tmp_path: Path, word: str) -> None:
    write(tmp_path, b"{")
    (tmp_path / "labelled" / "config.yaml").write_text(f"parameters: {{golden: {word}}}\n")
    source = read(tmp_path)
    assert source.golden == ()
    assert source.notes == ("labelled/config.yaml:1: parameters.golden: is off: golden requests are not run",)
    with pytest.raises(
        ConfigError, match=r"parameters\.golden: is off, but this server wants golden requests"
    ):
        read(tmp_path, require_golden=True)


@pytest.mark.parametrize(
    ("parameter", "expected"),
    [
        ("golden: maybe", "'maybe' is given; expected on or off"),
        ("golden_absolute_tolerance: wide", "'wide' is given; expected a number of 0 or more"),
        ("golden_relative_tolerance: -1", "'-1' is given; expected a number of 0 or more"),
    ],
    ids=["switch", "absolute", "relative"],
)
def test_parameters_that_mean_nothing_are_refused(tmp_path: Path, parameter: str, expected: str) -> None:
    golden_folder(tmp_path)
    (tmp_path / "labelled" / "config.yaml").write_text(f"parameters: {{{parameter}}}\n")
    with pytest.raises(ConfigError, match=expected):
        read(tmp_path)


def test_a_repository_may_require_them(tmp_path: Path) -> None:
    onnx_models.write_models(tmp_path, "labelled")
    with pytest.raises(LoadError, match=r"labelled/1 has no golden requests \(repository\.require_golden\)"):
        read(tmp_path, require_golden=True)
    write(tmp_path, GOOD)
    assert len(read(tmp_path, require_golden=True).golden) == 1
