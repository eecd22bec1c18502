"""The part of the OpenAPI document that is the same for every repository."""

from typing import Any, TypeAlias

_Json: TypeAlias = dict[str, Any]

DESCRIPTION = (
    "The HTTP/JSON gateway: the V2 Open Inference Protocol with Triton's extensions (under /v2), predictions "
    "for people with curl (/v1/predict) and KServe's V1 protocol (/v1/models). Tensors may also travel as "
    "binary data behind the JSON, see the header Inference-Header-Content-Length of the V2 protocol."
)

TAGS = [
    {"name": "server", "description": "Health, metadata, settings."},
    {"name": "models", "description": "What is asked of any model."},
    {"name": "repository", "description": "Loading and unloading models."},
]

_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"$ref": "#/components/schemas/Model"}}
_VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "schema": {"$ref": "#/components/schemas/Version"},
}


# How callers of a server with an access file show who they are.
SECURITY_SCHEMES: _Json = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, or a JSON web token."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}
SECURITY: list[_Json] = [{name: []} for name in SECURITY_SCHEMES]


def reference(name: str) -> _Json:
    return {"$ref": f"#/components/schemas/{name}"}


def operation(summary: str, tag: str, *, answer: _Json | None, request: _Json | None = None) -> _Json:
    """An operation that answers with `answer`, or with nothing but its status."""
    described: _Json = {"summary": summary, "tags": [tag]}
    if request is not None:
        described["requestBody"] = {"required": True, "content": request}
    good: _Json = {"description": "as asked"}
    if answer is not None:
        good["content"] = {"application/json": {"schema": answer}}
    described["responses"] = {"200": good, **{code: _error(text) for code, text in _ERRORS.items()}}
    return described


def _error(description: str) -> _Json:
    return {
        "description": description,
        "content": {"application/json": {"schema": reference("Error")}},
    }


_ERRORS = {
    "400": "the request is wrong, or what it asks about is not ready",
    "401": "credentials are missing or not known",
    "403": "the caller may not do this",
    "404": "no such model or version",
    "409": "not in the state that it is in, as while a rollout is under way",
    "415": "a kind of body that is not taken",
    "429": "more than the caller's share; Retry-After says when to come again",
    "431": "headers too large",
    "500": "the server or the model failed",
    "501": "known to the protocol, not done by this server",
    "503": "not now: a full queue, or a server that is stopping",
}


def _get(summary: str, tag: str, answer: _Json | None, *parameters: _Json) -> _Json:
    described = operation(summary, tag, answer=answer)
    if parameters:
        described["parameters"] = list(parameters)
    return {"get": described}


def _of_model(summary: str, path: str, answer: _Json | None) -> _Json:
    """The same of a model, and of one of its versions."""
    return {
        f"/v2/models/{{model}}{path}": _get(summary, "models", answer, _MODEL),
        f"/v2/models/{{model}}/versions/{{version}}{path}": _get(
            f"{summary}, of one version", "models", answer, _MODEL, _VERSION
        ),
    }


def _post(summary: str, tag: str, schema: _Json, answer: _Json | None, *parameters: _Json) -> _Json:
    described = operation(summary, tag, answer=answer, request={"application/json": {"schema": schema}})
    described["requestBody"]["required"] = False
    if parameters:
        described["parameters"] = list(parameters)
    return {"post": described}


def _inference(summary: str, content: _Json, answer: str, *parameters: _Json) -> _Json:
    described = operation(summary, "models", answer=reference(answer), request=content)
    described["parameters"] = list(parameters)
    return {"post": described}


_OBJECT: _Json = {"type": "object"}
_LOAD: _Json = {
    "type": "object",
    "properties": {
        "parameters": {
            "type": "object",
            "properties": {"config": {"type": "string", "description": "A configuration as JSON."}},
            "patternProperties": {"^file:": {"type": "string", "contentEncoding": "base64"}},
            "additionalProperties": False,
        }
    },
}
_UNLOAD: _Json = {
    "type": "object",
    "properties": {
        "parameters": {
            "type": "object",
            "properties": {"unload_dependents": {"type": "boolean"}},
            "additionalProperties": False,
        }
    },
}
_LOGGING: _Json = {
    "type": "object",
    "properties": {
        "log_info": {"type": "boolean"},
        "log_warning": {"type": "boolean"},
        "log_error": {"type": "boolean"},
        "log_verbose_level": {"type": "integer", "minimum": 0, "maximum": 2**31 - 1},
        "log_format": {"enum": ["default", "ISO8601"]},
    },
    "additionalProperties": False,
}
_INDEX: _Json = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
# What a trace setting may be while nothing is traced; null clears it.
_TRACE: _Json = {
    "type": "object",
    "properties": {
        "trace_level": {"enum": ["OFF", ["OFF"], None]},
        "trace_rate": {"enum": ["1000", None]},
        "trace_count": {"enum": ["-1", None]},
        "log_frequency": {"enum": ["0", None]},
        "trace_file": {"enum": ["", None]},
        "trace_mode": {"enum": ["triton", None]},
    },
    "additionalProperties": False,
}
# Of one version, whose tensors may differ from those of the version that the paths of models describe.
_INFERENCE: _Json = {
    "application/json": {
        "schema": {
            "type": "object",
            "required": ["inputs"],
            "properties": {"inputs": {"type": "array", "items": _OBJECT}},
        }
    }
}
_ROWS: _Json = {"application/json": {"schema": {"type": ["array", "object"]}}}


def _trace(summary: str, path: str, *parameters: _Json) -> _Json:
    """Read and changed at `path`."""
    return {
        path: {
            **_get(summary, "server", _OBJECT, *parameters),
            **_post(f"{summary}: change it", "server", _TRACE, _OBJECT, *parameters),
        }
    }


COMMON_PATHS: _Json = {
    "/v2": _get("Who answers", "server", reference("ServerMetadata")),
    "/v2/health/live": _get("Whether the server lives", "server", None),
    "/v2/health/ready": _get("Whether the server is ready", "server", None),
    "/v2/logging": {
        **_get("What is logged", "server", _OBJECT),
        **_post("Change what is logged", "server", _LOGGING, _OBJECT),
    },
    **_of_model("What a model takes and gives", "", reference("ModelMetadata")),
    **_of_model("Whether a model is ready", "/ready", None),
    **_of_model("A model's configuration", "/config", _OBJECT),
    **_of_model("A model's statistics", "/stats", reference("Statistics")),
    **_trace("Which requests are traced", "/v2/trace/setting"),
    **_trace("Which requests of a model are traced", "/v2/models/{model}/trace/setting", _MODEL),
    "/v2/models/{model}/versions/{version}/infer": _inference(
        "Inference by one version of a model", _INFERENCE, "InferenceResponse", _MODEL, _VERSION
    ),
    "/v1/predict/{model}/versions/{version}": _inference(
        "Predictions by one version of a model", _ROWS, "Predictions", _MODEL, _VERSION
    ),
    "/v1/models": _get("The models, by KServe's V1 protocol", "models", reference("V1Models")),
    "/v1/models/{model}": _get(
        "Whether a model is ready, by KServe's V1 protocol", "models", reference("V1Model"), _MODEL
    ),
    "/v2/models/stats": _get("Statistics of all models", "models", reference("Statistics")),
    "/v2/repository/index": _post("The models of the repository", "repository", _INDEX, reference("Index")),
    "/v2/repository/models/{model}/load": _post("Load a model", "repository", _LOAD, None, _MODEL),
    "/v2/repository/models/{model}/unload": _post("Unload a model", "repository", _UNLOAD, None, _MODEL),
}

_STRING: _Json = {"type": "string"}
_TENSOR_METADATA: _Json = {
    "type": "object",
    "required": ["name", "datatype", "shape"],
    "properties": {
        "name": _STRING,
        "datatype": _STRING,
        "shape": {"type": "array", "items": {"type": "integer"}},
    },
}

COMMON_SCHEMAS: _Json = {
    "Error": {"type": "object", "required": ["error"], "properties": {"error": _STRING}},
    "ServerMetadata": {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": _STRING,
            "version": _STRING,
            "extensions": {"type": "array", "items": _STRING},
        },
    },
    "ModelMetadata": {
        "type": "object",
        "required": ["name", "versions", "platform", "inputs", "outputs"],
        "properties": {
            "name": _STRING,
            "versions": {"type": "array", "items": _STRING},
            "platform": _STRING,
            "inputs": {"type": "array", "items": _TENSOR_METADATA},
            "outputs": {"type": "array", "items": _TENSOR_METADATA},
            "properties": _OBJECT,
        },
    },
    "Statistics": {
        "type": "object",
        "required": ["model_stats"],
        "properties": {"model_stats": {"type": "array", "items": _OBJECT}},
    },
    "Index": {
        "type": "array",
        "items": {"type": "object", "required": ["name"], "properties": {"name": _STRING}},
    },
    "InferenceResponse": {
        "type": "object",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "id": _STRING,
            "model_name": _STRING,
            "model_version": _STRING,
            "parameters": _OBJECT,
            "outputs": {
                "type": "array",
                "items": {
                    **_TENSOR_METADATA,
                    "properties": {**_TENSOR_METADATA["properties"], "data": {"type": "array"}},
                },
            },
        },
    },
    "Predictions": {
        "type": "object",
        "required": ["model", "version", "predictions"],
        "properties": {
            "model": _STRING,
            "version": _STRING,
            "predictions": {"type": "array", "items": _OBJECT},
        },
    },
    "V1Models": {
        "type": "object",
        "required": ["models"],
        "properties": {"models": {"type": "array", "items": _STRING}},
    },
    "V1Model": {
        "type": "object",
        "required": ["name", "ready"],
        "properties": {"name": _STRING, "ready": {"type": "boolean"}},
    },
    "V1Predictions": {
        "type": "object",
        "required": ["predictions"],
        "properties": {"predictions": {"type": "array"}},
    },
}
