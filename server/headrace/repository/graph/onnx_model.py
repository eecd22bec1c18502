"""An ONNX model as the server sees it: its bytes, its external data and what its graph declares."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from onnx import ModelProto, TypeProto, ValueInfoProto

from headrace.core.tensor import DataType, Shape
from headrace.repository.graph.proto_text import text
from headrace.repository.graph.tensor_proto import served_datatype, type_name

_FIRST_VERSION_WITH_OPTIONAL_INPUTS = 4


@dataclass(frozen=True, slots=True)
class GraphTensor:
    """An input or output of the graph.

    `shape` has -1 for a dimension without a size, and is None where the graph does not even tell the rank.
    `dim_names` has the symbolic name of each dimension, "" where there is none. `is_optional` marks an input
    whose default is an initializer.
    """

    name: str
    datatype: DataType
    shape: Shape | None
    dim_names: tuple[str, ...] = ()
    is_optional: bool = False

    def __str__(self) -> str:
        """The datatype and the shape, with the symbolic names: `FP32 [batch, 3, 224, 224]`."""
        if self.shape is None:
            return f"{self.datatype.value} of unknown rank"
        sizes = (name or str(size) for name, size in zip(self.dim_names, self.shape, strict=True))
        return f"{self.datatype.value} [{', '.join(sizes)}]"


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A version's graph, read once and checked.

    `data` is the ONNX file, `external` the contents of the files that its initializers name, by the location
    as the graph writes it. `sha256` has the digest of each file read, by its path in the version's folder.
    `has_fixed_cost` tells whether only the shapes of the inputs decide how long it executes.
    `unservable` has the outputs that no tensor can carry (sequences, maps), by name, with their type.
    """

    data: bytes
    external: Mapping[str, bytes]
    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    unservable: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    sha256: Mapping[str, str] = field(default_factory=dict)
    ir_version: int = 0
    opsets: Mapping[str, int] = field(default_factory=dict)
    producer: str = ""
    has_fixed_cost: bool = False

    @property
    def byte_size(self) -> int:
        """How many bytes the files read have together."""
        return len(self.data) + sum({id(data): len(data) for data in self.external.values()}.values())


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model declares; the fields are those of OnnxModel."""

    inputs: tuple[GraphTensor, ...]
    outputs: tuple[GraphTensor, ...]
    unservable: Mapping[str, str]
    metadata: Mapping[str, str]
    opsets: Mapping[str, int]
    producer: str


def signature(model: ModelProto) -> Signature:
    """The inputs and outputs of the main graph and more; ValueError names what cannot be served."""
    graph = model.graph
    for value in (*graph.input, *graph.output):
        text(value.name)
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {sparse.values.name for sparse in graph.sparse_initializer}
    may_be_optional = model.ir_version >= _FIRST_VERSION_WITH_OPTIONAL_INPUTS
    inputs = tuple(
        _tensor("input", value, is_optional=value.name in constants)
        for value in graph.input
        if value.name not in constants or (may_be_optional and _is_servable(value.type))
    )
    others = [value for value in graph.output if not _is_servable(value.type)]
    outputs = tuple(_tensor("output", value) for value in graph.output if _is_servable(value.type))
    _check_names("input", [tensor.name for tensor in inputs])
    _check_names("output", [value.name for value in graph.output])
    return Signature(
        inputs,
        outputs,
        unservable={value.name: _type_text(value.type) for value in others},
        metadata={text(entry.key): text(entry.value) for entry in model.metadata_props},
        opsets={text(opset.domain) or "ai.onnx": opset.version for opset in model.opset_import},
        producer=f"{text(model.producer_name)} {text(model.producer_version)}".strip(),
    )


def _tensor(role: str, value: ValueInfoProto, *, is_optional: bool = False) -> GraphTensor:
    datatype = served_datatype(value.type.tensor_type.elem_type)
    if datatype is None or not _is_servable(value.type):
        raise ValueError(f"{role} {value.name!r} is a {_type_text(value.type)}, which cannot be served")
    if not value.type.tensor_type.HasField("shape"):
        return GraphTensor(value.name, datatype, None, (), is_optional)
    dims = value.type.tensor_type.shape.dim
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else -1 for dim in dims)
    if any(size < -1 for size in shape):
        raise ValueError(f"{role} {value.name!r} has a negative size in its shape {list(shape)}")
    names = tuple(text(dim.dim_param) if dim.HasField("dim_param") else "" for dim in dims)
    return GraphTensor(value.name, datatype, shape, names, is_optional)


def _is_servable(declared: TypeProto) -> bool:
    return declared.HasField("tensor_type") and served_datatype(declared.tensor_type.elem_type) is not None


def _type_text(declared: TypeProto) -> str:
    """The type in words, as ONNX writes it: `sequence(map(INT64, FLOAT tensor))`."""
    match declared.WhichOneof("value"):
        case "tensor_type":
            return f"{type_name(declared.tensor_type.elem_type)} tensor"
        case "sparse_tensor_type":
            return f"sparse {type_name(declared.sparse_tensor_type.elem_type)} tensor"
        case "sequence_type":
            return f"sequence({_type_text(declared.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({_type_text(declared.optional_type.elem_type)})"
        case "map_type":
            key = type_name(declared.map_type.key_type)
            return f"map({key}, {_type_text(declared.map_type.value_type)})"
        case None:
            return "value without a type"
        case other:
            return f"value of {other}"


def _check_names(role: str, names: list[str]) -> None:
    if "" in names:
        raise ValueError(f"an {role} of the graph has no name")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise ValueError(f"the graph has two {role}s named {twice[0]!r}")
