"""Small ONNX models and repositories for tests."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
Dims = Sequence[int | str | None] | None


def value(name: str, dims: Dims, elem_type: int = FLOAT) -> ValueInfoProto:
    """A graph's input or output; None for dims of unknown rank."""
    return helper.make_tensor_value_info(name, elem_type, dims)


def graph_model(
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    initializers: Sequence[TensorProto] = (),
) -> ModelProto:
    """A model with these declarations; its nodes are not meant to run."""
    nodes = [helper.make_node("Identity", [inputs[0].name], [output.name]) for output in outputs]
    graph = helper.make_graph(nodes, "graph", list(inputs), list(outputs), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def model(input_dims: Dims = ("batch", 4), output_dims: Dims = ("batch", 3)) -> ModelProto:
    """A model with one input `x` and one output `y`."""
    return graph_model([value("x", input_dims)], [value("y", output_dims)])


def linear() -> ModelProto:
    """y = x @ w, with w of 4 by 3."""
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "w")
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    inputs, outputs = [value("x", ["batch", 4])], [value("y", ["batch", 3])]
    graph = helper.make_graph([node], "linear", inputs, outputs, [weights])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_external(tensor: TensorProto, entries: Mapping[str, str]) -> bytes:
    """Takes the data out of `tensor`, names `entries` as where it lies, and gives the data."""
    data = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, text in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, text
    return data


def external_tensor(location: str) -> TensorProto:
    """A tensor of four floats in the file `location`."""
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    make_external(tensor, {"location": location})
    return tensor


def write_model(
    repository: Path,
    graph: ModelProto | bytes | None = None,
    config: str = "",
    name: str = "m",
    version: int = 1,
) -> Path:
    """Writes `<name>/<version>/model.onnx` and a config.yaml, if any; gives the model's folder."""
    data = graph if isinstance(graph, bytes) else (graph or model()).SerializeToString()
    folder = repository / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(data)
    if config:
        (folder.parent / "config.yaml").write_text(config)
    return folder.parent
