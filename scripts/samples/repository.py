"""Writes a trained sample into a model repository and says what was written."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from samples import evaluate, graph
from samples.sample import Rows, Sample, Split, TrainedVersion, as_column

BASELINE_ROWS = 500
BASELINE_SEED = 0
DATATYPES = {"f": "FP32", "i": "INT64", "U": "BYTES", "O": "BYTES"}
"""The V2 protocol's name of a datatype, by numpy's kind."""
GOLDEN_TOLERANCE = 0.01
"""How far a server's answers may be from ours: a GPU that rounds to TF32 has three digits."""


@dataclass(frozen=True, slots=True)
class WrittenVersion:
    """One line of the table at the end."""

    model: str
    version: int
    heldout_accuracy: float
    heldout_rows: int
    size_bytes: int


def write(sample: Sample, repository: Path, configs: Path) -> list[WrittenVersion]:
    """Writes everything of `<repository>/<sample>`; its hand-written config.yaml comes from `configs`."""
    folder = repository / sample.name
    folder.mkdir(parents=True, exist_ok=True)
    config = configs / sample.name / "config.yaml"
    if config.resolve() != (folder / "config.yaml").resolve():
        shutil.copyfile(config, folder / "config.yaml")
    (folder / "labels.txt").write_text("\n".join(sample.class_names) + "\n", encoding="utf-8")
    models = {version.number: _measured(version, sample) for version in sample.versions}
    written = [_write_version(number, model, sample, folder) for number, model in models.items()]
    rows = _example_rows(sample, list(models.values()))
    for number, model in models.items():
        _write_golden(sample, model, rows, folder / str(number) / "golden")
    _write_examples(sample, rows, folder / "examples")
    return written


def _measured(version: TrainedVersion, sample: Sample) -> bytes:
    """The version's file: checked against scikit-learn, and carrying what it was measured at."""
    model = version.graph.SerializeToString(deterministic=True)
    rows = sample.split
    evaluate.check_agreement(evaluate.answers(model, rows.heldout_inputs), version.expected)
    accuracy = evaluate.accuracy(model, rows.heldout_inputs, rows.heldout_labels)
    metadata = {
        **version.metadata,
        "heldout_accuracy": f"{accuracy:.6f}",
        "heldout_rows": str(len(rows.heldout_inputs)),
        "train_rows": str(len(rows.train_inputs)),
        "training_data": sample.training_data,
    }
    return graph.with_metadata(version.graph, metadata).SerializeToString(deterministic=True)


def _write_version(number: int, model: bytes, sample: Sample, folder: Path) -> WrittenVersion:
    version_folder = folder / str(number)
    version_folder.mkdir(exist_ok=True)
    (version_folder / "model.onnx").write_bytes(model)
    np.savez_compressed(version_folder / "baseline.npz", **baseline(sample.split, sample.input_name))
    rows = sample.split
    accuracy = evaluate.accuracy(model, rows.heldout_inputs, rows.heldout_labels)
    return WrittenVersion(sample.name, number, accuracy, len(rows.heldout_inputs), len(model))


def baseline(split: Split, input_name: str) -> dict[str, Any]:
    """Up to 500 training rows, evenly drawn and in their own order: the input, and `label`, the truth."""
    random = np.random.default_rng(BASELINE_SEED)
    count = min(BASELINE_ROWS, len(split.train_inputs))
    rows = np.sort(random.choice(len(split.train_inputs), count, replace=False))
    return {input_name: split.train_inputs[rows], "label": as_column(split.train_labels[rows])}


def _write_golden(sample: Sample, model: bytes, rows: Rows, folder: Path) -> None:
    """What the version must answer to the example rows before a server takes it."""
    folder.mkdir(exist_ok=True)
    inputs = sample.split.heldout_inputs[rows]
    answered = evaluate.answers(model, inputs)
    golden = {
        "description": "held-out rows of each class, and what this version answered when it was trained",
        "absolute_tolerance": GOLDEN_TOLERANCE,
        **_request(sample.input_name, inputs),
        "outputs": [_tensor(name, values) for name, values in answered.items()],
    }
    (folder / "examples.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")


def _write_examples(sample: Sample, rows: Rows, folder: Path) -> None:
    """Requests of one row and of a few, what to expect, and the same few rows in the data's natural form."""
    folder.mkdir(exist_ok=True)
    expected = {}
    for name, chosen in {"one.json": rows[:1], "batch.json": rows}.items():
        request = _request(sample.input_name, sample.split.heldout_inputs[chosen])
        (folder / name).write_text(json.dumps(request) + "\n", encoding="utf-8")
        expected[name] = {"label": sample.split.heldout_labels[chosen].tolist()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n", encoding="utf-8")
    sample.write_rows(folder, sample.split.heldout_inputs[rows])


def _example_rows(sample: Sample, models: Sequence[bytes]) -> Rows:
    """The first held-out rows of each class that every version gets right."""
    rows = sample.split
    is_right = np.ones(len(rows.heldout_labels), dtype=bool)
    for model in models:
        is_right &= evaluate.answers(model, rows.heldout_inputs)["label"].ravel() == rows.heldout_labels
    chosen = [
        np.flatnonzero(is_right & (rows.heldout_labels == label))[: sample.examples_per_class]
        for label in np.unique(rows.heldout_labels)
    ]
    return np.concatenate(chosen)


def _request(input_name: str, rows: Rows) -> dict[str, Any]:
    """A V2 inference request."""
    return {"inputs": [_tensor(input_name, rows)]}


def _tensor(name: str, rows: Rows) -> dict[str, Any]:
    """A tensor in JSON; a float is written with the fewest digits that give back its 32 bits."""
    flat = rows.ravel()
    data = [float(str(value)) for value in flat] if rows.dtype.kind == "f" else flat.tolist()
    return {"name": name, "shape": list(rows.shape), "datatype": DATATYPES[rows.dtype.kind], "data": data}
