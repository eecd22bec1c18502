"""The committed sample models are what they claim to be."""

import importlib
import json
import platform
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from headrace.cli.check import check
from headrace.repository.repository import Repository

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = ROOT / "model_repository"
SAMPLES = ("digits", "cancer", "text_topics")
VERSIONS = (("digits", 1), ("digits", 2), ("cancer", 1), ("text_topics", 1))
LARGEST_FILE = 1_000_000
LARGEST_REPOSITORY = 3_000_000
OTHER_PYTHON_TOLERANCE = 0.03
"""How far accuracy on another Python's docstrings may be from that on those of the Python that trained."""


@pytest.fixture(scope="module", autouse=True)
def scripts_on_path() -> Any:
    sys.path.insert(0, str(ROOT / "scripts"))
    yield
    sys.path.remove(str(ROOT / "scripts"))


def model_bytes(model: str, version: int) -> bytes:
    return (REPOSITORY / model / str(version) / "model.onnx").read_bytes()


def metadata(model: str, version: int) -> dict[str, str]:
    graph = onnx.load_from_string(model_bytes(model, version))
    return {entry.key: entry.value for entry in graph.metadata_props}


def claimed_accuracy(model: str, version: int) -> float:
    return float(metadata(model, version)["heldout_accuracy"])


@cache
def split(model: str) -> Any:
    return importlib.import_module(f"samples.{model}").split()


def answers(model: str, version: int, inputs: Any) -> Any:
    return importlib.import_module("samples.evaluate").answers(model_bytes(model, version), inputs)


def example_inputs(request: dict[str, Any]) -> Any:
    [tensor] = request["inputs"]
    dtype = {"FP32": np.float32, "BYTES": np.str_}[tensor["datatype"]]
    return np.array(tensor["data"], dtype=dtype).reshape(tensor["shape"])


def config(model: str) -> Any:
    return yaml.safe_load((REPOSITORY / model / "config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_heldout_accuracy_is_what_the_metadata_claims(model: str, version: int) -> None:
    rows = split(model)
    claims = metadata(model, version)
    is_same_python = claims.get("python_version", platform.python_version()) == platform.python_version()

    labels = answers(model, version, rows.heldout_inputs)["label"].ravel()
    measured = float(np.mean(labels == rows.heldout_labels))

    tolerance = 1e-6 if is_same_python else OTHER_PYTHON_TOLERANCE
    assert measured == pytest.approx(float(claims["heldout_accuracy"]), abs=tolerance)
    if is_same_python:
        assert int(claims["heldout_rows"]) == len(rows.heldout_inputs)
        assert int(claims["train_rows"]) == len(rows.train_inputs)


@pytest.mark.parametrize("model", SAMPLES)
def test_no_heldout_row_was_learned_from(model: str) -> None:
    rows = split(model)

    learned = {row.tobytes() for row in rows.train_inputs}
    heldout = {row.tobytes() for row in rows.heldout_inputs}

    assert not learned & heldout


def test_second_digits_version_is_better_than_the_first() -> None:
    assert claimed_accuracy("digits", 2) >= claimed_accuracy("digits", 1) + 0.02


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_readme_tells_the_accuracy_of_the_committed_file(model: str, version: int) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")

    [line] = [line for line in readme.splitlines() if line.startswith(f"| `{model}` | {version} |")]

    assert f"| {claimed_accuracy(model, version):.3f} | {metadata(model, version)['heldout_rows']} |" in line


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_labels_name_each_probability(model: str, version: int) -> None:
    labels = (REPOSITORY / model / "labels.txt").read_text(encoding="utf-8").splitlines()
    rows = split(model)

    answered = answers(model, version, rows.heldout_inputs[:50])
    best = np.argmax(answered["probabilities"], axis=1)

    assert answered["probabilities"].shape == (50, len(labels))
    given = answered["label"].ravel().tolist()
    assert given == ([labels[index] for index in best] if isinstance(given[0], str) else best.tolist())


@pytest.mark.parametrize(("model", "version"), VERSIONS)
@pytest.mark.parametrize("example", ["one.json", "batch.json"])
def test_examples_get_the_expected_labels(model: str, version: int, example: str) -> None:
    folder = REPOSITORY / model / "examples"
    request = json.loads((folder / example).read_text(encoding="utf-8"))
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))[example]

    answered = answers(model, version, example_inputs(request))

    assert answered["label"].ravel().tolist() == expected["label"]


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_a_row_is_answered_alike_alone_or_in_a_batch(model: str, version: int) -> None:
    inputs = split(model).heldout_inputs[:8]

    together = answers(model, version, inputs)
    alone = [answers(model, version, inputs[index : index + 1]) for index in range(8)]

    for name, rows in together.items():
        one_by_one = np.concatenate([answer[name] for answer in alone])
        if rows.dtype.kind == "f":
            np.testing.assert_allclose(one_by_one, rows, rtol=1e-5, atol=1e-6)
        else:
            assert one_by_one.tolist() == rows.tolist()


@pytest.mark.parametrize("texts", [["", ""], ["?!"], ["", "Open a socket."], ["Öffne \U0001f600 den Socket"]])
def test_text_topics_answers_each_text_even_without_a_word(texts: list[str]) -> None:
    answered = answers("text_topics", 1, np.array(texts).reshape(-1, 1))

    assert answered["label"].shape == (len(texts), 1)
    np.testing.assert_allclose(answered["probabilities"].sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_config_declares_the_graphs_inputs_and_outputs(model: str, version: int) -> None:
    graph = onnx.load_from_string(model_bytes(model, version)).graph
    types: dict[int, str] = {onnx.TensorProto.FLOAT: "TYPE_FP32", onnx.TensorProto.INT64: "TYPE_INT64"}
    types[onnx.TensorProto.STRING] = "TYPE_STRING"

    for declared, values in ((config(model)["input"], graph.input), (config(model)["output"], graph.output)):
        tensors = {value.name: value.type.tensor_type for value in values}
        assert {entry["name"] for entry in declared} == set(tensors)
        for entry in declared:
            tensor = tensors[entry["name"]]
            batch, *dims = tensor.shape.dim
            assert batch.dim_param
            assert [dim.dim_value for dim in dims] == entry["dims"]
            assert types[tensor.elem_type] == entry["data_type"]


def test_config_of_digits_serves_both_versions() -> None:
    assert config("digits")["version_policy"] == {"specific": {"versions": [1, 2]}}


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_graph_loads_in_older_runtimes(model: str, version: int) -> None:
    graph = onnx.load_from_string(model_bytes(model, version))
    opsets = {opset.domain: opset.version for opset in graph.opset_import}

    assert graph.ir_version <= 10
    assert opsets[""] <= 18
    assert opsets.get("ai.onnx.ml", 1) <= 3


@pytest.mark.parametrize(("model", "version"), VERSIONS)
def test_baseline_holds_training_rows_and_their_labels(model: str, version: int) -> None:
    input_name = config(model)["input"][0]["name"]
    rows = split(model)

    with np.load(REPOSITORY / model / str(version) / "baseline.npz", allow_pickle=False) as archive:
        baseline = dict(archive)

    count = len(baseline[input_name])
    assert set(baseline) == {input_name, "label"}
    assert 400 < count <= 500
    assert baseline[input_name].shape[1:] == rows.train_inputs.shape[1:]
    assert baseline["label"].shape == (count, 1)


def test_every_version_answers_its_golden_requests() -> None:
    report = check(Repository(REPOSITORY), runs_golden=True)

    assert report.problems == []
    assert report.golden_count == len(VERSIONS)


def test_golden_requests_tell_the_versions_of_digits_apart(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "digits", tmp_path / "digits")
    shutil.copyfile(tmp_path / "digits/1/golden/examples.json", tmp_path / "digits/2/golden/examples.json")

    [problem] = check(Repository(tmp_path), runs_golden=True).problems

    assert problem.file == "digits/2/golden/examples.json"
    assert problem.field == "output 'probabilities' on cpu"


def test_repository_stays_small() -> None:
    sizes = [path.stat().st_size for path in REPOSITORY.rglob("*") if path.is_file()]

    assert max(sizes) < LARGEST_FILE
    assert sum(sizes) < LARGEST_REPOSITORY
