"""Puts an ONNX graph into the form that all samples share."""

from collections.abc import Mapping, Sequence

import onnx
from onnx import TensorProto, helper, numpy_helper

from samples.sample import Rows

OPSET = 17
ML_OPSET = 3
IR_VERSION = 8
"""The IR version that came with opset 17: onnxruntime 1.12 and everything later loads it."""

BATCH = "batch"


def tensor(name: str, element_type: int, *dims: int) -> onnx.ValueInfoProto:
    """An input or output of a free number of rows, each of shape `dims`."""
    return helper.make_tensor_value_info(name, element_type, [BATCH, *dims])


def constant(name: str, values: Rows) -> onnx.TensorProto:
    """A weight of the graph."""
    return numpy_helper.from_array(values, name)


def build(
    name: str,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    """A checked model of the given parts that needs standard operators only."""
    model = helper.make_model(
        helper.make_graph(list(nodes), name, list(inputs), list(outputs), list(weights)),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="headrace samples",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def extend(
    converted: onnx.ModelProto,
    renamed: Mapping[str, str],
    nodes: Sequence[onnx.NodeProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    """A checked copy of a converted model that goes on with `nodes` and gives `outputs` in place of its own.

    `renamed` makes room for outputs that the conversion named already.
    """
    model = onnx.ModelProto()
    model.CopyFrom(converted)
    model.ir_version = IR_VERSION
    # The converter keeps the operator sets in a set, and so in another order each time.
    model.opset_import.sort(key=lambda opset: opset.domain)
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in model.graph.input:
        value.type.tensor_type.shape.dim[0].dim_param = BATCH
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(weights)
    del model.graph.output[:]
    model.graph.output.extend(outputs)
    onnx.checker.check_model(model)
    return model


LabelColumn = tuple[onnx.NodeProto, onnx.ValueInfoProto, onnx.TensorProto]
"""A node, the output it gives and the weight it needs."""


def label_column(source: str, element_type: int) -> LabelColumn:
    """What turns labels of shape [rows] into the output `label` of shape [rows, 1]."""
    axis = helper.make_tensor("label_axis", TensorProto.INT64, [1], [1])
    node = helper.make_node("Unsqueeze", [source, "label_axis"], ["label"], name="label_column")
    return node, tensor("label", element_type, 1), axis


def with_metadata(model: onnx.ModelProto, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """A copy of the model that carries `metadata`, sorted by key."""
    described = onnx.ModelProto()
    described.CopyFrom(model)
    helper.set_model_props(described, dict(sorted(metadata.items())))
    return described
