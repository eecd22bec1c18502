"""What is told about rollouts and routes, as JSON: the fields of headrace.v1, those that are empty too."""

from typing import Any, TypeAlias

import orjson

from headrace.repository.routing.writing import plan_message, route_message
from headrace.rollout.answers import EventView, Figures, GateView, RolloutView, RouteView, ShareView
from headrace.transport.message_json import message_json

_Json: TypeAlias = dict[str, Any]


def rollout_json(view: RolloutView) -> _Json:
    return {
        "id": view.id,
        "model_name": view.model,
        "stable_version": view.stable,
        "version": view.canary,
        "state": view.state,
        "step": view.step,
        "plan": message_json(plan_message(view.plan)),
        "started_at": view.started_at_s,
        "step_started_at": view.step_started_at_s,
        "step_elapsed_s": view.step_elapsed_s,
        "ended_at": view.ended_at_s,
        "started_by": view.started_by,
        "reason": view.reason,
        "gates": [_gate(gate) for gate in view.gates],
        "stable": _figures(view.stable_figures),
        "canary": _figures(view.canary_figures),
        "pairs": view.pairs,
        "disagreeing_pairs": view.disagreeing_pairs,
        "origin": view.origin,
    }


def event_json(view: EventView) -> _Json:
    return {
        "at": view.at_s,
        "kind": view.kind,
        "step": view.step,
        "reason": view.reason,
        "by": view.by,
        "evidence": _evidence(view.evidence),
    }


def route_status_json(view: RouteView) -> _Json:
    """`route` is null where the newest version answers."""
    return {
        "model_name": view.model,
        "route": message_json(route_message(view.route)) if view.route else None,
        "revision": view.route.revision if view.route else 0,
        "set_by": view.set_by,
        "shares": [_share(share) for share in view.shares],
        "breakers": {str(version): state for version, state in view.breakers.items()},
        "differences": list(view.differences),
    }


def _gate(view: GateView) -> _Json:
    return {"name": view.name, "verdict": view.verdict, "detail": view.detail}


def _figures(figures: Figures) -> _Json:
    return {
        "requests": figures.requests,
        "failures": figures.failures,
        "p50_ms": figures.p50_ms,
        "p95_ms": figures.p95_ms,
        "p99_ms": figures.p99_ms,
    }


def _share(view: ShareView) -> _Json:
    return {"version": view.version, "why": view.why, "requests": view.requests}


def _evidence(text: str) -> Any:
    """The document that gRPC has as a text; the text where it is none."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
