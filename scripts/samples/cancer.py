"""The sample `cancer`: is a breast tumour malignant, from 30 measurements of its cells.

The data are scikit-learn's bundled Wisconsin diagnostic set of 569 patients. A quarter of them, drawn at
random with both classes in proportion, is held out. The model is a small gradient boosting of decision trees
and has three outputs: the label, both probabilities, and the margin they come from (above 0 is benign).

A sample to serve, not a medical device.
"""

import csv
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.model_selection import train_test_split

from samples import graph
from samples.sample import Rows, Sample, Split, TrainedVersion, as_column, progress

CLASSES = ("malignant", "benign")
FEATURES = 30
HELDOUT_SHARE = 0.25
SEED = 0


def split() -> Split:
    """Measurements [rows, 30] as float32, and labels: 0 malignant, 1 benign."""
    data = load_breast_cancer()
    inputs = data.data.astype(np.float32)
    labels = data.target.astype(np.int64)
    train_rows, heldout_rows = train_test_split(
        np.arange(len(inputs)), test_size=HELDOUT_SHARE, stratify=labels, random_state=SEED
    )
    train_rows.sort()
    heldout_rows.sort()
    return Split(inputs[train_rows], labels[train_rows], inputs[heldout_rows], labels[heldout_rows])


def train() -> Sample:
    """The one version of `cancer`."""
    rows = split()
    progress("version 1: gradient boosting of 60 trees of depth 3")
    model = GradientBoostingClassifier(n_estimators=60, max_depth=3, subsample=0.8, random_state=SEED)
    model.fit(rows.train_inputs, rows.train_labels)
    expected = {
        "label": as_column(model.predict(rows.heldout_inputs)),
        "probabilities": model.predict_proba(rows.heldout_inputs),
        "margin": as_column(model.decision_function(rows.heldout_inputs)),
    }
    metadata = {"description": "gradient boosting of 60 trees of depth 3"}
    return Sample(
        name="cancer",
        input_name="measurements",
        class_names=CLASSES,
        split=rows,
        versions=(TrainedVersion(1, _export(model), expected, metadata),),
        training_data="scikit-learn load_breast_cancer, a stratified random three quarters",
        write_rows=_write_rows,
        examples_per_class=2,
    )


def _export(model: GradientBoostingClassifier) -> onnx.ModelProto:
    """The converted trees give [-margin, margin] a row; the graph goes on from there."""
    converted = to_onnx(
        model,
        initial_types=[("measurements", FloatTensorType([None, FEATURES]))],
        target_opset={"": graph.OPSET, "ai.onnx.ml": graph.ML_OPSET},
        options={"zipmap": False, "raw_scores": True},
        name="cancer",
    )
    label, label_output, label_axis = graph.label_column("class", TensorProto.INT64)
    nodes = [
        label,
        helper.make_node("Sigmoid", ["scores"], ["probabilities"], name="sigmoid"),
        helper.make_node("Gather", ["scores", "benign_column"], ["margin"], name="margin", axis=1),
    ]
    outputs = [
        label_output,
        graph.tensor("probabilities", TensorProto.FLOAT, len(CLASSES)),
        graph.tensor("margin", TensorProto.FLOAT, 1),
    ]
    weights = [label_axis, graph.constant("benign_column", np.array([1], dtype=np.int64))]
    renamed = {"label": "class", "probabilities": "scores"}
    return graph.extend(converted, renamed, nodes, outputs, weights)


def _write_rows(folder: Path, measurements: Rows) -> None:
    """The rows as CSV, under the data set's names of the measurements."""
    with (folder / "measurements.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(load_breast_cancer().feature_names)
        writer.writerows([str(value) for value in row] for row in measurements)
