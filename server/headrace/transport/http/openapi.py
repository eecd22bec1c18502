"""The gateway's endpoints as an OpenAPI 3.1 document, with the models that are ready by their own names."""

from collections.abc import Sequence
from typing import Any, TypeAlias
from urllib.parse import quote

from headrace.core.tensor import DataType, TensorSpec, element_count
from headrace.model.state import ModelState
from headrace.security.control_guard import ControlOf
from headrace.service.answers import ModelInfo, ModelTensors
from headrace.transport.http.json_data import WITHOUT_JSON
from headrace.transport.http.openapi_common import (
    COMMON_PATHS,
    COMMON_SCHEMAS,
    DESCRIPTION,
    SECURITY,
    SECURITY_SCHEMES,
    TAGS,
    operation,
    reference,
)
from headrace.transport.http.openapi_rollouts import ROLLOUT_PATHS, ROLLOUT_SCHEMAS, ROLLOUT_TAG
from headrace.version import VERSION

_Json: TypeAlias = dict[str, Any]

# Of examples: what a dimension of any size is taken to be.
_ANY_SIZE = 1
# Longer data is not written into an example.
_MAX_EXAMPLE_VALUES = 4096

_ITEMS: dict[DataType, _Json] = {
    DataType.BOOL: {"type": "boolean"},
    DataType.BYTES: {"type": "string"},
    DataType.FP16: {"type": "number", "minimum": -65504, "maximum": 65504},
    DataType.BF16: {"type": "number", "minimum": -3e38, "maximum": 3e38},
    DataType.FP32: {"type": "number", "format": "float", "minimum": -3.4e38, "maximum": 3.4e38},
    DataType.FP64: {"type": "number", "format": "double"},
}


def describe(control: ControlOf, *, has_rollouts: bool = False) -> _Json:
    """The document. Of a model, the version that answers where none is named."""
    ready = [info for info in control.models("") if info.state == ModelState.READY.value]
    models = [control.model_tensors(info.name, "") for info in ready if info.is_default]
    paths: _Json = dict(COMMON_PATHS)
    for model in models:
        paths |= _model_paths(model)
    tags, schemas = [*TAGS, *[_tag(model) for model in models]], {**COMMON_SCHEMAS, **_names(ready)}
    if has_rollouts:
        paths |= ROLLOUT_PATHS
        schemas |= ROLLOUT_SCHEMAS
        tags.insert(len(TAGS), ROLLOUT_TAG)
    metadata = control.server_metadata()
    document: _Json = {
        "openapi": "3.1.0",
        "info": {"title": metadata.name, "version": VERSION, "description": DESCRIPTION},
        "tags": tags,
        "paths": paths,
        "components": {"schemas": schemas},
    }
    if not control.is_open:
        document["security"] = SECURITY
        document["components"]["securitySchemes"] = SECURITY_SCHEMES
    return document


def _names(ready: Sequence[ModelInfo]) -> _Json:
    """What may stand for a model and a version in a path."""
    versions = sorted({int(info.version) for info in ready})
    return {
        "Model": {"type": "string", "enum": sorted({info.name for info in ready})},
        "Version": {"type": "integer", "enum": versions},
    }


def _model_paths(model: ModelTensors) -> _Json:
    name = quote(model.name, safe="")
    return {
        f"/v2/models/{name}/infer": {"post": _infer(model)},
        f"/v1/predict/{name}": {"post": _predict(model)},
        f"/v1/models/{name}:predict": {"post": _instances(model)},
    }


def _tag(model: ModelTensors) -> _Json:
    inputs = ", ".join(_words(spec, model) for spec in model.inputs)
    outputs = ", ".join(_words(spec, model) for spec in model.outputs)
    return {"name": model.name, "description": f"Takes {inputs}; gives {outputs}."}


def _words(spec: TensorSpec, model: ModelTensors) -> str:
    sizes = ["rows"] * model.batches + ["any" if size == -1 else str(size) for size in spec.dims]
    return f"`{spec.name}` {spec.datatype.value} [{', '.join(sizes)}]"


def _infer(model: ModelTensors) -> _Json:
    inputs = [_v2_input(spec, model) for spec in model.inputs]
    required = [spec for spec in model.inputs if not spec.is_optional]
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"]},
            "parameters": {"type": ["object", "null"], "maxProperties": 0},
            "inputs": {
                "type": "array",
                "items": inputs[0] if len(inputs) == 1 else {"oneOf": inputs},
                "minItems": len(required),
                "maxItems": len(inputs),
            },
            "outputs": {
                "type": ["array", "null"],
                "items": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"enum": [spec.name for spec in model.outputs]}},
                },
            },
        },
    }
    example = {"inputs": [_v2_example(spec, model) for spec in required]}
    return operation(
        f"Inference by the V2 protocol: {model.name}",
        model.name,
        request={"application/json": _content(schema, example, required)},
        answer=reference("InferenceResponse"),
    )


def _predict(model: ModelTensors) -> _Json:
    required = [spec for spec in model.inputs if not spec.is_optional]
    columns = {spec.name: _values(spec, model) for spec in model.inputs}
    by_name = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "inputs": {
                "type": "object",
                "required": [spec.name for spec in required],
                "properties": columns,
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    }
    example = {"inputs": {spec.name: _nested_example(spec, model) for spec in required}}
    content: _Json = {"application/json": _content(by_name, example, required)}
    if len(required) == 1:
        content["text/csv"] = {"schema": {"type": "string"}}
        content["application/x-npy"] = {"schema": {"type": "string", "format": "binary"}}
        if required[0].datatype is DataType.BYTES:
            content["text/plain"] = {"schema": {"type": "string", "minLength": 1}}
    if model.image is not None:
        content["image/png"] = {"schema": {"type": "string", "format": "binary"}}
        content["image/jpeg"] = {"schema": {"type": "string", "format": "binary"}}
    described = operation(
        f"Predictions with names and labels: {model.name}",
        model.name,
        request=content,
        answer=reference("Predictions"),
    )
    described["parameters"] = [
        {
            "name": "top_k",
            "in": "query",
            "description": "How many of the best classes are given; 0 for all numbers.",
            "schema": {"type": "integer", "minimum": 0, "maximum": 1_000_000, "default": 3},
        },
        {
            "name": "outputs",
            "in": "query",
            "description": "Names of the outputs that are wanted, with commas between them; all by default.",
            "schema": {"type": "string", "enum": ["", *[spec.name for spec in model.outputs]]},
        },
    ]
    return described


def _instances(model: ModelTensors) -> _Json:
    required = [spec for spec in model.inputs if not spec.is_optional]
    row = {spec.name: _nested_example(spec, model, with_batch=False) for spec in required}
    schema = {
        "type": "object",
        "required": ["instances"],
        "properties": {"instances": {"type": "array", "minItems": 1}},
    }
    example = {"instances": [row]}
    return operation(
        f"Predictions by KServe's V1 protocol: {model.name}",
        model.name,
        request={"application/json": _content(schema, example, required)},
        answer=reference("V1Predictions"),
    )


def _content(schema: _Json, example: _Json, required: Sequence[TensorSpec]) -> _Json:
    content: _Json = {"schema": schema}
    count = sum(element_count(_example_shape(spec)) for spec in required)
    if count <= _MAX_EXAMPLE_VALUES:
        content["example"] = example
    return content


def _v2_input(spec: TensorSpec, model: ModelTensors) -> _Json:
    sizes: list[_Json] = [_size(size) for size in spec.dims]
    if model.batches:
        sizes.insert(0, {"type": "integer", "minimum": 1, "maximum": model.max_batch_size})
    data = "parameters" if spec.datatype in WITHOUT_JSON else "data"
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", data],
        "properties": {
            "name": {"const": spec.name},
            "shape": {
                "type": "array",
                "prefixItems": sizes,
                "minItems": len(sizes),
                "maxItems": len(sizes),
            },
            "datatype": {"const": spec.datatype.value},
            "data": {"type": "array", "description": "Row-major, flat or nested.", "items": {}},
            "parameters": {"type": "object"},
        },
    }


def _size(size: int) -> _Json:
    return {"type": "integer", "minimum": 0} if size == -1 else {"const": size}


def _values(spec: TensorSpec, model: ModelTensors) -> _Json:
    """Nested lists of the declared sizes."""
    schema = item_schema(spec.datatype)
    for size in reversed(spec.dims):
        schema = {"type": "array", "items": schema}
        if size != -1:
            schema |= {"minItems": size, "maxItems": size}
    if model.batches:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": model.max_batch_size}
    return schema


def item_schema(datatype: DataType) -> _Json:
    """What one element of `datatype` is in JSON."""
    if datatype in _ITEMS:
        return dict(_ITEMS[datatype])
    bits = 8 * datatype.item_bytes
    if datatype.numpy.kind == "u":
        return {"type": "integer", "minimum": 0, "maximum": 2**bits - 1}
    return {"type": "integer", "minimum": -(2 ** (bits - 1)), "maximum": 2 ** (bits - 1) - 1}


def _v2_example(spec: TensorSpec, model: ModelTensors) -> _Json:
    shape = [1] * model.batches + list(_example_shape(spec))
    values = [_example_value(spec.datatype)] * element_count(_example_shape(spec))
    return {"name": spec.name, "shape": shape, "datatype": spec.datatype.value, "data": values}


def _nested_example(spec: TensorSpec, model: ModelTensors, *, with_batch: bool = True) -> Any:
    value: Any = _example_value(spec.datatype)
    for size in reversed(_example_shape(spec)):
        value = [value] * size
    return [value] if model.batches and with_batch else value


def _example_shape(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(_ANY_SIZE if size == -1 else size for size in spec.dims)


def _example_value(datatype: DataType) -> bool | int | float | str:
    if datatype is DataType.BYTES:
        return "some text"
    if datatype is DataType.BOOL:
        return False
    return 0.5 if datatype.numpy.kind == "f" or datatype is DataType.BF16 else 1
