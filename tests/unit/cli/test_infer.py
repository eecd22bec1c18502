"""`headrace infer` against a small V2 server: what is sent, what is shown, what is refused."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from headrace.cli.progress import Progress
from headrace.cli.tensors import decode, encode, fit
from headrace.core.tensor import DATATYPES, DataType
from headrace.pb.inference import grpc_service_pb2 as v2

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
SUMS = [6.0, 22.0, 38.0]


@pytest.fixture
def infer(run, server):
    def run_infer(*words: object):
        return run("infer", "digits", *words, "--url", server.url)

    return run_infer


def table_of(ran) -> list[list[str]]:
    return [line.split() for line in ran.lines]


@pytest.fixture(params=["npy", "npz", "csv", "csv with header", "json rows", "json by name"])
def rows_file(request, tmp_path) -> Path:
    kind, path = request.param, tmp_path / "rows"
    if kind == "npy":
        np.save(path.with_suffix(".npy"), ROWS)
    elif kind == "npz":
        np.savez(path.with_suffix(".npz"), x=ROWS)
    elif kind.startswith("csv"):
        header = "a,b,c,d\n" if "header" in kind else ""
        lines = "\n".join(",".join(map(str, row)) for row in ROWS.tolist())
        path.with_suffix(".csv").write_text(header + lines + "\n")
    else:
        content = ROWS.tolist() if kind == "json rows" else {"x": ROWS.tolist()}
        path.with_suffix(".json").write_text(json.dumps(content))
    return next(tmp_path.glob("rows.*"))


def test_rows_of_any_file_are_sent_and_answers_shown_in_order(infer, rows_file):
    ran = infer(rows_file)
    assert ran.status == 0
    assert table_of(ran) == [["ROW", "sum"], ["0", "6"], ["1", "22"], ["2", "38"]]
    assert ran.err.startswith("3 rows in 3 requests, ")


def test_batch_size_groups_rows(infer, server, rows_file):
    ran = infer(rows_file, "--batch-size", "2", "--concurrency", "1", "--version", "3")
    assert [list(request.inputs[0].shape) for request in server.requests] == [[2, 4], [1, 4]]
    assert {request.model_version for request in server.requests} == {"3"}
    assert [row[1] for row in table_of(ran)[1:]] == ["6", "22", "38"]


def test_a_request_in_the_protocols_shape_is_sent_as_it_is(infer, server, tmp_path):
    body = {
        "id": "seven",
        "parameters": {"priority": 1, "note": "x", "exact": True, "share": 0.5},
        "inputs": [{"name": "x", "shape": [2, 4], "datatype": "FP32", "data": list(range(8))}],
        "outputs": [{"name": "sum"}],
    }
    file = tmp_path / "request.json"
    file.write_text(json.dumps(body))

    ran = infer(file)

    (request,) = server.requests
    assert request.id == "seven"
    assert request.parameters["priority"].int64_param == 1
    assert request.parameters["note"].string_param == "x"
    assert request.parameters["exact"].bool_param is True
    assert request.parameters["share"].double_param == 0.5
    assert [output.name for output in request.outputs] == ["sum"]
    assert table_of(ran)[1:] == [["0", "6"], ["1", "22"]]


def test_a_list_of_requests_is_sent_one_by_one(infer, server, tmp_path):
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [[1, 2, 3, 4]]}]}
    file = tmp_path / "requests.json"
    file.write_text(json.dumps([body, body]))
    assert infer(file).status == 0
    assert len(server.requests) == 2


def test_random_rows_fit_the_metadata_and_are_the_same_each_time(infer, server):
    first, second = infer("--random", "5"), infer("--random", "5")
    assert len(table_of(first)) == 6
    assert first.out == second.out


def test_open_dims_of_random_rows_come_from_shape(infer, server):
    server.inputs = [("x", "FP32", [-1, 3, -1])]
    infer("--random", "1")
    infer("--random", "1", "--shape", "x:3,7")
    assert [list(request.inputs[0].shape) for request in server.requests] == [[1, 3, 1], [1, 3, 7]]
    assert "--shape: 'x' is [4, 7]: expected [3, -1]" in infer("--random", "1", "--shape", "x:4,7").err


def test_model_that_does_not_batch_gets_whole_tensors(infer, server, tmp_path):
    server.inputs = [("x", "FP32", [2, 2])]
    np.save(tmp_path / "x.npy", ROWS.reshape(3, 2, 2))
    assert infer(tmp_path / "x.npy").status == 0
    assert [list(request.inputs[0].shape) for request in server.requests] == [[2, 2]] * 3
    refused = infer(tmp_path / "x.npy", "--batch-size", "2")
    assert (refused.status, refused.err) == (
        2,
        "headrace: --batch-size: the model does not batch: expected 1\n",
    )


def test_flat_rows_take_the_models_shape(infer, server, tmp_path):
    server.inputs = [("x", "FP32", [-1, 2, 2])]
    np.savetxt(tmp_path / "x.csv", ROWS, delimiter=",")
    assert infer(tmp_path / "x.csv", "--batch-size", "3").status == 0
    assert list(server.requests[0].inputs[0].shape) == [3, 2, 2]


def test_long_tables_are_cut(infer):
    ran = infer("--random", "30")
    assert len(ran.lines) == 22
    assert ran.lines[-1] == "... 10 rows more; --output FILE writes all"


def test_top_asks_for_classes_and_shows_labels(infer, server):
    ran = infer("--random", "2", "--top", "2")
    assert server.requests[0].outputs[0].parameters["classification"].int64_param == 2
    assert ran.lines[1].split(maxsplit=1)[1] == "[name0 (0.900000), name1 (0.800000)]"


def test_top_leaves_outputs_that_are_no_scores_as_they_are(infer, server):
    server.output_datatype = "INT64"
    infer("--random", "1", "--top", "2")
    assert server.requests[0].outputs[0].name == "sum"
    assert server.requests[0].outputs[0].parameters["classification"].int64_param == 0


def test_timings_are_asked_for_and_printed(infer, server):
    ran = infer("--random", "1", "--timings")
    assert server.requests[0].parameters["headrace_timings"].bool_param is True
    assert table_of(ran)[-2:] == [["REQUEST", "queue_us"], ["0", "42"]]


def test_typed_answers_of_other_servers_are_read(infer, server, rows_file):
    server.answers_typed = True
    assert [row[1] for row in table_of(infer(rows_file))[1:]] == ["6", "22", "38"]


def test_output_as_json_has_the_protocols_shape(infer, rows_file, tmp_path):
    ran = infer(rows_file, "--output", tmp_path / "out.json")
    assert ran.out == ""
    first = json.loads((tmp_path / "out.json").read_text())[0]
    assert first["model_version"] == "3"
    assert first["outputs"] == [{"name": "sum", "datatype": "FP32", "shape": [1], "data": [6.0]}]


def test_output_as_npz_has_all_rows_by_name(infer, rows_file, tmp_path):
    infer(rows_file, "--output", tmp_path / "out.npz", "--batch-size", "2")
    with np.load(tmp_path / "out.npz") as arrays:
        assert arrays["sum"].tolist() == SUMS


def test_output_as_csv_has_a_line_a_row(infer, rows_file, tmp_path):
    infer(rows_file, "--output", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open() as file:
        assert list(csv.reader(file)) == [["sum"], ["6.0"], ["22.0"], ["38.0"]]


def test_classes_can_be_written_as_npz_and_read_without_pickle(infer, tmp_path):
    infer("--random", "2", "--top", "2", "--output", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        assert arrays["sum"].shape == (2, 2)


def test_failed_requests_are_counted_and_the_others_shown(infer, server, rows_file, tmp_path):
    server.refuse = lambda first: first == 4.0
    ran = infer(rows_file)
    assert ran.status == 1
    assert [row[1] for row in table_of(ran)[1:]] == ["6", "38"]
    complaint = f"1 of 3 requests failed: {server.url}: INVALID_ARGUMENT: the model"
    assert f"headrace: {complaint}" in ran.err
    infer(rows_file, "--output", tmp_path / "out.json")
    assert "said no" in json.loads((tmp_path / "out.json").read_text())[1]["error"]


def test_unknown_model_is_one_clear_line(run, server):
    ran = run("infer", "nothing", "--random", "1", "--url", server.url)
    assert (ran.status, ran.err) == (
        1,
        f"headrace: {server.url}: NOT_FOUND: there is no model 'nothing'\n",
    )


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("x.txt", "", "has an unknown format: expected .json, .npy, .npz, .csv"),
        ("x.json", "{", "Expecting property name"),
        ("x.json", "[" * 100_000, "recursion"),
        ("x.json", "[[1, 2], [3]]", "input 'x': setting an array element with a sequence"),
        ("x.json", "[[1, 2, 3]]", "input 'x': has the shape [1, 3]: expected rows of shape [4]"),
        ("x.json", '[["a", "b", "c", "d"]]', "input 'x': it holds values that are no numbers"),
        ("x.json", '{"y": [[1]]}', "'y' is no input: expected x"),
        ("x.json", '{"inputs": [{"name": "x"}]}', "an input lacks data, datatype, shape"),
        ("x.json", '{"inputs": [7]}', "an input lacks data, datatype, name, shape"),
        ("x.json", '{"inputs": [], "outputs": [1]}', 'outputs: expected a list of {"name": ...}'),
        ("x.json", '{"inputs": [], "parameters": {"a": []}}', "parameters: expected numbers"),
        ("x.csv", "1,2,3,4\n1,2,x,4\n", "line 2: could not convert string to float: 'x': expected FP32"),
        ("x.csv", "1,2,3,4\n1,2\n", "input 'x'"),
        ("x.csv", "", "holds no rows"),
        ("x.npy", "not numpy", "x.npy: "),
    ],
)
def test_wrong_file_is_one_clear_line_and_nothing_is_sent(infer, server, tmp_path, name, content, complaint):
    (tmp_path / name).write_text(content)
    ran = infer(tmp_path / name)
    assert ran.status == 2
    assert complaint in ran.err
    assert ran.err.count("\n") == 1
    assert server.requests == []


def test_pickled_arrays_are_not_read(infer, server, tmp_path):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}], object), allow_pickle=True)
    ran = infer(tmp_path / "x.npy")
    assert ran.status == 2
    assert server.requests == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "expected either FILE or --random N"),
        (["missing.npy"], "missing.npy: cannot be read: No such file or directory"),
        (["--random", "1", "--output", "x.txt"], "--output: x.txt has an unknown format"),
        (["--random", "1", "--output", "/none/x.csv"], "--output: /none is no folder"),
        (["--random", "0"], "0 is not valid: expected at least 1"),
        (["--random", "1", "--shape", "x"], "--shape: 'x' is not valid: expected NAME:D1,D2"),
    ],
)
def test_wrong_arguments_are_refused(infer, words, complaint):
    ran = infer(*words)
    assert ran.status == 2
    assert complaint in ran.err


def test_file_that_names_no_input_needs_one_for_a_model_of_two(infer, server, tmp_path):
    server.inputs = [("x", "FP32", [-1, 4]), ("y", "FP32", [-1, 4])]
    np.save(tmp_path / "x.npy", ROWS)
    assert "expected --input with one of x, y" in infer(tmp_path / "x.npy").err
    infer(tmp_path / "x.npy", "--input", "y")
    assert server.requests[0].inputs[0].name == "y"


def test_inputs_must_have_the_same_number_of_rows(infer, server, tmp_path):
    server.inputs = [("x", "FP32", [-1, 4]), ("y", "FP32", [-1, 4])]
    np.savez(tmp_path / "x.npz", x=ROWS, y=ROWS[:1])
    assert "different numbers of rows" in infer(tmp_path / "x.npz").err


VALUES = {
    DataType.BOOL: [True, False],
    DataType.BYTES: ["grün", ""],
    DataType.BF16: [1.0, -2.5],
    DataType.FP16: [1.0, -2.5],
}


@pytest.mark.parametrize("datatype", DATATYPES.values(), ids=DATATYPES)
def test_every_datatype_survives_the_wire(datatype):
    values = VALUES.get(datatype, [0, 100])
    response = v2.ModelInferResponse()
    response.outputs.add(name="y", datatype=datatype.value, shape=[2])
    response.raw_output_contents.append(encode(fit(values, datatype), datatype))
    assert decode(response)["y"].tolist() == values


@pytest.mark.parametrize(
    ("values", "datatype"),
    [([300], "INT8"), ([-1], "UINT16"), ([1.5], "INT64"), ([2], "BOOL"), ([2**64], "UINT64"), ([1], "BYTES")],
)
def test_values_that_would_change_are_refused(values, datatype):
    with pytest.raises(ValueError, match="it holds values that are no"):
        fit(values, DATATYPES[datatype])


def test_bf16_is_rounded_to_nearest_even_and_keeps_nan():
    wire = encode(fit([1.00390625, 1.01171875, float("nan"), float("inf")], DataType.BF16), DataType.BF16)
    assert np.frombuffer(wire, "<u2").tolist() == [0x3F80, 0x3F82, 0x7FC0, 0x7F80]


class Terminal:
    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self.written = ""

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, text: str) -> None:
        self.written += text

    def flush(self) -> None: ...


def drawn_on(terminal: Terminal, total: int) -> str:
    progress = Progress(total, terminal)  # type: ignore[arg-type]
    for _ in range(total):
        progress.advance()
    progress.clear()
    return terminal.written


def test_progress_is_drawn_on_a_terminal_only():
    assert "100/100" in drawn_on(Terminal(is_terminal=True), 100)
    assert drawn_on(Terminal(is_terminal=False), 100) == ""


def test_progress_of_little_work_is_not_drawn():
    assert drawn_on(Terminal(is_terminal=True), 5) == ""
