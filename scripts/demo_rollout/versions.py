"""Makes what a rollout has to find: versions of `digits` that answer wrongly, slowly, or not always."""

import math

import numpy as np
import onnx
from onnx import helper, numpy_helper

from samples import evaluate, graph
from samples.sample import Rows

WEIGHTS = "weights_2"
"""From the hidden units to the digits, in version 2."""

SEED = 7
FAILING_SHARE = 0.02
SLOW_SIDE = 256
SLOW_ROUNDS = 45


def with_wrong_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """The last layer's weights belong to other hidden units: as after a mistake in an export."""
    changed = _copy(model, "the weights of its last layer are shuffled")
    for weights in changed.graph.initializer:
        if weights.name == WEIGHTS:
            values = numpy_helper.to_array(weights)
            shuffled = np.random.default_rng(SEED).permutation(values, axis=0)
            weights.CopyFrom(numpy_helper.from_array(shuffled, WEIGHTS))
            return _checked(changed)
    raise ValueError(f"the model has no {WEIGHTS!r}")


def slowed(model: onnx.ModelProto, rounds: int = SLOW_ROUNDS) -> onnx.ModelProto:
    """The same answers, after `rounds` products of large matrices for each batch.

    The matrices begin with the mean of the batch, so nothing can be computed beforehand; a number from the
    result is added to the images, times nothing.
    """
    turn = np.random.default_rng(SEED).standard_normal((SLOW_SIDE, SLOW_SIDE)) / math.sqrt(SLOW_SIDE)
    weights = [
        graph.constant("turn", turn.astype(np.float32)),
        graph.constant("nothing", np.array(0, dtype=np.float32)),
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], name="mean", keepdims=0),
        helper.make_node("Add", ["turn", "mean"], ["round_0"], name="begin"),
    ]
    for number in range(1, rounds + 1):
        product, end = f"product_{number}", f"round_{number}"
        nodes += [
            helper.make_node("MatMul", [f"round_{number - 1}", "turn"], [product], name=product),
            helper.make_node("Tanh", [product], [end], name=end),
        ]
    nodes += [
        helper.make_node("ReduceMean", [f"round_{rounds}"], ["outcome"], name="outcome", keepdims=0),
        helper.make_node("Mul", ["outcome", "nothing"], ["addend"], name="addend"),
    ]
    return _before_all(model, f"computes {rounds} products of matrices for nothing", nodes, weights)


def failing(model: onnx.ModelProto, images: Rows, share: float = FAILING_SHARE) -> onnx.ModelProto:
    """The same answers, but none to about `share` of `images`: those with the most ink.

    A table, looked up by an image's ink, is too short for them; ONNX Runtime says so when it executes.
    """
    length = math.ceil(np.quantile(images.sum(axis=(1, 2)), 1 - share))
    weights = [
        graph.constant("pixels", np.array([1, 2], dtype=np.int64)),
        graph.constant("table", np.zeros(length, dtype=np.float32)),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["image", "pixels"], ["ink_sum"], name="ink_sum", keepdims=1),
        helper.make_node("Cast", ["ink_sum"], ["place"], name="place", to=onnx.TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["addend"], name="look_up"),
    ]
    return _before_all(model, f"fails above {length - 1} of ink, which its table lacks", nodes, weights)


def labels(model: onnx.ModelProto, images: Rows) -> Rows:
    """What the model takes each of `images` for."""
    return evaluate.answers(model.SerializeToString(), images)["label"].ravel()


def _before_all(
    model: onnx.ModelProto,
    description: str,
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto],
) -> onnx.ModelProto:
    """With `nodes` before the graph; it gets the image plus their `addend`."""
    changed = _copy(model, description)
    for node in changed.graph.node:
        node.input[:] = ["image_plus" if name == "image" else name for name in node.input]
    added = [*nodes, helper.make_node("Add", ["image", "addend"], ["image_plus"], name="plus")]
    for node in reversed(added):
        changed.graph.node.insert(0, node)
    changed.graph.initializer.extend(weights)
    return _checked(changed)


def _copy(model: onnx.ModelProto, description: str) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return graph.with_metadata(copy, {"description": f"sabotaged version 2: {description}"})


def _checked(model: onnx.ModelProto) -> onnx.ModelProto:
    onnx.checker.check_model(model, full_check=True)
    return model
