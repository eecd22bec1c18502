"""Walks every tensor and node of an ONNX model, wherever it hides: subgraphs, functions, training graphs."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from onnx import (
    AttributeProto,
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    SparseTensorProto,
    TensorProto,
)

MAX_GRAPH_DEPTH = 16


@dataclass(frozen=True, slots=True)
class PlacedTensor:
    """A tensor and where it was found; only initializers of the main graph may have external data."""

    tensor: TensorProto
    place: str
    is_main_initializer: bool = False


@dataclass(frozen=True, slots=True)
class PlacedSparseTensor:
    """A sparse tensor and where it was found; its two parts are found as tensors of their own, too."""

    tensor: SparseTensorProto
    place: str


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """A node and where it was found."""

    node: NodeProto
    place: str


Placed: TypeAlias = PlacedTensor | PlacedSparseTensor | PlacedNode
_Waiting: TypeAlias = tuple[GraphProto, str, int]


def walk(model: ModelProto) -> Iterator[Placed]:
    """Everything in `model` that can carry data or run; ValueError where graphs nest too deeply."""
    waiting: list[_Waiting] = [(model.graph, "", 0)]
    for index, training in enumerate(model.training_info):
        waiting.append((training.initialization, f" of training_info[{index}].initialization", 1))
        waiting.append((training.algorithm, f" of training_info[{index}].algorithm", 1))
    for function in model.functions:
        yield from _walk_function(function, waiting)
    while waiting:
        graph, within, depth = waiting.pop()
        if depth > MAX_GRAPH_DEPTH:
            raise ValueError(f"graphs are nested more than {MAX_GRAPH_DEPTH} deep")
        yield from _walk_graph(graph, within, depth, waiting)


def _walk_graph(graph: GraphProto, within: str, depth: int, waiting: list[_Waiting]) -> Iterator[Placed]:
    for tensor in graph.initializer:
        yield PlacedTensor(tensor, f"initializer {tensor.name!r}{within}", is_main_initializer=depth == 0)
    for sparse in graph.sparse_initializer:
        yield from _walk_sparse(sparse, f"sparse initializer {sparse.values.name!r}{within}")
    yield from _walk_nodes(graph.node, within, depth, waiting)


def _walk_function(function: FunctionProto, waiting: list[_Waiting]) -> Iterator[Placed]:
    within = f" of function {function.name!r}"
    for attribute in function.attribute_proto:
        yield from _walk_attribute(attribute, within, 1, waiting)
    yield from _walk_nodes(function.node, within, 1, waiting)


def _walk_nodes(
    nodes: Iterable[NodeProto], within: str, depth: int, waiting: list[_Waiting]
) -> Iterator[Placed]:
    for node in nodes:
        place = f"node {node.name!r}{within}" if node.name else f"a node {node.op_type!r}{within}"
        yield PlacedNode(node, place)
        for attribute in node.attribute:
            yield from _walk_attribute(attribute, f" of {place}", depth, waiting)


def _walk_attribute(
    attribute: AttributeProto, within: str, depth: int, waiting: list[_Waiting]
) -> Iterator[Placed]:
    """Looks at every field, whatever the attribute's type says: readers differ in which they trust."""
    place = f"attribute {attribute.name!r}{within}"
    if attribute.HasField("t"):
        yield PlacedTensor(attribute.t, place)
    for tensor in attribute.tensors:
        yield PlacedTensor(tensor, place)
    if attribute.HasField("sparse_tensor"):
        yield from _walk_sparse(attribute.sparse_tensor, place)
    for sparse in attribute.sparse_tensors:
        yield from _walk_sparse(sparse, place)
    if attribute.HasField("g"):
        waiting.append((attribute.g, f" of {place}", depth + 1))
    waiting.extend((graph, f" of {place}", depth + 1) for graph in attribute.graphs)


def _walk_sparse(sparse: SparseTensorProto, place: str) -> Iterator[Placed]:
    yield PlacedSparseTensor(sparse, place)
    yield PlacedTensor(sparse.values, f"the values of {place}")
    yield PlacedTensor(sparse.indices, f"the indices of {place}")
