"""Where permissions for rollouts and routes are checked, and changes recorded, below every transport."""

from collections.abc import Sequence
from typing import Any, Protocol

from headrace.core.caller import Caller
from headrace.core.plan import Plan
from headrace.core.route import Fallback, Route
from headrace.repository.routing.writing import plan_json, route_json
from headrace.rollout.answers import EventView, RolloutView, RouteView
from headrace.security.audit.log import Audit
from headrace.security.changes import Change, Changes
from headrace.security.policy import EVERY_MODEL, Permission, Policies, Policy
from headrace.security.refusals import Refusals


class RolloutService(Protocol):
    """The rollouts of the server; `by` is who gives an order. Errors are NotFound, InvalidArgument,
    FailedPrecondition or Unavailable.
    """

    async def start_rollout(
        self, model: str, canary: int, stable: int, plan: Plan | None, by: str, *, dry_run: bool
    ) -> RolloutView: ...

    def status(self, model: str) -> Sequence[RolloutView]: ...

    async def pause(self, model: str, reason: str, by: str) -> RolloutView: ...

    async def resume(self, model: str, reason: str, by: str) -> RolloutView: ...

    async def promote(self, model: str, reason: str, by: str, *, full: bool) -> RolloutView: ...

    async def roll_back(self, model: str, reason: str, by: str) -> RolloutView: ...

    async def abort(self, model: str, reason: str, by: str) -> RolloutView: ...

    async def history(self, model: str, limit: int) -> Sequence[RolloutView]: ...

    async def explain(self, model: str, rollout_id: int) -> tuple[RolloutView, Sequence[EventView]]: ...

    def compare(self, model: str, live: str, shadow: str) -> str: ...

    def route(self, model: str) -> RouteView: ...

    async def set_route(self, model: str, route: Route, by: str) -> RouteView: ...

    async def clear_route(self, model: str, by: str) -> RouteView: ...


class GuardedRollouts:
    """What transports ask about rollouts and routes."""

    def __init__(self, service: RolloutService, policies: Policies, refusals: Refusals, audit: Audit) -> None:
        self._service = service
        self._policies = policies
        self._refusals = refusals
        self._changes = Changes(audit)

    def of(self, caller: Caller) -> "RolloutsOf":
        """The rollouts as `caller` may look at and change them."""
        return RolloutsOf(self._service, self._policies.policy, self._refusals, self._changes, caller)


class RolloutsOf:
    """Looking needs `read` for the model, changing `control`, and a plan with queries `admin`; changes are
    recorded as loads are.
    """

    def __init__(
        self,
        service: RolloutService,
        policy: Policy,
        refusals: Refusals,
        changes: Changes,
        caller: Caller,
    ) -> None:
        self._service = service
        self._policy = policy
        self._refusals = refusals
        self._changes = changes
        self._caller = caller

    async def start(
        self, model: str, canary: int, stable: int, plan: Plan | None, *, dry_run: bool = False
    ) -> RolloutView:
        """Starts to roll `canary` out (0: the newest), from `stable` (0: what answers now)."""
        self.check("rollout_start", Permission.CONTROL, model)
        if plan is not None:
            self._check_stand_in("rollout_start", plan.fallback)
            self._check_queries(plan)
        making = self._service.start_rollout(model, canary, stable, plan, self._caller.name, dry_run=dry_run)
        if dry_run:
            return await making
        given = {"version": canary, "stable": stable, "plan": plan_json(plan) if plan else None}
        return await self._changes.make(self._change("rollout_start", model, given), making)

    def status(self, model: str) -> Sequence[RolloutView]:
        """Of `model`, or with "" of all that the caller may look at: each one's last rollout."""
        self.check("rollout_status", Permission.READ, model or None)
        views = self._service.status(model)
        return [view for view in views if self._policy.allows(self._caller, Permission.READ, view.model)]

    async def pause(self, model: str, reason: str) -> RolloutView:
        self.check("rollout_pause", Permission.CONTROL, model)
        making = self._service.pause(model, reason, self._caller.name)
        return await self._changes.make(self._change("rollout_pause", model, reason), making)

    async def resume(self, model: str, reason: str) -> RolloutView:
        self.check("rollout_resume", Permission.CONTROL, model)
        making = self._service.resume(model, reason, self._caller.name)
        return await self._changes.make(self._change("rollout_resume", model, reason), making)

    async def promote(self, model: str, reason: str, *, full: bool = False) -> RolloutView:
        self.check("rollout_promote", Permission.CONTROL, model)
        making = self._service.promote(model, reason, self._caller.name, full=full)
        given = {"reason": reason, "full": full}
        return await self._changes.make(self._change("rollout_promote", model, given), making)

    async def roll_back(self, model: str, reason: str) -> RolloutView:
        self.check("rollout_rollback", Permission.CONTROL, model)
        making = self._service.roll_back(model, reason, self._caller.name)
        return await self._changes.make(self._change("rollout_rollback", model, reason), making)

    async def abort(self, model: str, reason: str) -> RolloutView:
        self.check("rollout_abort", Permission.CONTROL, model)
        making = self._service.abort(model, reason, self._caller.name)
        return await self._changes.make(self._change("rollout_abort", model, reason), making)

    async def history(self, model: str, limit: int) -> Sequence[RolloutView]:
        """The rollouts of `model`, newest first; a limit of 0 is none."""
        self.check("rollout_history", Permission.READ, model)
        return await self._service.history(model, limit)

    async def explain(self, model: str, rollout_id: int) -> tuple[RolloutView, Sequence[EventView]]:
        """One rollout, the last where `rollout_id` is 0, and its decisions in their order."""
        self.check("rollout_explain", Permission.READ, model)
        return await self._service.explain(model, rollout_id)

    def compare(self, model: str, live: str, shadow: str) -> str:
        """How the answers of two versions (numbers or labels) differ, as a JSON document."""
        self.check("rollout_compare", Permission.READ, model)
        return self._service.compare(model, live, shadow)

    def route(self, model: str) -> RouteView:
        self.check("route", Permission.READ, model)
        return self._service.route(model)

    async def set_route(self, model: str, route: Route) -> RouteView:
        self.check("route_set", Permission.CONTROL, model)
        self._check_stand_in("route_set", route.fallback)
        making = self._service.set_route(model, route, self._caller.name)
        return await self._changes.make(self._change("route_set", model, route_json(route)), making)

    async def clear_route(self, model: str) -> RouteView:
        self.check("route_clear", Permission.CONTROL, model)
        making = self._service.clear_route(model, self._caller.name)
        return await self._changes.make(self._change("route_clear", model, None), making)

    def _change(self, action: str, model: str, given: Any) -> Change:
        return Change(action, self._caller, model, lambda: self._state(model), given)

    def _state(self, model: str) -> Any:
        """Where requests go, as the audit log shows it."""
        route = self._service.route(model).route
        return {"route": route_json(route) if route else None}

    def _check_stand_in(self, action: str, fallback: Fallback | None) -> None:
        """Whoever lets another model answer has to be allowed to control that one, too."""
        if fallback is not None and fallback.model:
            self.check(action, Permission.CONTROL, fallback.model)

    def _check_queries(self, plan: Plan) -> None:
        """What Prometheus answers tells of more than one model."""
        if plan.gates.prometheus:
            self.check("rollout_start", Permission.ADMIN, EVERY_MODEL)

    def check(self, action: str, permission: Permission, model: str | None) -> None:
        """Raises where the caller may not, for transports that ask before they read what it wants, too."""
        if not self._policy.allows(self._caller, permission, model):
            error = self._policy.refusal(self._caller, permission, model)
            self._refusals.denied(action, self._caller, model or "", error)
            raise error
