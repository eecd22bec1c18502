"""The part of the OpenAPI document about rollouts and routes."""

from typing import Any, TypeAlias

from headrace.transport.http.openapi_common import operation, reference
from headrace.transport.rollout_limits import MAX_NUMBER

_Json: TypeAlias = dict[str, Any]

_TAG = "rollouts"
ROLLOUT_TAG: _Json = {
    "name": _TAG,
    "description": "How a model's requests are shared between its versions, and how a new one takes over.",
}

_STRING: _Json = {"type": "string"}
_NUMBER: _Json = {"type": "number"}
_BOOLEAN: _Json = {"type": "boolean"}
_OBJECT: _Json = {"type": "object"}
_COUNT: _Json = {"type": "integer", "minimum": 0}
_CHOICE: _Json = {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER, "default": 0}


def _query(name: str, description: str, schema: _Json) -> _Json:
    is_required = "default" not in schema
    return {
        "name": name,
        "in": "query",
        "description": description,
        "required": is_required,
        "schema": schema,
    }


_MODEL = {"name": "model", "in": "path", "required": True, "schema": reference("Model")}
_LIMIT = _query("limit", "The newest so many; 0 for all.", _CHOICE)
_ID = _query("id", "Which rollout; 0 for the last one.", _CHOICE)
_LIVE = _query("live", "The version that answered: its number or label.", {"type": "string", "minLength": 1})
_SHADOW = _query("shadow", "The version that listened.", {"type": "string", "minLength": 1})


def _order(summary: str, **fields: _Json) -> _Json:
    """An order about a rollout, which is answered with the rollout."""
    schema = {"type": "object", "properties": fields, "additionalProperties": False}
    content = {"application/json": {"schema": schema}}
    described = operation(summary, _TAG, answer=reference("Rollout"), request=content)
    described["requestBody"]["required"] = False
    described["parameters"] = [_MODEL]
    return {"post": described}


def _look(summary: str, answer: _Json, *parameters: _Json) -> _Json:
    described = operation(summary, _TAG, answer=answer)
    described["parameters"] = list(parameters)
    return {"get": described}


def _set_route() -> _Json:
    content = {"application/json": {"schema": reference("Route")}}
    described = operation(
        "Share requests as this route says", _TAG, answer=reference("RouteStatus"), request=content
    )
    described["parameters"] = [_MODEL]
    return {"put": described}


def _clear_route() -> _Json:
    described = operation("Let the newest version answer", _TAG, answer=reference("RouteStatus"))
    described["parameters"] = [_MODEL]
    return {"delete": described}


_REASON: _Json = {"type": "string", "maxLength": 1024, "description": "Is recorded with the change."}
_START: _Json = {
    "version": {**_CHOICE, "description": "0: the newest ready version."},
    "stable_version": {**_CHOICE, "description": "0: the version that answers now."},
    "plan": {"type": "object", "description": "Instead of the model's own; fields of RolloutPlan."},
    "dry_run": {"type": "boolean", "description": "Checks everything and starts nothing."},
}
_OF_MODEL = "/v2/models/{model}"

ROLLOUT_PATHS: _Json = {
    "/v2/rollouts": _look("Each model's last rollout", reference("Rollouts")),
    f"{_OF_MODEL}/rollout": _look("A model's last rollout", reference("Rollout"), _MODEL),
    f"{_OF_MODEL}/rollout/start": _order("Start to roll a version out", **_START),
    f"{_OF_MODEL}/rollout/pause": _order("Keep weights as they are", reason=_REASON),
    f"{_OF_MODEL}/rollout/resume": _order("Go on after a pause", reason=_REASON),
    f"{_OF_MODEL}/rollout/promote": _order("Go to the next step, or the last", reason=_REASON, full=_BOOLEAN),
    f"{_OF_MODEL}/rollout/rollback": _order("Send all requests back to the version before", reason=_REASON),
    f"{_OF_MODEL}/rollout/abort": _order("End a rollout, leave weights as they are", reason=_REASON),
    f"{_OF_MODEL}/rollout/history": _look("A model's rollouts", reference("Rollouts"), _MODEL, _LIMIT),
    f"{_OF_MODEL}/rollout/explain": _look(
        "Every decision of a rollout", reference("ExplainedRollout"), _MODEL, _ID
    ),
    f"{_OF_MODEL}/rollout/compare": _look(
        "How the answers of two versions differ", _OBJECT, _MODEL, _LIVE, _SHADOW
    ),
    f"{_OF_MODEL}/route": {
        **_look("Where a model's requests go", reference("RouteStatus"), _MODEL),
        **_set_route(),
        **_clear_route(),
    },
}

_FIGURES: _Json = {
    "requests": _COUNT,
    "failures": _COUNT,
    "p50_ms": _NUMBER,
    "p95_ms": _NUMBER,
    "p99_ms": _NUMBER,
}
_ROLLOUT: _Json = {
    "id": _COUNT,
    "model_name": _STRING,
    "stable_version": _COUNT,
    "version": _COUNT,
    "state": {"enum": ["running", "paused", "waiting", "done", "rolled_back", "aborted"]},
    "step": {**_COUNT, "description": "Of the plan's steps, counted from 0."},
    "plan": _OBJECT,
    "started_at": {**_NUMBER, "description": "Seconds since 1970."},
    "step_started_at": _NUMBER,
    "step_elapsed_s": _NUMBER,
    "ended_at": {**_NUMBER, "description": "0 while it goes on."},
    "started_by": _STRING,
    "reason": _STRING,
    "gates": {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "name": _STRING,
                "verdict": {"enum": ["passed", "waits", "failed"]},
                "detail": _STRING,
            },
        },
    },
    "stable": reference("VersionFigures"),
    "canary": reference("VersionFigures"),
    "pairs": _COUNT,
    "disagreeing_pairs": _COUNT,
    "origin": {"enum": ["config", "command"]},
}
_EVENT: _Json = {
    "at": _NUMBER,
    "kind": _STRING,
    "step": _COUNT,
    "reason": _STRING,
    "by": _STRING,
    "evidence": {"description": "What was known at that moment."},
}
_ROUTE_STATUS: _Json = {
    "model_name": _STRING,
    "route": {"description": "null where the newest version answers.", "type": ["object", "null"]},
    "revision": _COUNT,
    "set_by": _STRING,
    "shares": {"type": "array", "items": _OBJECT},
    "breakers": _OBJECT,
    "differences": {"type": "array", "items": _STRING},
}


def _whole(properties: _Json) -> _Json:
    """An object that has all of these."""
    return {"type": "object", "required": list(properties), "properties": properties}


ROLLOUT_SCHEMAS: _Json = {
    "Route": {
        "type": "object",
        "examples": [{"weights": {"1": 95, "2": 5}, "labels": {"stable": 1, "canary": 2}}],
        "required": ["weights"],
        "properties": {
            "weights": {
                "type": "object",
                "description": "The share of each version in percent; together 100.",
                "minProperties": 1,
            }
        },
    },
    "RouteStatus": _whole(_ROUTE_STATUS),
    "VersionFigures": _whole(_FIGURES),
    "Rollout": _whole(_ROLLOUT),
    "Rollouts": _whole({"rollouts": {"type": "array", "items": reference("Rollout")}}),
    "ExplainedRollout": _whole(
        {"rollout": reference("Rollout"), "events": {"type": "array", "items": _whole(_EVENT)}}
    ),
}
