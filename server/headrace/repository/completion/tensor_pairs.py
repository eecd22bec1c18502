"""Inputs and outputs paired by name: what the configuration says of a tensor, and what the graph says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from headrace.core.tensor import Shape
from headrace.pb.inference import model_config_pb2 as pb
from headrace.repository.graph.onnx_model import GraphTensor, OnnxModel
from headrace.repository.problems import Findings, shown
from headrace.settings.suggestion import did_you_mean

TensorMessage: TypeAlias = pb.ModelInput | pb.ModelOutput


@dataclass(frozen=True, slots=True)
class TensorPair:
    """One tensor; `role` is "input" or "output", `path` its field in the configuration.

    `message` is completed in place. It starts empty where the configuration says nothing of the tensor.
    """

    role: str
    path: str
    message: TensorMessage
    graph: GraphTensor

    @property
    def model_dims(self) -> Shape:
        """The configured dims as the graph sees them."""
        has_reshape = self.message.HasField("reshape")
        return tuple(self.message.reshape.shape if has_reshape else self.message.dims)


def pair_inputs(message: pb.ModelConfig, model: OnnxModel, findings: Findings) -> list[TensorPair]:
    """The inputs of the model; a configuration that lists some must list all that the graph requires."""
    graph = {tensor.name: tensor for tensor in model.inputs}
    required = [tensor for tensor in model.inputs if not tensor.is_optional]
    if not message.input:
        message.input.extend(pb.ModelInput(name=tensor.name) for tensor in required)
        return _pair("input", message.input, graph, findings, {})
    pairs = _pair("input", message.input, graph, findings, {})
    named = {tensor.name for tensor in message.input}
    for tensor in required:
        if tensor.name not in named:
            findings.refuse("input", f"the graph's input {tensor.name!r} ({tensor}) is not listed; add it")
    for pair in pairs:
        if isinstance(pair.message, pb.ModelInput) and pair.message.optional and not pair.graph.is_optional:
            reason = f"true is given, but the graph has no default for {pair.graph.name!r}"
            findings.refuse(f"{pair.path}.optional", reason)
    return pairs


def pair_outputs(message: pb.ModelConfig, model: OnnxModel, findings: Findings) -> list[TensorPair]:
    """The outputs of the model; the configuration may list fewer than the graph has."""
    graph = {tensor.name: tensor for tensor in model.outputs}
    if not message.output:
        message.output.extend(pb.ModelOutput(name=tensor.name) for tensor in model.outputs)
        for name, kind in model.unservable.items():
            findings.refuse(
                "output", f"{name!r} is a {kind}, which no tensor can carry; list the outputs to serve"
            )
    return _pair("output", message.output, graph, findings, model.unservable)


def _pair(
    role: str,
    messages: Iterable[TensorMessage],
    graph: Mapping[str, GraphTensor],
    findings: Findings,
    unservable: Mapping[str, str],
) -> list[TensorPair]:
    pairs: list[TensorPair] = []
    for index, message in enumerate(messages):
        path = f"{role}[{index}]"
        if any(message.name == pair.graph.name for pair in pairs):
            findings.refuse(f"{path}.name", f"{shown(message.name)} is listed twice")
        elif message.name in graph:
            pairs.append(TensorPair(role, path, message, graph[message.name]))
        elif message.name in unservable:
            findings.refuse(
                path, f"{message.name!r} is a {unservable[message.name]}, which no tensor can carry"
            )
        else:
            _refuse_unknown(role, path, message.name, list(graph), findings)
    return pairs


def _refuse_unknown(role: str, path: str, name: str, known: Sequence[str], findings: Findings) -> None:
    if not name:
        findings.refuse(f"{path}.name", f"no name is given; expected one of {', '.join(known)}")
        return
    hint = did_you_mean(name, known) or f"; it has {', '.join(known[:8]) or 'none'}"
    findings.refuse(f"{path}.name", f"the graph has no {role} {shown(name)}{hint}")
