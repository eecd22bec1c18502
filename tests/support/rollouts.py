"""Rollouts in memory: a service that keeps what it was asked, and the guard that transports get of it."""

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import grpc

from headrace.core.caller import Caller, Proof
from headrace.core.plan import Plan
from headrace.core.route import Attribute, Condition, Fallback, Key, Route, Rule, Shadow, Weight
from headrace.errors import HeadraceError, NotFound
from headrace.rollout.answers import EventView, Figures, GateView, RolloutView, RouteView, ShareView
from headrace.security.audit.log import NoAuditLog
from headrace.security.policy import OpenPolicy, Permission, Policy, Role
from headrace.security.refusals import Refusals
from headrace.security.rollout_guard import GuardedRollouts
from headrace.transport.grpc.calls import ControlMethod
from headrace.transport.grpc.rollout_methods import SERVICE, RolloutMethods
from headrace.transport.limits import DEFAULT_LIMITS

MODEL = "digits"
STARTED_AT_S = 1_800_000_000.0
WIDE = 2**53 + 1

ROUTE = Route(
    weights=(Weight(2, 945), Weight(3, 55)),
    shadows=(Shadow(WIDE, 105),),
    labels={"stable": 2, "canary": 3, "wide": WIDE},
    sticky=Key(Attribute.METADATA, "user-id"),
    seed="s",
    rules=(Rule("beta", (Condition(Key(Attribute.PARAMETER, "tier"), ("beta", "in-*")),), "canary"),),
    fallback=Fallback(target="stable", probes=5),
    revision=4,
)
ROUTE_VIEW = RouteView(
    MODEL,
    ROUTE,
    set_by="ann",
    shares=(ShareView("2", "weights", WIDE), ShareView("3", "rule", 7)),
    breakers={3: "half-open"},
    differences=("weights: 2 has 94.5, 100 in the configuration",),
)
ROLLOUT = RolloutView(
    id=7,
    model=MODEL,
    stable=2,
    canary=3,
    state="running",
    step=2,
    plan=Plan(),
    started_at_s=STARTED_AT_S,
    step_started_at_s=STARTED_AT_S + 120,
    step_elapsed_s=30.0,
    ended_at_s=0.0,
    started_by="ann",
    reason="the step lasts 18 s more",
    origin="command",
    gates=(
        GateView("error_rate", "passed", "0.50% of the canary's requests failed, 0.10% of the others"),
        GateView("latency_p95", "waits", "p95 is 3.4 ms"),
    ),
    stable_figures=Figures(WIDE, 12, 1.25, 3.5, 9.0),
    canary_figures=Figures(600, 3, 0.85, 3.0, 8.5),
    pairs=80,
    disagreeing_pairs=2,
)
EVIDENCE = {
    "model": MODEL,
    "stable": 2,
    "canary": 3,
    "step": 1,
    "weight_percent": 1.0,
    "elapsed_s": 61.5,
    "stable_figures": {"requests": 12034, "failures": 12, "p95_ms": 3.5},
    "canary_figures": {"requests": 600, "failures": 3, "p95_ms": 3.0},
    "gates": [
        {
            "name": "error_rate",
            "verdict": "passed",
            "detail": "0.50% of the canary's requests failed",
            "canary_requests": 600,
            "p_value": 0.123456789,
            "alpha": 0.0033333,
        }
    ],
}
EVENTS = (
    EventView(STARTED_AT_S, "started", 0, "from version 2 to version 3", "ann", "{}"),
    EventView(
        STARTED_AT_S + 60, "promoted", 1, "after 61 s; passed: error_rate", "headrace", json.dumps(EVIDENCE)
    ),
    EventView(STARTED_AT_S + 70, "paused", 1, "a look\x1b[2J first", "bob", "no document"),
)


class FakeRollouts:
    """Knows one model, `digits`; `error` is raised by whatever is asked next."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.error: HeadraceError | None = None
        self.rollouts: list[RolloutView] = [ROLLOUT]
        self.events: Sequence[EventView] = EVENTS
        self.route_view = ROUTE_VIEW
        self.document = '{"pairs": 80}'

    async def start_rollout(
        self, model: str, canary: int, stable: int, plan: Plan | None, by: str, *, dry_run: bool
    ) -> RolloutView:
        self._asked("start", model, canary, stable, plan, by, dry_run)
        return replace(ROLLOUT, plan=plan or Plan(), id=0 if dry_run else 7)

    def status(self, model: str) -> Sequence[RolloutView]:
        self._asked("status", model)
        return [view for view in self.rollouts if model in ("", view.model)]

    async def pause(self, model: str, reason: str, by: str) -> RolloutView:
        self._asked("pause", model, reason, by)
        return replace(ROLLOUT, state="paused", reason=reason)

    async def resume(self, model: str, reason: str, by: str) -> RolloutView:
        self._asked("resume", model, reason, by)
        return ROLLOUT

    async def promote(self, model: str, reason: str, by: str, *, full: bool) -> RolloutView:
        self._asked("promote", model, reason, by, full)
        return replace(ROLLOUT, step=3)

    async def roll_back(self, model: str, reason: str, by: str) -> RolloutView:
        self._asked("roll_back", model, reason, by)
        return replace(ROLLOUT, state="rolled_back", ended_at_s=STARTED_AT_S + 200, reason=reason)

    async def abort(self, model: str, reason: str, by: str) -> RolloutView:
        self._asked("abort", model, reason, by)
        return replace(ROLLOUT, state="aborted", ended_at_s=STARTED_AT_S + 200, reason=reason)

    async def history(self, model: str, limit: int) -> Sequence[RolloutView]:
        self._asked("history", model, limit)
        return self.rollouts[: limit or None]

    async def explain(self, model: str, rollout_id: int) -> tuple[RolloutView, Sequence[EventView]]:
        self._asked("explain", model, rollout_id)
        return ROLLOUT, self.events

    def compare(self, model: str, live: str, shadow: str) -> str:
        self._asked("compare", model, live, shadow)
        return self.document

    def route(self, model: str) -> RouteView:
        self._asked("route", model)
        return self.route_view

    async def set_route(self, model: str, route: Route, by: str) -> RouteView:
        self._asked("set_route", model, route, by)
        return replace(ROUTE_VIEW, route=route)

    async def clear_route(self, model: str, by: str) -> RouteView:
        self._asked("clear_route", model, by)
        return RouteView(model, None, set_by=by)

    @property
    def wishes(self) -> list[tuple[Any, ...]]:
        """What was asked, without the looks at the route that are taken for the audit log."""
        return [call for call in self.calls if call[0] != "route"]

    def _asked(self, *call: Any) -> None:
        self.calls.append(call)
        if call[1] not in ("", MODEL):
            raise NotFound(f"Request for unknown model: '{call[1]}' is not found")
        if self.error is not None and call[0] != "route":
            raise self.error


class FixedPolicies:
    """A policy that never changes."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy


READER = Caller("reader", frozenset({"reader"}), Proof.KEY)
OPERATOR = Caller("operator", frozenset({"operator"}), Proof.KEY)
ELSEWHERE = Caller("elsewhere", frozenset({"elsewhere"}), Proof.KEY)
ADMIN = Caller("admin", frozenset({"operator", "admin"}), Proof.KEY)
ROLES = {
    "admin": Role({Permission.ADMIN: ("*",)}),
    "reader": Role({Permission.READ: (MODEL,)}),
    "operator": Role({Permission.READ: ("*",), Permission.CONTROL: ("*",)}),
    "elsewhere": Role({Permission.READ: ("other-*",), Permission.CONTROL: ("other-*",)}),
}


def guarded(service: FakeRollouts, policy: Policy | None = None) -> GuardedRollouts:
    """Without a `policy` everybody may do everything."""
    audit = NoAuditLog()
    return GuardedRollouts(service, FixedPolicies(policy or OpenPolicy()), Refusals(audit), audit)


@dataclass(frozen=True)
class _Call:
    caller: Caller


@contextmanager
def serving(service: FakeRollouts, policy: Policy | None = None) -> Iterator[str]:
    """The address of a gRPC server that has headrace.v1.Rollouts on `service` and nothing else.

    Callers are OPERATOR.
    """
    methods = RolloutMethods(guarded(service, policy), DEFAULT_LIMITS).methods()
    handlers = {
        method.path.split("/")[2]: grpc.unary_unary_rpc_method_handler(_answering(method))
        for method in methods
        if isinstance(method, ControlMethod)
    }
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        handler = grpc.method_handlers_generic_handler(SERVICE.strip("/"), handlers)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


def _answering(method: ControlMethod) -> Callable[[bytes, grpc.ServicerContext], bytes]:
    async def answer(data: bytes) -> bytes:
        answered = method.handle(data, _Call(OPERATOR))  # type: ignore[arg-type]
        return await answered if inspect.isawaitable(answered) else answered

    def handle(data: bytes, context: grpc.ServicerContext) -> bytes:
        try:
            return asyncio.run(answer(data))
        except HeadraceError as error:
            (code,) = [each for each in grpc.StatusCode if each.value[0] == error.status]
            context.abort(code, str(error))
            raise

    return handle
