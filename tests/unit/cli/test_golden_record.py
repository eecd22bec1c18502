"""`headrace golden record` against a small V2 server: what is written, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.cli.golden_file import to_golden
from headrace.cli.requests import PreparedInput, PreparedRequest
from headrace.cli.results import Result
from headrace.core.tensor import DataType
from headrace.pb.inference import grpc_service_pb2 as v2

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
REQUEST = {
    "id": "seven",
    "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": list(range(8))}],
    "outputs": [{"name": "sum", "parameters": {"classification": 2}}],
}


@pytest.fixture
def record(run, server, tmp_path):
    def run_record(file: Path, *words: object, output: Path = tmp_path / "golden"):
        return run("golden", "record", "digits", file, "--output", output, *words, "--url", server.url)

    return run_record


@pytest.fixture
def request_file(tmp_path) -> Path:
    path = tmp_path / "seven.json"
    path.write_text(json.dumps(REQUEST))
    return path


@pytest.fixture
def rows_file(tmp_path) -> Path:
    np.save(tmp_path / "rows.npy", ROWS)
    return tmp_path / "rows.npy"


def test_a_request_and_its_answer_are_written(record, server, request_file, tmp_path):
    ran = record(request_file, "--version", "3", "--absolute-tolerance", "0.5")
    path = tmp_path / "golden" / "seven.json"
    assert (ran.status, ran.out, ran.err) == (0, f"{path}\n", "")
    assert json.loads(path.read_text()) == {
        "description": "what digits version 3 answered",
        "absolute_tolerance": 0.5,
        "inputs": REQUEST["inputs"],
        "outputs": [{"name": "sum", "datatype": "FP32", "shape": [2], "data": [6, 22]}],
    }
    (request,) = server.requests
    assert request.model_version == "3"
    assert [output.name for output in request.outputs] == ["sum"]
    assert not request.outputs[0].parameters["classification"].int64_param


def test_what_was_written_can_be_recorded_again(record, request_file, tmp_path):
    record(request_file)
    written = tmp_path / "golden" / "seven.json"
    ran = record(written, output=tmp_path / "again")
    assert ran.status == 0
    assert (tmp_path / "again" / "seven.json").read_text() == written.read_text()


def test_rows_become_a_file_for_each_request(record, rows_file, tmp_path):
    ran = record(rows_file, "--batch-size", "2")
    names = ["rows-1.json", "rows-2.json"]
    assert ran.lines == [str(tmp_path / "golden" / name) for name in names]
    shapes = [json.loads(Path(line).read_text())["inputs"][0]["shape"] for line in ran.lines]
    assert shapes == [[2, 4], [1, 4]]


def test_the_largest_element_may_be_all_that_is_written(record, request_file, tmp_path):
    record(request_file, "--argmax", "sum")
    content = json.loads((tmp_path / "golden" / "seven.json").read_text())
    assert content["outputs"] == [{"name": "sum", "argmax": [0, 0]}]


def test_files_that_are_there_are_kept_unless_forced(record, server, request_file, tmp_path):
    path = tmp_path / "golden" / "seven.json"
    path.parent.mkdir()
    path.write_text("mine")
    ran = record(request_file)
    assert (ran.status, path.read_text(), server.requests) == (2, "mine", [])
    assert ran.err == f"headrace: --output: {path} is there already: expected another folder, or --force\n"
    assert record(request_file, "--force").status == 0
    assert path.read_text() != "mine"


def test_nothing_is_written_unless_everything_was_answered(record, server, rows_file, tmp_path):
    server.refuse = lambda first: first == 4.0
    ran = record(rows_file)
    assert ran.status == 1
    assert "headrace: not answered, nothing is written: " in ran.err
    assert not (tmp_path / "golden").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--argmax", "label"], "--argmax: 'label' is no output: expected one of sum"),
        (
            ["--absolute-tolerance=-1"],
            "argument --absolute-tolerance: -1 is not valid: expected a number of 0",
        ),
        (["--relative-tolerance=x"], "argument --relative-tolerance: invalid number value: 'x'"),
        (["--forse"], "--forse: is not an option; did you mean '--force'?"),
    ],
    ids=["argmax", "negative", "no_number", "misspelt"],
)
def test_wrong_arguments_are_refused(record, request_file, tmp_path, words, complaint):
    ran = record(request_file, *words)
    assert ran.status == 2
    assert complaint in ran.err
    assert not (tmp_path / "golden").exists()


def test_a_folder_that_cannot_be_made_is_told(record, request_file):
    ran = record(request_file, output=request_file / "golden")
    assert ran.status == 2
    assert f"headrace: --output: {request_file}/golden/seven.json cannot be written: " in ran.err


def written(datatype: DataType, array: Any) -> Any:
    response = v2.ModelInferResponse()
    response.outputs.add(name="y", datatype=datatype.value, shape=array.shape)
    request = PreparedRequest(1, [PreparedInput("x", datatype, array)])
    return json.loads(to_golden(Result(request, 0.0, response=response, outputs={"y": array}), {}, (), 1))


@pytest.mark.parametrize(
    ("datatype", "array", "data"),
    [
        (DataType.FP32, np.float32([0.1, np.nan, np.inf, -np.inf]), [0.1, "NaN", "Infinity", "-Infinity"]),
        (DataType.FP16, np.float16([0.1, 1e-7]), [0.1, 1e-7]),
        (DataType.BF16, np.float32([1.5]), [1.5]),
        (DataType.UINT64, np.array([[2**64 - 1]], np.uint64), [2**64 - 1]),
        (DataType.BOOL, np.array([True, False]), [True, False]),
        (DataType.BYTES, np.array(["é", ""], object), ["é", ""]),
    ],
    ids=lambda value: value.value if isinstance(value, DataType) else "",
)
def test_elements_are_written_as_they_are_read(datatype, array, data):
    content = written(datatype, array)
    assert content["inputs"][0]["data"] == content["outputs"][0]["data"] == data
