"""Models that misbehave on demand, and repositories of them: what the tests under adversity are served."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

# Spins that no test lives to see the end of.
FOREVER = 10**15
# Elements that no machine has the memory for.
TOO_MANY = 2**46


def scaler(factor: float, padding_bytes: int = 0) -> ModelProto:
    """y = x * factor for rows of four FP32; the file is `padding_bytes` larger than it need be."""
    initializers = [numpy_helper.from_array(np.float32(factor), "factor")]
    if padding_bytes:
        noise = np.random.default_rng(0).integers(0, 256, padding_bytes, np.uint8)
        initializers.append(numpy_helper.from_array(noise, "padding"))
    nodes = [helper.make_node("Mul", ["x", "factor"], ["y"])]
    return _model(nodes, [_value("x", ["batch", 4])], [_value("y", ["batch", 4])], initializers)


def external_scaler(factor: float, location: str) -> tuple[ModelProto, bytes]:
    """y = x * factor * 1, whose ones lie in the file `location`; the model and that file's content."""
    ones = numpy_helper.from_array(np.ones((4096, 4), np.float32), "ones")
    content = ones.raw_data
    ones.ClearField("raw_data")
    ones.data_location = TensorProto.EXTERNAL
    entry = ones.external_data.add()
    entry.key, entry.value = "location", location
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["scaled"]),
        helper.make_node("ReduceMax", ["ones"], ["one"], axes=[0], keepdims=0),
        helper.make_node("Mul", ["scaled", "one"], ["y"]),
    ]
    initializers = [numpy_helper.from_array(np.float32(factor), "factor"), ones]
    model = _model(nodes, [_value("x", ["batch", 4])], [_value("y", ["batch", 4])], initializers)
    return model, content


def spinner(*, at_least: int = 0) -> ModelProto:
    """echo = spins, after as many turns of a loop as the batch's largest `spins` (some µs a turn).

    The loop runs node by node, so that it can be interrupted; a batch takes as long as its slowest row, and
    `at_least` so many turns.
    """
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["goes_on"], ["goes_on_after"]),
            helper.make_node("Add", ["count", "one"], ["count_after"]),
        ],
        "turn",
        [
            _value("turn", [], TensorProto.INT64),
            _value("goes_on", [], TensorProto.BOOL),
            _value("count", [], TensorProto.INT64),
        ],
        [_value("goes_on_after", [], TensorProto.BOOL), _value("count_after", [], TensorProto.INT64)],
        [numpy_helper.from_array(np.int64(1), "one")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["spins"], ["most"], keepdims=0),
        helper.make_node("Max", ["most", "at_least"], ["turns"]),
        helper.make_node("Loop", ["turns", "", "zero"], ["count"], body=body),
        helper.make_node("Mul", ["count", "zero"], ["nothing"]),
        helper.make_node("Add", ["spins", "nothing"], ["echo"]),
    ]
    spins = _value("spins", ["batch", 1], TensorProto.INT64)
    echo = _value("echo", ["batch", 1], TensorProto.INT64)
    constants = {"zero": 0, "at_least": at_least}
    initializers = [numpy_helper.from_array(np.int64(number), name) for name, number in constants.items()]
    return _model(nodes, [spins], [echo], initializers)


def picker() -> ModelProto:
    """value = ten_fold[index] for index 0 to 9; any other index fails while it executes."""
    table = numpy_helper.from_array(np.arange(10, dtype=np.int64) * 10, "ten_fold")
    nodes = [helper.make_node("Gather", ["ten_fold", "index"], ["value"])]
    index = _value("index", ["batch", 1], TensorProto.INT64)
    value = _value("value", ["batch", 1], TensorProto.INT64)
    return _model(nodes, [index], [value], [table])


def filler() -> ModelProto:
    """sum = 0, of `count` zeros that are all in memory at once; does not batch."""
    nodes = [
        helper.make_node("ConstantOfShape", ["count"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=1),
    ]
    return _model(nodes, [_value("count", [1], TensorProto.INT64)], [_value("sum", [1])])


def identity(element_type: int, dims: list[int | str]) -> ModelProto:
    """out = in, copied by the graph and not passed through."""
    nodes = [helper.make_node("Identity", ["in"], ["out"])]
    return _model(nodes, [_value("in", dims, element_type)], [_value("out", dims, element_type)])


def write_model(
    repository: Path,
    name: str,
    model: ModelProto | bytes,
    *,
    version: int = 1,
    config: str | bytes | None = None,
    files: dict[str, bytes] | None = None,
) -> Path:
    """Puts one version into place in one step, the way operators are told to; gives the model's file.

    `files` lie beside it, by path. A `config` replaces the model's config.yaml.
    """
    folder = repository / name
    folder.mkdir(exist_ok=True)
    if config is not None:
        write_config(folder, config)
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with tempfile.TemporaryDirectory(dir=repository.parent) as scratch:
        draft = Path(scratch) / "draft"
        draft.mkdir()
        (draft / "model.onnx").write_bytes(data)
        for file, content in (files or {}).items():
            (draft / file).parent.mkdir(exist_ok=True)
            (draft / file).write_bytes(content)
        place = folder / str(version)
        if place.exists():
            place.rename(Path(scratch) / "before")
        draft.rename(place)
    return place / "model.onnx"


def write_config(folder: Path, text: str | bytes) -> None:
    """Replaces a model's config.yaml in one step."""
    draft = folder.parent.parent / f".{folder.name}.yaml"
    draft.write_bytes(text.encode() if isinstance(text, str) else text)
    draft.rename(folder / "config.yaml")


def remove_version(repository: Path, name: str, version: int) -> None:
    """Takes one version away in one step."""
    with tempfile.TemporaryDirectory(dir=repository.parent) as scratch:
        shutil.move(repository / name / str(version), scratch)


def _value(name: str, dims: list[int | str], element_type: int = TensorProto.FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, element_type, dims)


def _model(
    nodes: list[NodeProto],
    inputs: list[ValueInfoProto],
    outputs: list[ValueInfoProto],
    initializers: list[TensorProto] | None = None,
) -> ModelProto:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers or [])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
