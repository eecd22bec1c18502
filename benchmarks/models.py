"""The networks that are measured, made with fixed seeds, and repositories that hold them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from headrace.pb.inference.grpc_service_pb2 import ModelInferRequest

OPSET = 17
IR_VERSION = 8

Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True, slots=True)
class Network:
    """A graph with one FP32 input `x` and one FP32 output `y`; the dims leave the batch dimension out."""

    name: str
    graph: bytes
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    max_batch_size: int
    max_queue_size: int = 1024

    def rows(self, count: int) -> Array:
        """The same `count` rows each time."""
        random = np.random.default_rng(7)
        return random.standard_normal((count, *self.input_dims), dtype=np.float32)

    def request(self, rows: int = 1) -> bytes:
        """A ModelInferRequest of so many rows."""
        request = ModelInferRequest(model_name=self.name, raw_input_contents=[self.rows(rows).tobytes()])
        request.inputs.add(name="x", datatype="FP32", shape=[rows, *self.input_dims])
        return request.SerializeToString()

    def answer_bytes(self, rows: int = 1) -> int:
        """The size of the tensor in an answer."""
        return rows * prod(self.output_dims) * 4

    def write(self, repository: Path, version: int = 1) -> None:
        """Puts a version into `repository`, with a configuration if there is none yet."""
        folder = repository / self.name
        (folder / str(version)).mkdir(parents=True, exist_ok=True)
        config = folder / "config.yaml"
        if not config.exists():
            config.write_text(self._config())
        (folder / str(version) / "model.onnx").write_bytes(self.graph)

    def _config(self) -> str:
        return (
            f"name: {self.name}\n"
            f"max_batch_size: {self.max_batch_size}\n"
            f"input: [{{name: x, data_type: TYPE_FP32, dims: {list(self.input_dims)}}}]\n"
            f"output: [{{name: y, data_type: TYPE_FP32, dims: {list(self.output_dims)}}}]\n"
            f"dynamic_batching: {{default_queue_policy: {{max_queue_size: {self.max_queue_size}}}}}\n"
        )


@cache
def tiny() -> Network:
    """Tens of microseconds a batch: what is measured is the server."""
    return Network("tiny", _perceptron((16, 64, 2)), (16,), (2,), max_batch_size=64)


@cache
def wide() -> Network:
    """25 MB of weights: a batch costs little more than one row, so batching pays."""
    return Network("wide", _perceptron((512, 2048, 2048, 512)), (512,), (512,), max_batch_size=64)


@cache
def convolution() -> Network:
    """About 9 ms a row on one core, at any batch size: what is measured is that nothing is lost."""
    return Network("convolution", _convolutions(13), (3, 32, 32), (64,), max_batch_size=16)


@cache
def large_convolution() -> Network:
    """The same over an image four times as large: some 35 ms a row."""
    return Network("large_convolution", _convolutions(13, size=64), (3, 64, 64), (64,), max_batch_size=16)


@contextmanager
def repository(*networks: Network) -> Iterator[Path]:
    """A temporary repository with version 1 of each of `networks`."""
    with TemporaryDirectory(prefix="headrace-benchmark-") as folder:
        for network in networks:
            network.write(Path(folder))
        yield Path(folder)


def _perceptron(widths: Sequence[int]) -> bytes:
    """Fully connected layers, ReLU between them."""
    nodes, weights, last = [], [], "x"
    for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
        is_output = index == len(widths) - 2
        weights += [
            _weights(f"weights_{index}", (fan_in, fan_out), fan_in),
            _weights(f"bias_{index}", (fan_out,), fan_in),
        ]
        linear = "y" if is_output else f"linear_{index}"
        nodes.append(helper.make_node("Gemm", [last, f"weights_{index}", f"bias_{index}"], [linear]))
        if not is_output:
            nodes.append(helper.make_node("Relu", [linear], [f"active_{index}"]))
            last = f"active_{index}"
    return _graph(nodes, weights, (widths[0],), (widths[-1],))


def _convolutions(layers: int, channels: int = 64, size: int = 32) -> bytes:
    """3 x 3 convolutions over an image of `size` x `size`, then the mean of each channel."""
    nodes, weights, last, fan_in = [], [], "x", 3
    for index in range(layers):
        weights.append(_weights(f"weights_{index}", (channels, fan_in, 3, 3), fan_in * 9))
        nodes += [
            helper.make_node("Conv", [last, f"weights_{index}"], [f"linear_{index}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"linear_{index}"], [f"active_{index}"]),
        ]
        last, fan_in = f"active_{index}", channels
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["means"]),
        helper.make_node("Flatten", ["means"], ["y"]),
    ]
    return _graph(nodes, weights, (3, size, size), (channels,))


def _weights(name: str, shape: tuple[int, ...], fan_in: int) -> TensorProto:
    random = np.random.default_rng([ord(letter) for letter in name])
    values = random.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5)
    return numpy_helper.from_array(values, name)


def _graph(
    nodes: Sequence[onnx.NodeProto],
    weights: Sequence[TensorProto],
    input_dims: tuple[int, ...],
    output_dims: tuple[int, ...],
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "benchmark",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", *input_dims])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", *output_dims])],
        initializer=weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)
