"""The sample `digits`: which digit is on a small grey image.

The data are scikit-learn's bundled 1797 handwritten digits of 8 x 8 pixels, from 0 (paper) to 16 (ink). The
last third is held out as it stands. Neighbours in the file look as if written by the same hand, and a
shuffled split, with each hand on both sides, scores both versions four points higher. This one asks the
harder and more honest question: what about a hand that was never seen?

Version 1 is linear. Version 2 is a network with one hidden layer that also learns from slightly turned,
sheared, scaled and moved copies of the training images; the held-out images are never touched.
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from scipy.ndimage import affine_transform
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from samples import graph
from samples.sample import Rows, Sample, Split, TrainedVersion, as_column, progress

INK = 16.0
SIDE = 8
PIXELS = SIDE * SIDE
CLASSES = tuple(str(digit) for digit in range(10))
HELDOUT_SHARE = 1 / 3
WARPED_COPIES = 16
HIDDEN_UNITS = 256
EPOCHS = 15
SEED = 0

Layer = tuple[Rows, Rows]
"""Weights [from, to] and biases [to]."""


def split() -> Split:
    """Images [rows, 8, 8] as float32, and their digits."""
    data = load_digits()
    images = data.images.astype(np.float32)
    labels = data.target.astype(np.int64)
    boundary = round(len(images) * (1 - HELDOUT_SHARE))
    return Split(images[:boundary], labels[:boundary], images[boundary:], labels[boundary:])


def train() -> Sample:
    """Both versions of `digits`."""
    rows = split()
    return Sample(
        name="digits",
        input_name="image",
        class_names=CLASSES,
        split=rows,
        versions=(_linear(rows), _network(rows)),
        training_data="scikit-learn load_digits, first two thirds in file order",
        write_rows=_write_rows,
    )


def _linear(rows: Split) -> TrainedVersion:
    progress("version 1: multinomial logistic regression")
    model = LogisticRegression(C=1.0, max_iter=2000)
    model.fit(_pixels(rows.train_inputs), rows.train_labels)
    layers = [(model.coef_.T, model.intercept_)]
    return _version(1, "multinomial logistic regression", model, layers, rows)


def _network(rows: Split) -> TrainedVersion:
    progress(f"version 2: one hidden layer of {HIDDEN_UNITS}, {WARPED_COPIES} warped copies an image")
    images, labels = _with_warped_copies(rows.train_inputs, rows.train_labels)
    pixels, classes = _pixels(images), np.arange(len(CLASSES))
    model = MLPClassifier((HIDDEN_UNITS,), alpha=1e-3, random_state=SEED)
    for _ in range(EPOCHS):
        model.partial_fit(pixels, labels, classes=classes)
    layers = list(zip(model.coefs_, model.intercepts_, strict=True))
    description = f"network with one hidden layer of {HIDDEN_UNITS} units, warped images"
    return _version(2, description, model, layers, rows)


def _version(
    number: int, description: str, model: LogisticRegression | MLPClassifier, layers: list[Layer], rows: Split
) -> TrainedVersion:
    pixels = _pixels(rows.heldout_inputs)
    expected = {
        "probabilities": model.predict_proba(pixels),
        "label": as_column(model.predict(pixels)),
    }
    return TrainedVersion(number, _export(layers), expected, {"description": description})


def _pixels(images: Rows) -> Rows:
    return images.reshape(-1, PIXELS).astype(np.float64) / INK


def _with_warped_copies(images: Rows, labels: Rows) -> tuple[Rows, Rows]:
    random = np.random.default_rng(SEED)
    copies = [np.stack([_warped(image, random) for image in images]) for _ in range(WARPED_COPIES)]
    return np.concatenate([images, *copies]), np.tile(labels, WARPED_COPIES + 1)


def _warped(image: Rows, random: np.random.Generator) -> Rows:
    """The image turned up to 14 degrees, sheared, scaled by up to 15 % and moved by up to 0.8 pixels."""
    angle, shear = random.uniform(-0.25, 0.25, size=2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1.0, shear], [0.0, 1.0]]) / random.uniform(0.85, 1.15)
    centre = np.full(2, (SIDE - 1) / 2)
    offset = centre - matrix @ centre + random.uniform(-0.8, 0.8, size=2)
    return np.asarray(affine_transform(image, matrix, offset, order=1))


def _export(layers: list[Layer]) -> onnx.ModelProto:
    """The layers as a graph of standard operators, with a ReLU between each two."""
    weights = [graph.constant("ink", np.array(INK, dtype=np.float32))]
    nodes = [
        helper.make_node("Div", ["image", "ink"], ["scaled"], name="scale"),
        helper.make_node("Flatten", ["scaled"], ["layer_0"], name="flatten", axis=1),
    ]
    for index, (matrix, bias) in enumerate(layers, start=1):
        weights.append(graph.constant(f"weights_{index}", matrix.astype(np.float32)))
        weights.append(graph.constant(f"bias_{index}", bias.astype(np.float32)))
        source = f"layer_{index - 1}"
        if index > 1:
            nodes.append(helper.make_node("Relu", [source], [f"{source}_relu"], name=f"relu_{index}"))
            source = f"{source}_relu"
        gemm_inputs = [source, f"weights_{index}", f"bias_{index}"]
        nodes.append(helper.make_node("Gemm", gemm_inputs, [f"layer_{index}"], name=f"gemm_{index}"))
    scores = f"layer_{len(layers)}"
    nodes += [
        helper.make_node("Softmax", [scores], ["probabilities"], name="softmax", axis=1),
        helper.make_node("ArgMax", [scores], ["label"], name="argmax", axis=1, keepdims=1),
    ]
    outputs = [
        graph.tensor("probabilities", TensorProto.FLOAT, len(CLASSES)),
        graph.tensor("label", TensorProto.INT64, 1),
    ]
    return graph.build(
        "digits", nodes, [graph.tensor("image", TensorProto.FLOAT, SIDE, SIDE)], outputs, weights
    )


def _write_rows(folder: Path, images: Rows) -> None:
    np.save(folder / "images.npy", images, allow_pickle=False)
