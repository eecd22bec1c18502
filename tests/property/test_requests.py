"""Requests of every kind, most of them broken, against a validator of their own that knows only the protocol.

A request is answered rightly, or refused with a status that one of its faults calls for.
"""

import asyncio
import math
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvloop
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.core.caller import STRANGER, Caller
from headrace.core.tensor import DATATYPES, TensorSpec
from headrace.errors import HeadraceError, Status
from headrace.instance.planner import Machine
from headrace.model.lifecycle import Lifecycle
from headrace.model.loader import Loader
from headrace.model.registry import Registry
from headrace.model.signature import Signature
from headrace.pb.inference import grpc_service_pb2 as pb
from headrace.repository.config import ModelConfig
from headrace.repository.repository import Repository
from headrace.router.router import Router
from headrace.service.inference import InferenceService
from headrace.settings.groups import ExecutionSettings
from headrace.transport.grpc.decode import decode_request
from headrace.transport.grpc.infer import ModelInfer
from headrace.transport.limits import DEFAULT_LIMITS
from support import onnx_models
from support.scheduling import RecordedReply

Shape = tuple[int, ...]
Arrays = Mapping[str, Any]

OK = Status.OK
INVALID = Status.INVALID_ARGUMENT
LABELS = ("zero", "one", "two")


@dataclass(frozen=True)
class Declared:
    """One tensor of a model as its metadata tells, the batch dimension left out."""

    name: str
    datatype: str
    dims: Shape
    is_optional: bool = False


@dataclass(frozen=True)
class Model:
    """What a caller may know of a model, and how its outputs follow from its inputs (None: it fails)."""

    name: str
    inputs: tuple[Declared, ...]
    outputs: tuple[Declared, ...]
    max_batch_size: int = 32
    versions: tuple[int, ...] = (1,)
    labels: tuple[str, ...] = ()
    compute: Callable[[Arrays, int], Arrays | None] = field(
        default=lambda inputs, version: {"y": inputs["x"]}
    )


def identity(name: str, datatype: str, dims: Shape, **more: Any) -> Model:
    return Model(name, (Declared("x", datatype, dims),), (Declared("y", datatype, dims),), **more)


def summed(inputs: Arrays, version: int) -> Arrays:
    with np.errstate(all="ignore"):
        a, b = inputs["a"], inputs["b"]
        return {"sum": a + b, "difference": a - b, "first": a}


def biased(inputs: Arrays, version: int) -> Arrays:
    with np.errstate(all="ignore"):
        return {"y": inputs["x"] + inputs.get("bias", onnx_models.DEFAULT_BIAS)}


def looked_up(inputs: Arrays, version: int) -> Arrays | None:
    """Negative ones count from the end, as ONNX's Gather has it."""
    x, size = inputs["x"], onnx_models.LOOKUP_SIZE
    return {"y": np.where(x < 0, x + size, x) * 11} if ((x >= -size) & (x < size)).all() else None


def halved(inputs: Arrays, version: int) -> Arrays:
    x = inputs["x"]
    return {
        "y": x if version == 1 else (np.abs(x.astype(object)) // 2 * np.sign(x.astype(object))).astype("i8")
    }


MIXED = {
    "number": ("INT64", (1,)),
    "text": ("BYTES", (-1,)),
    "flag": ("BOOL", (2,)),
    "matrix": ("FP16", (2, -1)),
}

MODELS = {
    model.name: model
    for model in (
        *(identity(f"identity_{kind.lower()}", kind, (-1,)) for kind in onnx_models.ELEMENT_TYPES),
        *(
            identity(f"fixed_{kind.lower()}", kind, (2, 3), max_batch_size=0)
            for kind in ("FP32", "BYTES", "INT8")
        ),
        identity("variable", "FP32", (-1, 3, -1), max_batch_size=0),
        identity("scalar", "FP32", (1,), max_batch_size=0),
        identity("reshaped", "FP32", (1,), max_batch_size=8),
        identity("fixed_batch", "FP32", (3,), max_batch_size=4),
        identity("labelled", "FP32", (3,), labels=LABELS),
        Model(
            "sums",
            tuple(Declared(name, "FP32", (4,)) for name in ("a", "b")),
            tuple(Declared(name, "FP32", (4,)) for name in ("sum", "difference", "first")),
            compute=summed,
        ),
        Model(
            "mixed",
            tuple(Declared(name, *declared) for name, declared in MIXED.items()),
            tuple(Declared(f"{name}_out", *MIXED[name]) for name in reversed(MIXED)),
            compute=lambda inputs, version: {f"{name}_out": array for name, array in inputs.items()},
        ),
        Model(
            "optional",
            (Declared("x", "FP32", (4,)), Declared("bias", "FP32", (4,), is_optional=True)),
            (Declared("y", "FP32", (4,)),),
            max_batch_size=0,
            compute=biased,
        ),
        replace(identity("lookup", "INT64", (-1,)), compute=looked_up),
        replace(identity("versions", "INT64", (1,), versions=(1, 3)), compute=halved),
    )
}


# The validator

FIELD_OF = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

RESERVED = {
    "sequence_id": {"int64_param", "uint64_param", "string_param"},
    "sequence_start": {"bool_param"},
    "sequence_end": {"bool_param"},
    "priority": {"int64_param", "uint64_param"},
    "timeout": {"int64_param"},
    "binary_data_output": {"bool_param"},
    "triton_enable_empty_final_response": {"bool_param"},
    "headrace_timings": {"bool_param"},
}


class Verdict:
    """The statuses that a request's faults call for, and its inputs where it has none."""

    def __init__(self, message: pb.ModelInferRequest, models: Mapping[str, Model]) -> None:
        self.faults: set[Status] = set()
        self.arrays: dict[str, Any] = {}
        self.version = 0
        self.model = models.get(message.model_name)
        self._of_the_protocol(message)
        self._of_the_version(message.model_version)
        if self._unless(self.model is not None, Status.NOT_FOUND):
            self._of_the_model(message, self.model)

    def _unless(self, is_right: bool, status: Status = INVALID) -> bool:
        if not is_right:
            self.faults.add(status)
        return is_right

    def _of_the_protocol(self, message: pb.ModelInferRequest) -> None:
        counts = (len(message.inputs), len(message.outputs), len(message.parameters))
        self._unless(max(counts) <= 256)
        names = [tensor.name for tensor in message.inputs]
        self._unless(len(set(names)) == len(names))
        self._unless(len(message.raw_input_contents) <= len(message.inputs))
        for index, tensor in enumerate(message.inputs):
            self._unless(len(tensor.shape) <= 32 and all(0 <= size < 2**31 for size in tensor.shape))
            self._unless(math.prod(abs(size) or 1 for size in tensor.shape) < 2**31)
            self._not_shared(tensor.parameters)
            if self._unless(tensor.datatype in onnx_models.ELEMENT_TYPES):
                self._contents(tensor, index, message.raw_input_contents)
        for output in message.outputs:
            self._not_shared(output.parameters)
            if "classification" in output.parameters:
                parameter = output.parameters["classification"]
                self._unless(parameter.WhichOneof("parameter_choice") == "int64_param")
                self._unless(parameter.int64_param > 0)
        for name, parameter in message.parameters.items():
            self._parameter(name, parameter)

    def _not_shared(self, parameters: Mapping[str, pb.InferParameter]) -> None:
        is_shared = any(name.startswith("shared_memory_") for name in parameters)
        self._unless(not is_shared, Status.UNIMPLEMENTED)

    def _parameter(self, name: str, parameter: pb.InferParameter) -> None:
        kind = parameter.WhichOneof("parameter_choice")
        self._unless(kind is not None)
        if name in RESERVED:
            self._unless(kind in RESERVED[name])
            if name in ("priority", "timeout") and kind == "int64_param":
                self._unless(parameter.int64_param >= 0)
        else:
            self._unless(name != "headers" and not name.startswith(("triton_", "headrace_")))

    def _of_the_version(self, text: str) -> None:
        known = self.model.versions if self.model else ()
        self.version = max(known, default=0)
        is_number = all(digit in "0123456789" for digit in text) and len(text) <= 18
        if text and self._unless(is_number and int(text) > 0):
            self.version = int(text)
            self._unless(self.version in known, Status.NOT_FOUND)

    def _of_the_model(self, message: pb.ModelInferRequest, model: Model) -> None:
        declared = {each.name: each for each in model.inputs}
        given = [tensor.name for tensor in message.inputs]
        self._unless(set(given) <= set(declared))
        self._unless({each.name for each in model.inputs if not each.is_optional} <= set(given))
        for tensor in message.inputs:
            if tensor.name in declared:
                self._as_declared(tensor, declared[tensor.name], bool(model.max_batch_size))
        if model.max_batch_size:
            rows = {tensor.shape[0] if tensor.shape else None for tensor in message.inputs}
            self._unless(len(rows) == 1)
            self._unless(all(size is not None and 1 <= size <= model.max_batch_size for size in rows))
        outputs = {each.name: each.datatype for each in model.outputs}
        for name, class_count in expected_outputs(message, model):
            self._unless(name in outputs)
            self._unless(not (class_count and outputs.get(name) == "BYTES"))

    def _as_declared(self, tensor: Any, declared: Declared, batches: bool) -> None:
        self._unless(tensor.datatype == declared.datatype)
        dims = tuple(tensor.shape)[1:] if batches else tuple(tensor.shape)
        self._unless(
            len(dims) == len(declared.dims)
            and all(want in (-1, got) for got, want in zip(dims, declared.dims))
        )

    def _contents(self, tensor: Any, index: int, raws: Sequence[bytes]) -> None:
        """Keeps the tensor as an array, unless its data has a fault."""
        if tensor.HasField("contents"):
            self._unless(not raws)
            elements = self._typed(tensor)
        elif self._unless(index < len(raws)):
            elements = self._raw(tensor.datatype, raws[index])
        else:
            return
        is_full = elements is not None and self._unless(len(elements) == math.prod(tensor.shape))
        if is_full and not self.faults:
            self.arrays[tensor.name] = elements.reshape(tuple(tensor.shape))

    def _typed(self, tensor: Any) -> Any:
        filled = [(field.name, list(values)) for field, values in tensor.contents.ListFields()]
        if not filled:
            return np.empty(0, onnx_models.NUMPY[tensor.datatype])
        (name, values), *others = filled
        if not self._unless(not others and FIELD_OF.get(tensor.datatype) == name):
            return None
        if tensor.datatype == "BYTES":
            return self._texts(values)
        dtype = onnx_models.NUMPY[tensor.datatype]
        if dtype.kind in "iu":
            limits = np.iinfo(dtype)
            if not self._unless(all(limits.min <= value <= limits.max for value in values)):
                return None
        return np.array(values, dtype)

    def _raw(self, datatype: str, data: bytes) -> Any:
        dtype = onnx_models.NUMPY[datatype]
        if datatype == "BOOL":
            return np.frombuffer(data, np.uint8) != 0
        if datatype != "BYTES":
            return np.frombuffer(data, dtype) if self._unless(len(data) % dtype.itemsize == 0) else None
        texts = []
        while data:
            if not self._unless(len(data) >= 4):
                return None
            (length,) = struct.unpack("<I", data[:4])
            if not self._unless(len(data) >= 4 + length):
                return None
            texts.append(data[4 : 4 + length])
            data = data[4 + length :]
        return self._texts(texts)

    def _texts(self, values: Sequence[bytes]) -> Any:
        array = np.empty(len(values), object)
        array[:] = values
        for value in values:
            try:
                value.decode()
            except UnicodeDecodeError:
                self.faults.add(INVALID)
        return array


def expected_outputs(message: pb.ModelInferRequest, model: Model) -> list[tuple[str, int]]:
    """(name, class count) in the order of the answer; one asked for twice is as asked for last."""
    if not message.outputs:
        return [(each.name, 0) for each in model.outputs]
    asked = {}
    for output in message.outputs:
        count = (
            output.parameters["classification"].int64_param if "classification" in output.parameters else 0
        )
        asked[output.name] = count
    return list(asked.items())


def assert_answers(response: pb.ModelInferResponse, message: pb.ModelInferRequest, verdict: Verdict) -> None:
    model = verdict.model
    assert model is not None
    computed = model.compute(verdict.arrays, verdict.version)
    assert computed is not None
    assert (response.id, response.model_name) == (message.id, model.name)
    assert response.model_version == str(verdict.version)
    expected = expected_outputs(message, model)
    assert [output.name for output in response.outputs] == [name for name, _ in expected]
    for output, raw, (name, class_count) in zip(
        response.outputs, response.raw_output_contents, expected, strict=True
    ):
        array = computed[name]
        if class_count:
            assert_classes(output, raw, array, class_count, model)
        else:
            assert output.datatype == next(each.datatype for each in model.outputs if each.name == name)
            assert tuple(output.shape) == array.shape
            assert same(raw, array), (name, raw, array)


def same(raw: bytes, array: Any) -> bool:
    if array.dtype == object:
        return raw == b"".join(struct.pack("<I", len(text)) + text for text in array.ravel().tolist())
    if array.dtype.kind != "f":
        return raw == np.ascontiguousarray(array).tobytes()
    got = np.frombuffer(raw, array.dtype).reshape(array.shape)
    return np.array_equal(got, array, equal_nan=True) and np.array_equal(
        np.signbit(got[got == 0]), np.signbit(array[array == 0])
    )


def assert_classes(output: Any, raw: bytes, array: Any, class_count: int, model: Model) -> None:
    """The largest first, equal ones in their order; with a NaN only the number of classes is judged."""
    rows = array.reshape(array.shape[0], -1) if model.max_batch_size else array.reshape(1, -1)
    count = min(class_count, rows.shape[1])
    assert output.datatype == "BYTES"
    assert tuple(output.shape) == ((len(rows), count) if model.max_batch_size else (count,))
    if array.dtype.kind not in "iub" and np.isnan(array.astype(np.float64)).any():
        return
    texts = []
    for row in rows.tolist():
        best = sorted(range(len(row)), key=lambda index: -row[index])[:count]
        for index in best:
            label = f":{model.labels[index]}" if model.labels else ""
            texts.append(f"{float(row[index]):f}:{index}{label}".encode())
    assert raw == b"".join(struct.pack("<I", len(text)) + text for text in texts)


# Requests

names = st.sampled_from(["x", "y", "a", "b", "z", "", "sum", "number", "bias"])
parameter_names = st.sampled_from(
    [*RESERVED, "headers", "triton_x", "headrace_x", "mine", "", "classification"]
)
parameter_values = st.one_of(
    st.builds(lambda value: {"int64_param": value}, st.sampled_from([-1, 0, 1, 2, 5, 2**31, 2**63 - 1])),
    st.builds(lambda value: {"uint64_param": value}, st.sampled_from([0, 1, 2**64 - 1])),
    st.builds(lambda value: {"bool_param": value}, st.booleans()),
    st.builds(lambda value: {"string_param": value}, st.sampled_from(["", "1", "é"])),
    st.builds(lambda value: {"double_param": value}, st.sampled_from([0.0, -1.5, math.nan])),
    st.just({}),
)
sizes = st.sampled_from(
    [-(2**63), -1, 0, 1, 2, 3, 4, 5, 33, 2**16, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1]
)


def elements(draw: Any, datatype: str, count: int, name: str) -> list[Any]:
    """Few values, so that Hypothesis has little to make up and the smallest and largest are among them."""
    if datatype == "BYTES":
        return draw(
            st.lists(
                st.sampled_from([b"", b"a", b"\0", "é漢".encode(), b"x" * 40]), min_size=count, max_size=count
            )
        )
    if name == "lookup":
        return draw(st.lists(st.sampled_from([0, 1, 9, -10, 9, 3, 10]), min_size=count, max_size=count))
    seed = draw(st.integers(0, 50))
    return onnx_models.array(datatype, (count,), seed).tolist()


@st.composite
def sound_requests(draw: Any, models: Mapping[str, Model]) -> pb.ModelInferRequest:
    """A request with which nothing is wrong, unless values can be."""
    model = models[draw(st.sampled_from(sorted(models)))]
    message = pb.ModelInferRequest(model_name=model.name, id=draw(st.sampled_from(["", "7", "é"])))
    message.model_version = draw(st.sampled_from(["", "", *map(str, model.versions)]))
    rows = (draw(st.integers(1, min(4, model.max_batch_size))),) if model.max_batch_size else ()
    declared = [each for each in model.inputs if not each.is_optional or draw(st.booleans())]
    can_be_typed = all(each.datatype in FIELD_OF for each in declared)
    is_typed = can_be_typed and draw(st.integers(0, 3)) == 0
    for each in draw(st.permutations(declared)):
        shape = rows + tuple(draw(st.integers(0, 4)) if size == -1 else size for size in each.dims)
        tensor = message.inputs.add(name=each.name, datatype=each.datatype, shape=shape)
        values = elements(draw, each.datatype, math.prod(shape), model.name)
        if is_typed:
            tensor.contents.SetInParent()
            getattr(tensor.contents, FIELD_OF[each.datatype]).extend(values)
        else:
            message.raw_input_contents.append(packed(each.datatype, values))
    for each in draw(st.lists(st.sampled_from(model.outputs), max_size=3)):
        output = message.outputs.add(name=each.name)
        if each.datatype != "BYTES" and draw(st.integers(0, 3)) == 0:
            output.parameters["classification"].int64_param = draw(st.sampled_from([1, 2, 5, 2**62]))
    return message


def packed(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    return np.array(values, onnx_models.NUMPY[datatype]).tobytes()


def some(draw: Any, items: Any) -> Any:
    return items[draw(st.integers(0, len(items) - 1))] if len(items) else None


def change_names(draw: Any, message: pb.ModelInferRequest) -> None:
    match draw(st.integers(0, 3)):
        case 0:
            message.model_name = draw(st.sampled_from(["", "nobody", "sums", "identity_fp32", "../x", "m"]))
        case 1:
            message.model_version = draw(
                st.sampled_from(["0", "1", "2", "3", "01", "-1", "1.0", "x", " 1", "9" * 18, "9" * 19, "１"])
            )
        case 2 if message.inputs:
            some(draw, message.inputs).name = draw(names)
        case _:
            message.outputs.add(name=draw(names))


def change_inputs(draw: Any, message: pb.ModelInferRequest) -> None:
    if not message.inputs:
        return
    tensor = some(draw, message.inputs)
    match draw(st.integers(0, 4)):
        case 0:
            tensor.datatype = draw(st.sampled_from([*onnx_models.ELEMENT_TYPES, "", "fp32", "TYPE_FP32"]))
        case 1:
            del message.inputs[draw(st.integers(0, len(message.inputs) - 1))]
        case 2:
            message.inputs.append(tensor)
        case 3 if message.raw_input_contents:
            message.raw_input_contents.append(some(draw, message.raw_input_contents))
        case _:
            message.inputs.extend([tensor] * draw(st.sampled_from([1, 255, 300])))


def change_shapes(draw: Any, message: pb.ModelInferRequest) -> None:
    tensor = some(draw, message.inputs)
    if tensor is None:
        return
    shape = list(tensor.shape)
    match draw(st.integers(0, 3)):
        case 0 if shape:
            shape[draw(st.integers(0, len(shape) - 1))] = draw(sizes)
        case 1:
            shape.append(draw(sizes))
        case 2 if shape:
            shape.pop()
        case _:
            shape = draw(
                st.sampled_from([[], [1] * 32, [1] * 33, [2**32, 2**32], [0, 2**62], [2**16, 2**16]])
            )
    tensor.shape[:] = shape


def change_contents(draw: Any, message: pb.ModelInferRequest) -> None:
    tensor = some(draw, message.inputs)
    raws = message.raw_input_contents
    match draw(st.integers(0, 5)):
        case 0 if raws:
            del raws[draw(st.integers(0, len(raws) - 1))]
        case 1 if raws:
            index = draw(st.integers(0, len(raws) - 1))
            raws[index] = raws[index][: -draw(st.integers(1, 9))]
        case 2 if raws:
            index = draw(st.integers(0, len(raws) - 1))
            raws[index] += draw(
                st.sampled_from([b"\0", b"\xff", bytes(4), bytes(8), b"\x01\0\0\0\xff", b"\xff" * 4])
            )
        case 3 if raws:
            index = draw(st.integers(0, len(raws) - 1))
            flipped = bytearray(raws[index])
            if flipped:
                flipped[draw(st.integers(0, len(flipped) - 1))] ^= draw(st.integers(1, 255))
            raws[index] = bytes(flipped)
        case 4 if tensor is not None:
            tensor.contents.SetInParent()
        case _ if tensor is not None:
            name, value = draw(
                st.sampled_from(
                    [
                        ("int_contents", 200),
                        ("int_contents", -(2**31)),
                        ("uint_contents", 70_000),
                        ("int64_contents", 2**63 - 1),
                        ("fp32_contents", math.inf),
                        ("fp64_contents", math.nan),
                        ("bool_contents", True),
                        ("bytes_contents", b"\xff"),
                        ("uint64_contents", 2**64 - 1),
                    ]
                )
            )
            getattr(tensor.contents, name).append(value)


def change_parameters(draw: Any, message: pb.ModelInferRequest) -> None:
    value = pb.InferParameter(**draw(parameter_values))
    match draw(st.integers(0, 4)):
        case 0 | 1:
            message.parameters[draw(parameter_names)].CopyFrom(value)
        case 2 if message.outputs:
            name = draw(st.sampled_from(["classification", "shared_memory_region", "binary_data", "mine"]))
            some(draw, message.outputs).parameters[name].CopyFrom(value)
        case 3 if message.inputs:
            name = draw(st.sampled_from(["shared_memory_region", "shared_memory_offset", "binary_data_size"]))
            some(draw, message.inputs).parameters[name].CopyFrom(value)
        case _:
            for number in range(draw(st.sampled_from([3, 256, 257]))):
                message.parameters[f"p{number}"].bool_param = True


CHANGES = (change_names, change_inputs, change_shapes, change_contents, change_parameters)


@st.composite
def requests(draw: Any, models: Mapping[str, Model]) -> bytes:
    """A sound request after none to three changes, now and then with some of its bytes changed as well."""
    message = draw(sound_requests(models))
    for change in draw(st.lists(st.sampled_from(CHANGES), max_size=3)):
        change(draw, message)
    data = bytearray(message.SerializeToString())
    if data and draw(st.integers(0, 7)) == 0:
        for _ in range(draw(st.integers(1, 3))):
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def read(data: bytes) -> pb.ModelInferRequest | None:
    try:
        return pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return None


# Whole answers, from models that run


@dataclass
class Answer:
    """Where one call waits; it fails the test where it is answered twice."""

    future: asyncio.Future[bytes | HeadraceError]
    is_wanted: bool = True

    def complete(self, data: bytes) -> None:
        self.future.set_result(data)

    def fail(self, error: HeadraceError) -> None:
        self.future.set_result(error)


@dataclass
class Call:
    arrived_ns: int
    deadline_ns: int | None = None
    peer: str = "test"
    caller: Caller = STRANGER

    def metadata(self, key: str) -> str | None:
        return None


class House:
    """A server without its network: bytes of a request in, bytes of an answer or an error out."""

    def __init__(self, repository: Path) -> None:
        self._loop = uvloop.new_event_loop()
        self.complaints: list[Any] = []
        self._loop.set_exception_handler(lambda _, context: self.complaints.append(context))
        self._executor = ThreadPoolExecutor(2)
        registry, files = Registry(), Repository(repository)
        machine = Machine(2, ())
        loader = Loader(files, machine, ExecutionSettings(), self._executor, self._loop)
        self._lifecycle = Lifecycle(files, registry, loader, self._executor, self._loop)
        self._method = ModelInfer(InferenceService(Router(registry, self._loop)), DEFAULT_LIMITS)
        self._loop.run_until_complete(self._load())

    def ask(self, data: bytes) -> bytes | HeadraceError:
        return self._loop.run_until_complete(self._ask(data))

    def close(self) -> None:
        assert self._loop.run_until_complete(self._lifecycle.stop(10))
        self._executor.shutdown()
        self._loop.close()

    async def _load(self) -> None:
        await self._lifecycle.apply(await self._lifecycle.rescan())

    async def _ask(self, data: bytes) -> bytes | HeadraceError:
        answer = Answer(self._loop.create_future())
        self._method.submit(data, Call(time.monotonic_ns()), answer)
        async with asyncio.timeout(20):
            return await answer.future


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    repository = tmp_path_factory.mktemp("models")
    onnx_models.write_models(repository, *MODELS)
    house = House(repository)
    yield house
    house.close()
    assert not house.complaints


@settings(max_examples=700, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=requests(MODELS))
def test_a_request_is_answered_rightly_or_refused_for_a_fault_it_has(house: House, data: bytes) -> None:
    """C17"""
    answer = house.ask(data)

    message = read(data)
    if message is None:
        assert isinstance(answer, HeadraceError)
        assert answer.status is Status.INTERNAL
        return
    verdict = Verdict(message, MODELS)
    if verdict.faults:
        assert isinstance(answer, HeadraceError), f"answered in spite of {verdict.faults}"
        assert answer.status in verdict.faults
        assert str(answer)
    elif verdict.model and verdict.model.compute(verdict.arrays, verdict.version) is None:
        assert isinstance(answer, HeadraceError)
        assert answer.status is Status.INTERNAL
    else:
        assert isinstance(answer, bytes), f"refused without a fault: {answer}"
        assert_answers(pb.ModelInferResponse.FromString(answer), message, verdict)


# Signatures of any kind

dims = st.lists(st.sampled_from([-1, 1, 2, 3]), max_size=3).map(tuple)
declared_inputs = st.lists(
    st.builds(
        Declared,
        st.sampled_from(["x", "a", "b", "number"]),
        st.sampled_from(sorted(onnx_models.ELEMENT_TYPES)),
        dims,
        st.integers(0, 4).map(lambda draw: draw == 0),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda declared: declared.name,
).map(tuple)
declared_outputs = st.lists(
    st.builds(Declared, st.sampled_from(["y", "sum", "z"]), st.sampled_from(["FP32", "BYTES"]), dims),
    min_size=1,
    max_size=3,
    unique_by=lambda declared: declared.name,
).map(tuple)
any_models = st.builds(Model, st.just("m"), declared_inputs, declared_outputs, st.sampled_from([0, 1, 3, 32]))


def signature_of(model: Model) -> Signature:
    config = ModelConfig(
        name=model.name,
        max_batch_size=model.max_batch_size,
        inputs=tuple(spec(each) for each in model.inputs),
        outputs=tuple(spec(each) for each in model.outputs),
    )
    return Signature(config, [config.queue_policy])


def spec(declared: Declared) -> TensorSpec:
    datatype = DATATYPES[declared.datatype]
    return TensorSpec(declared.name, datatype, declared.dims, declared.dims, declared.is_optional)


@settings(max_examples=300, deadline=None)
@given(st.data(), any_models)
def test_any_signature_admits_what_it_declares_and_nothing_else(data: st.DataObject, model: Model) -> None:
    """C17"""
    models = {model.name: model}
    sent = data.draw(requests(models))
    message = read(sent)
    if message is not None:
        message.model_name, message.model_version = model.name, ""
        sent = message.SerializeToString()

    try:
        entry = signature_of(model).admit(decode_request(sent, 0), RecordedReply())
    except HeadraceError as error:
        expected = {Status.INTERNAL} if message is None else Verdict(message, models).faults
        assert error.status in expected, f"refused without a fault: {error}"
        return

    assert message is not None
    verdict = Verdict(message, models)
    assert not verdict.faults
    assert entry.rows == (message.inputs[0].shape[0] if model.max_batch_size else 1)
    for declared, admitted in zip(model.inputs, entry.data, strict=True):
        array = verdict.arrays.get(declared.name)
        if array is None:
            assert admitted is None
        elif array.dtype == object:
            assert admitted == [text.decode() for text in array.ravel().tolist()]
        else:
            assert same(bytes(admitted), array) or declared.datatype == "BOOL"
