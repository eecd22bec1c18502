"""Routes and plans as messages and as JSON, in the words in which they are read."""

from google.protobuf.json_format import MessageToJson

from headrace.core.plan import Gates, GuardRails, Plan, Step
from headrace.core.route import Attribute, Fallback, Key, Route, Rule
from headrace.pb.headrace.v1 import routing_pb2 as pb


def route_message(route: Route) -> pb.Route:
    """`route` without its revision."""
    return pb.Route(
        weights={weight.version: weight.per_mille / 10 for weight in route.weights},
        shadows=[pb.Shadow(version=each.version, percent=each.per_mille / 10) for each in route.shadows],
        labels=dict(route.labels),
        sticky=_key(route.sticky) if route.sticky else None,
        seed=route.seed,
        rules=[_rule(rule) for rule in route.rules],
        fallback=_fallback(route.fallback) if route.fallback else None,
    )


def plan_message(plan: Plan) -> pb.RolloutPlan:
    return pb.RolloutPlan(
        steps=[_step(step) for step in plan.steps],
        gates=_gates(plan.gates),
        guard_rails=_guard_rails(plan.guard_rails),
        false_alarm_rate=plan.false_alarm_rate,
        keep_previous_s=plan.keep_previous_s,
        sticky=_key(plan.sticky) if plan.sticky else None,
        seed=plan.seed,
        rules=[_rule(rule) for rule in plan.rules],
        fallback=_fallback(plan.fallback) if plan.fallback else None,
    )


def route_json(route: Route) -> str:
    """One line, always the same for the same route."""
    return _json(route_message(route))


def plan_json(plan: Plan) -> str:
    """One line, always the same for the same plan."""
    return _json(plan_message(plan))


def _json(message: pb.Route | pb.RolloutPlan) -> str:
    return str(
        MessageToJson(
            message, preserving_proto_field_name=True, sort_keys=True, indent=None, ensure_ascii=False
        )
    )


def _key(key: Key) -> pb.Key:
    match key.attribute:
        case Attribute.METADATA:
            return pb.Key(metadata=key.name)
        case Attribute.PARAMETER:
            return pb.Key(parameter=key.name)
        case Attribute.SEQUENCE:
            return pb.Key(sequence=True)
        case Attribute.CALLER:
            return pb.Key(caller=True)


def _rule(rule: Rule) -> pb.Rule:
    message = pb.Rule(name=rule.name, version=rule.target)
    for condition in rule.conditions:
        written = message.when.add(matches=condition.patterns)
        key = _key(condition.key)
        field = key.WhichOneof("key")
        assert field is not None
        setattr(written, field, getattr(key, field))
    return message


def _fallback(fallback: Fallback) -> pb.Fallback:
    return pb.Fallback(
        version=fallback.target,
        model=fallback.model,
        failure_ratio=fallback.failure_ratio,
        min_requests=fallback.min_requests,
        window_s=fallback.window_s,
        open_s=fallback.open_s,
        probes=fallback.probes,
    )


def _step(step: Step) -> pb.RolloutStep:
    return pb.RolloutStep(
        weight=step.weight / 10,
        shadow=step.shadow / 10,
        min_duration_s=step.min_duration_s,
        min_requests=step.min_requests,
        approval=step.approval,
    )


def _gates(gates: Gates) -> pb.RolloutGates:
    message = pb.RolloutGates()
    if gates.error_rate:
        message.error_rate.SetInParent()
        message.error_rate.max_increase_percent = _percent(gates.error_rate.max_increase)
        message.error_rate.needs_proof = gates.error_rate.needs_proof
    for latency in gates.latency:
        message.latency.add(percentile=_percent(latency.quantile), max_ratio=latency.max_ratio)
    if gates.disagreement:
        message.disagreement.max_percent = _percent(gates.disagreement.max_share)
        message.disagreement.needs_proof = gates.disagreement.needs_proof
    for query in gates.prometheus:
        message.prometheus.add(name=query.name, query=query.query, min=query.minimum, max=query.maximum)
    for function in gates.callables:
        message.callables.add(name=function.name)
    return message


def _guard_rails(rails: GuardRails) -> pb.RolloutGuardRails:
    return pb.RolloutGuardRails(
        error_percent=_percent(rails.error_share),
        latency_ms=rails.latency_ms,
        min_requests=rails.min_requests,
        window_s=rails.window_s,
    )


def _percent(share: float) -> float:
    """As it was written: 0.07 is 7, not 7.000000000000001."""
    return round(share * 100, 9)
