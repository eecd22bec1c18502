"""What is told about rollouts and routes, as messages of headrace.v1."""

from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.repository.routing.writing import plan_message, route_message
from headrace.rollout.answers import EventView, Figures, GateView, RolloutView, RouteView, ShareView


def rollout_message(view: RolloutView) -> pb.Rollout:
    return pb.Rollout(
        id=view.id,
        model_name=view.model,
        stable_version=view.stable,
        version=view.canary,
        state=view.state,
        step=view.step,
        plan=plan_message(view.plan),
        started_at=view.started_at_s,
        step_started_at=view.step_started_at_s,
        step_elapsed_s=view.step_elapsed_s,
        ended_at=view.ended_at_s,
        started_by=view.started_by,
        reason=view.reason,
        gates=[_gate(gate) for gate in view.gates],
        stable=_figures(view.stable_figures),
        canary=_figures(view.canary_figures),
        pairs=view.pairs,
        disagreeing_pairs=view.disagreeing_pairs,
        origin=view.origin,
    )


def event_message(view: EventView) -> pb.RolloutEvent:
    return pb.RolloutEvent(
        at=view.at_s, kind=view.kind, step=view.step, reason=view.reason, by=view.by, evidence=view.evidence
    )


def route_status_message(view: RouteView) -> pb.RouteStatus:
    """Without a route where the newest version answers."""
    return pb.RouteStatus(
        model_name=view.model,
        route=route_message(view.route) if view.route else None,
        revision=view.route.revision if view.route else 0,
        set_by=view.set_by,
        shares=[_share(share) for share in view.shares],
        breakers=dict(view.breakers),
        differences=view.differences,
    )


def _gate(view: GateView) -> pb.GateStatus:
    return pb.GateStatus(name=view.name, verdict=view.verdict, detail=view.detail)


def _figures(figures: Figures) -> pb.VersionFigures:
    return pb.VersionFigures(
        requests=figures.requests,
        failures=figures.failures,
        p50_ms=figures.p50_ms,
        p95_ms=figures.p95_ms,
        p99_ms=figures.p99_ms,
    )


def _share(view: ShareView) -> pb.RouteShare:
    return pb.RouteShare(version=view.version, why=view.why, requests=view.requests)
