"""headrace.v1.Rollouts: how a model's requests are shared between its versions, looked at and changed."""

from headrace.core.plan import Plan
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.headrace.v1 import routing_pb2
from headrace.repository.problems import Findings
from headrace.repository.routing.reading import plan_of, route_of
from headrace.security.policy import Permission
from headrace.security.rollout_guard import GuardedRollouts, RolloutsOf
from headrace.transport.grpc.calls import Call, ControlMethod, Method
from headrace.transport.grpc.parse import parse
from headrace.transport.grpc.rollout_messages import event_message, rollout_message, route_status_message
from headrace.transport.limits import Limits, check_text
from headrace.transport.rollout_limits import check_number, check_version

SERVICE = "/headrace.v1.Rollouts/"


class RolloutMethods:
    """Where a request may be refused for what it holds, its caller's permission is looked at before."""

    def __init__(self, rollouts: GuardedRollouts, limits: Limits) -> None:
        self._rollouts = rollouts
        self._limits = limits

    def methods(self) -> list[Method]:
        return [
            ControlMethod(SERVICE + "Start", self.start),
            ControlMethod(SERVICE + "Status", self.status),
            ControlMethod(SERVICE + "Pause", self.pause),
            ControlMethod(SERVICE + "Resume", self.resume),
            ControlMethod(SERVICE + "Promote", self.promote),
            ControlMethod(SERVICE + "Rollback", self.roll_back),
            ControlMethod(SERVICE + "Abort", self.abort),
            ControlMethod(SERVICE + "History", self.history),
            ControlMethod(SERVICE + "Explain", self.explain),
            ControlMethod(SERVICE + "Compare", self.compare),
            ControlMethod(SERVICE + "GetRoute", self.route),
            ControlMethod(SERVICE + "SetRoute", self.set_route),
            ControlMethod(SERVICE + "ClearRoute", self.clear_route),
        ]

    async def start(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.StartRolloutRequest, data)
        rollouts = self._changing(call, "rollout_start", request.model_name)
        check_number(request.version, "'version'")
        check_number(request.stable_version, "'stable_version'")
        plan = _plan(request.plan) if request.HasField("plan") else None
        view = await rollouts.start(
            request.model_name, request.version, request.stable_version, plan, dry_run=request.dry_run
        )
        return rollout_message(view).SerializeToString()

    def status(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RolloutStatusRequest, data)
        views = self._of(call, request.model_name).status(request.model_name)
        response = pb.RolloutStatusResponse(rollouts=[rollout_message(view) for view in views])
        return response.SerializeToString()

    async def pause(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RolloutRequest, data)
        rollouts = self._ordering(call, "rollout_pause", request)
        view = await rollouts.pause(request.model_name, request.reason)
        return rollout_message(view).SerializeToString()

    async def resume(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RolloutRequest, data)
        rollouts = self._ordering(call, "rollout_resume", request)
        view = await rollouts.resume(request.model_name, request.reason)
        return rollout_message(view).SerializeToString()

    async def promote(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.PromoteRequest, data)
        rollouts = self._ordering(call, "rollout_promote", request)
        view = await rollouts.promote(request.model_name, request.reason, full=request.full)
        return rollout_message(view).SerializeToString()

    async def roll_back(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RolloutRequest, data)
        rollouts = self._ordering(call, "rollout_rollback", request)
        view = await rollouts.roll_back(request.model_name, request.reason)
        return rollout_message(view).SerializeToString()

    async def abort(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RolloutRequest, data)
        rollouts = self._ordering(call, "rollout_abort", request)
        view = await rollouts.abort(request.model_name, request.reason)
        return rollout_message(view).SerializeToString()

    async def history(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RolloutHistoryRequest, data)
        views = await self._of(call, request.model_name).history(request.model_name, request.limit)
        response = pb.RolloutHistoryResponse(rollouts=[rollout_message(view) for view in views])
        return response.SerializeToString()

    async def explain(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.ExplainRolloutRequest, data)
        check_number(request.id, "'id'")
        view, events = await self._of(call, request.model_name).explain(request.model_name, request.id)
        return pb.ExplainRolloutResponse(
            rollout=rollout_message(view), events=[event_message(event) for event in events]
        ).SerializeToString()

    def compare(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.CompareRequest, data)
        rollouts = self._of(call, request.model_name)
        rollouts.check("rollout_compare", Permission.READ, request.model_name)
        check_version(request.live_version, "'live_version'")
        check_version(request.shadow_version, "'shadow_version'")
        document = rollouts.compare(request.model_name, request.live_version, request.shadow_version)
        return pb.CompareResponse(document=document).SerializeToString()

    def route(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RouteRequest, data)
        view = self._of(call, request.model_name).route(request.model_name)
        return route_status_message(view).SerializeToString()

    async def set_route(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.SetRouteRequest, data)
        rollouts = self._changing(call, "route_set", request.model_name)
        route = route_of(request.route, Findings("route"))
        view = await rollouts.set_route(request.model_name, route)
        return route_status_message(view).SerializeToString()

    async def clear_route(self, data: bytes, call: Call) -> bytes:
        request = parse(pb.RouteRequest, data)
        view = await self._of(call, request.model_name).clear_route(request.model_name)
        return route_status_message(view).SerializeToString()

    def _of(self, call: Call, model: str) -> RolloutsOf:
        check_text(model, self._limits, "the model's name")
        return self._rollouts.of(call.caller)

    def _changing(self, call: Call, action: str, model: str) -> RolloutsOf:
        """For a caller who may do `action`."""
        rollouts = self._of(call, model)
        rollouts.check(action, Permission.CONTROL, model)
        return rollouts

    def _ordering(
        self, call: Call, action: str, request: pb.RolloutRequest | pb.PromoteRequest
    ) -> RolloutsOf:
        """For a caller who may do `action`, and gives a reason that can be recorded."""
        rollouts = self._changing(call, action, request.model_name)
        check_text(request.reason, self._limits, "the reason")
        return rollouts


def _plan(message: routing_pb2.RolloutPlan) -> Plan:
    return plan_of(message, Findings("plan"))
