"""Small ONNX models whose answers can be told beforehand, and a repository of all of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

ELEMENT_TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
    "BF16": TensorProto.BFLOAT16,
}

NUMPY = {
    "BOOL": np.dtype(bool),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}

Dims = Sequence[int | str]
Writer = Callable[[Path, str], object]

LOOKUP_SIZE = 10
EXTERNAL_WEIGHTS = np.arange(4, dtype=np.float32) * 10
DEFAULT_BIAS = np.full(4, 100, np.float32)


def value(name: str, datatype: str, dims: Dims) -> ValueInfoProto:
    """An input or output; a name stands for a variable size."""
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[datatype], dims)


def model(
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    initializers: Sequence[TensorProto] = (),
) -> ModelProto:
    graph = helper.make_graph(nodes, "graph", list(inputs), list(outputs), list(initializers))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def identity(datatype: str, dims: Dims = ("batch", "width")) -> ModelProto:
    """y = x."""
    node = helper.make_node("Identity", ["x"], ["y"])
    return model([node], [value("x", datatype, dims)], [value("y", datatype, dims)])


def sums(dims: Dims = ("batch", 4)) -> ModelProto:
    """sum = a + b, difference = a - b, and first = a."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["sum"]),
        helper.make_node("Sub", ["a", "b"], ["difference"]),
        helper.make_node("Identity", ["a"], ["first"]),
    ]
    inputs = [value(name, "FP32", dims) for name in ("a", "b")]
    outputs = [value(name, "FP32", dims) for name in ("sum", "difference", "first")]
    return model(nodes, inputs, outputs)


def mixed() -> ModelProto:
    """Four inputs of different types and shapes, each given back as `<name>_out`, in the reverse order."""
    declared = {
        "number": ("INT64", ("batch", 1)),
        "text": ("BYTES", ("batch", "words")),
        "flag": ("BOOL", ("batch", 2)),
        "matrix": ("FP16", ("batch", 2, "columns")),
    }
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in declared]
    inputs = [value(name, datatype, dims) for name, (datatype, dims) in declared.items()]
    outputs = [value(f"{name}_out", *declared[name]) for name in reversed(declared)]
    return model(nodes, inputs, outputs)


def optional() -> ModelProto:
    """y = x + bias, where `bias` is DEFAULT_BIAS unless the caller sends one."""
    node = helper.make_node("Add", ["x", "bias"], ["y"])
    inputs = [value(name, "FP32", (4,)) for name in ("x", "bias")]
    return model([node], inputs, [value("y", "FP32", (4,))], [numpy_helper.from_array(DEFAULT_BIAS, "bias")])


def lookup() -> ModelProto:
    """y = x * 11 for x of 0 to LOOKUP_SIZE - 1; any other fails while the model runs."""
    table = numpy_helper.from_array(np.arange(LOOKUP_SIZE, dtype=np.int64) * 11, "table")
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    dims = ("batch", "width")
    return model([node], [value("x", "INT64", dims)], [value("y", "INT64", dims)], [table])


def logarithm() -> ModelProto:
    """y = log(x): NaN for what is negative, -Inf for 0."""
    dims = ("batch", "width")
    node = helper.make_node("Log", ["x"], ["y"])
    return model([node], [value("x", "FP32", dims)], [value("y", "FP32", dims)])


def select() -> ModelProto:
    """y is x without the rows whose flag is off: too few rows, whatever it declares."""
    node = helper.make_node("Compress", ["x", "flags"], ["y"], axis=0)
    squeeze = helper.make_node("Squeeze", ["flag", "axes"], ["flags"])
    inputs = [value("x", "FP32", ("batch", 4)), value("flag", "BOOL", ("batch", 1))]
    axes = numpy_helper.from_array(np.array([1], np.int64), "axes")
    return model([squeeze, node], inputs, [value("y", "FP32", ("batch", 4))], [axes])


def fill() -> ModelProto:
    """y is as many zeros as `shape` says: a few bytes in, any number out."""
    node = helper.make_node("ConstantOfShape", ["shape"], ["y"])
    return model([node], [value("shape", "INT64", (2,))], [value("y", "FP32", ("rows", "columns"))])


def work() -> ModelProto:
    """y is a sum over as many elements as `shape` says: a few bytes in and out, any work between."""
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("Cos", ["zeros"], ["ones"]),
        helper.make_node("ReduceMean", ["ones"], ["y"], keepdims=0),
    ]
    return model(nodes, [value("shape", "INT64", (2,))], [value("y", "FP32", ())])


def steps() -> ModelProto:
    """y = x after `x[0]` steps of work, each some tens of microseconds: requests that take their time."""
    size = 160
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["before", "weights"], ["product"]),
            helper.make_node("Clip", ["product", "low", "high"], ["after"]),
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
        ],
        "body",
        [
            value("step", "INT64", ()),
            value("go_on", "BOOL", ()),
            value("before", "FP32", (size, size)),
        ],
        [value("goes_on", "BOOL", ()), value("after", "FP32", (size, size))],
    )
    nodes = [
        helper.make_node("Squeeze", ["x", "axes"], ["count"]),
        helper.make_node("Loop", ["count", "", "weights"], ["result"], body=body),
        helper.make_node("ReduceMin", ["result"], ["least"], keepdims=0),
        helper.make_node("Cast", ["least"], ["zero"], to=TensorProto.INT64),
        helper.make_node("Min", ["zero", "none"], ["nothing"]),
        helper.make_node("Add", ["x", "nothing"], ["y"]),
    ]
    initializers = [
        numpy_helper.from_array(np.full((size, size), 0.5, np.float32), "weights"),
        numpy_helper.from_array(np.array(0, np.float32), "low"),
        numpy_helper.from_array(np.array(1, np.float32), "high"),
        numpy_helper.from_array(np.array(0, np.int64), "none"),
        numpy_helper.from_array(np.array([0], np.int64), "axes"),
    ]
    return model(nodes, [value("x", "INT64", (1,))], [value("y", "INT64", (1,))], initializers)


def halves() -> ModelProto:
    """y = x // 2: a version that can be told from an identity."""
    node = helper.make_node("Div", ["x", "two"], ["y"])
    dims = ("batch", 1)
    two = numpy_helper.from_array(np.array(2, np.int64), "two")
    return model([node], [value("x", "INT64", dims)], [value("y", "INT64", dims)], [two])


def external() -> tuple[ModelProto, Mapping[str, bytes]]:
    """y = x + EXTERNAL_WEIGHTS, and the file beside the graph that holds these."""
    weights = numpy_helper.from_array(EXTERNAL_WEIGHTS, "w")
    data = weights.raw_data
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    for key, text in {"location": "weights.bin", "offset": "0", "length": str(len(data))}.items():
        entry = weights.external_data.add()
        entry.key, entry.value = key, text
    node = helper.make_node("Add", ["x", "w"], ["y"])
    dims = ("batch", 4)
    return model([node], [value("x", "FP32", dims)], [value("y", "FP32", dims)], [weights]), {
        "weights.bin": data
    }


def write(
    repository: Path,
    name: str,
    graph: ModelProto,
    config: str = "",
    version: int = 1,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes `<name>/<version>/model.onnx`, `files` and `config`, if any; gives the model's folder."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString(deterministic=True))
    for path, data in (files or {}).items():
        (folder / path).write_bytes(data)
    if config:
        (folder.parent / "config.yaml").write_text(config)
    return folder.parent


def write_models(repository: Path, *names: str) -> None:
    """Those of `names`, or every model of this file."""
    for name in names or MODELS:
        MODELS[name](repository, name)


def _stored(graph: ModelProto, config: str = "") -> Writer:
    return lambda repository, name: write(repository, name, graph, config)


def _write_external(repository: Path, name: str) -> None:
    graph, files = external()
    write(repository, name, graph, files=files)


def _write_labelled(repository: Path, name: str) -> None:
    folder = write(repository, name, identity("FP32", ("batch", 3)), LABELLED)
    (folder / "labels.txt").write_text("zero\none\ntwo\n")


def _write_versions(repository: Path, name: str) -> None:
    write(repository, name, identity("INT64", ("batch", 1)), "version_policy: all\n")
    write(repository, name, halves(), version=3)


def array(datatype: str, shape: Sequence[int], seed: int = 0) -> NDArray[np.generic]:
    """Every bit pattern may come, NaN among them; BYTES elements are UTF-8 of any length, and empty ones."""
    random = np.random.default_rng([seed, len(shape), *shape])
    count = int(np.prod(shape))
    if datatype == "BYTES":
        texts = [
            "é" * int(length) + chr(0x4E00 + index % 1000)
            for index, length in enumerate(random.integers(0, 9, count))
        ]
        elements = np.empty(count, object)
        elements[:] = [b"" if index % 7 == 6 else text.encode() for index, text in enumerate(texts)]
        return elements.reshape(shape)
    kind = NUMPY[datatype]
    if datatype == "BOOL":
        return random.integers(0, 2, count).astype(bool).reshape(shape)
    return np.frombuffer(random.bytes(count * kind.itemsize), kind).reshape(shape)


UNBATCHED = """\
max_batch_size: 0
input: [{name: x, data_type: TYPE_FP32, dims: [-1, 3, -1]}]
output: [{name: y, data_type: TYPE_FP32, dims: [-1, 3, -1]}]
"""

RESHAPED = """\
max_batch_size: 8
input: [{name: x, data_type: TYPE_FP32, dims: [1], reshape: {shape: []}}]
output: [{name: y, data_type: TYPE_FP32, dims: [1], reshape: {shape: []}}]
"""

LABELLED = """\
output: [{name: y, data_type: TYPE_FP32, dims: [3], label_filename: labels.txt}]
"""

OPTIONAL = """\
input:
  - {name: x, data_type: TYPE_FP32, dims: [4]}
  - {name: bias, data_type: TYPE_FP32, dims: [4], optional: true}
"""

MODELS: dict[str, Writer] = {
    **{f"identity_{datatype.lower()}": _stored(identity(datatype)) for datatype in ELEMENT_TYPES},
    **{f"fixed_{datatype.lower()}": _stored(identity(datatype, (2, 3))) for datatype in ELEMENT_TYPES},
    "variable": _stored(identity("FP32", ("n", 3, "m")), UNBATCHED),
    "scalar": _stored(identity("FP32", ())),
    "reshaped": _stored(identity("FP32", ("batch",)), RESHAPED),
    "fixed_batch": _stored(identity("FP32", (4, 3)), "max_batch_size: 4\ndynamic_batching: {}\n"),
    "sums": _stored(sums()),
    "mixed": _stored(mixed()),
    "optional": _stored(optional(), OPTIONAL),
    "lookup": _stored(lookup()),
    "logarithm": _stored(logarithm()),
    "select": _stored(select()),
    "fill": _stored(fill()),
    "work": _stored(work()),
    "steps": _stored(steps()),
    "labelled": _write_labelled,
    "external": _write_external,
    "versions": _write_versions,
}
