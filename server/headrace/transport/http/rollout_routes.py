"""Rollouts and routes over HTTP: looked at with GET, changed with POST, PUT and DELETE."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from headrace.errors import InvalidArgument, NotFound
from headrace.rollout.answers import RolloutView, RouteView
from headrace.security.policy import Permission
from headrace.security.rollout_guard import GuardedRollouts, RolloutsOf
from headrace.transport.http.messages import HttpRequest, HttpResponse, json_response
from headrace.transport.http.rollout_body import OrderBody, route_of_body
from headrace.transport.http.rollout_json import event_json, rollout_json, route_status_json
from headrace.transport.http.routes import ControlRoute, Route
from headrace.transport.http.server_routes import MODEL
from headrace.transport.limits import MAX_CONTROL_BYTES, Limits
from headrace.transport.rollout_limits import check_version

ROLLOUTS = "/v2/rollouts"
ROLLOUT = MODEL + "/rollout"
ROUTE = MODEL + "/route"

_START: Mapping[str, type] = {"version": int, "stable_version": int, "plan": dict, "dry_run": bool}
_ORDER: Mapping[str, type] = {"reason": str}
_PROMOTE: Mapping[str, type] = {"reason": str, "full": bool}

Order: TypeAlias = Callable[[HttpRequest], Awaitable[HttpResponse]]

# As many as are always below transport.rollout_limits.MAX_NUMBER.
_MAX_DIGITS = 18


class RolloutRoutes:
    """Where a request may be refused for what it holds, its caller's permission is looked at before."""

    def __init__(self, rollouts: GuardedRollouts, limits: Limits) -> None:
        self._rollouts = rollouts
        self._limits = limits

    def routes(self) -> list[Route]:
        return [
            ControlRoute("GET", ROLLOUTS, self.status),
            ControlRoute("GET", ROLLOUT, self.last),
            self._changing("POST", ROLLOUT + "/start", self.start, "rollout_start"),
            self._changing("POST", ROLLOUT + "/pause", self.pause, "rollout_pause"),
            self._changing("POST", ROLLOUT + "/resume", self.resume, "rollout_resume"),
            self._changing("POST", ROLLOUT + "/promote", self.promote, "rollout_promote"),
            self._changing("POST", ROLLOUT + "/rollback", self.roll_back, "rollout_rollback"),
            self._changing("POST", ROLLOUT + "/abort", self.abort, "rollout_abort"),
            ControlRoute("GET", ROLLOUT + "/history", self.history),
            ControlRoute("GET", ROLLOUT + "/explain", self.explain),
            ControlRoute("GET", ROLLOUT + "/compare", self.compare),
            ControlRoute("GET", ROUTE, self.route),
            self._changing("PUT", ROUTE, self.set_route, "route_set"),
            ControlRoute("DELETE", ROUTE, self.clear_route),
        ]

    def status(self, request: HttpRequest) -> HttpResponse:
        views = self._rollouts.of(request.caller).status("")
        return json_response({"rollouts": [rollout_json(view) for view in views]})

    def last(self, request: HttpRequest) -> HttpResponse:
        model = request.params["model"]
        views = self._rollouts.of(request.caller).status(model)
        if not views:
            raise NotFound(f"model '{model}' has had no rollout")
        return _rollout(views[0])

    async def start(self, request: HttpRequest) -> HttpResponse:
        model, rollouts, body = self._order(request, _START)
        view = await rollouts.start(
            model, body["version"], body["stable_version"], body.plan(), dry_run=body["dry_run"]
        )
        return _rollout(view)

    async def pause(self, request: HttpRequest) -> HttpResponse:
        model, rollouts, body = self._order(request, _ORDER)
        return _rollout(await rollouts.pause(model, body["reason"]))

    async def resume(self, request: HttpRequest) -> HttpResponse:
        model, rollouts, body = self._order(request, _ORDER)
        return _rollout(await rollouts.resume(model, body["reason"]))

    async def promote(self, request: HttpRequest) -> HttpResponse:
        model, rollouts, body = self._order(request, _PROMOTE)
        return _rollout(await rollouts.promote(model, body["reason"], full=body["full"]))

    async def roll_back(self, request: HttpRequest) -> HttpResponse:
        model, rollouts, body = self._order(request, _ORDER)
        return _rollout(await rollouts.roll_back(model, body["reason"]))

    async def abort(self, request: HttpRequest) -> HttpResponse:
        model, rollouts, body = self._order(request, _ORDER)
        return _rollout(await rollouts.abort(model, body["reason"]))

    async def history(self, request: HttpRequest) -> HttpResponse:
        """The rollouts of a model, newest first; all of them where no `limit` is given."""
        model, rollouts = self._look(request, "rollout_history")
        views = await rollouts.history(model, _number(request, "limit"))
        return json_response({"rollouts": [rollout_json(view) for view in views]})

    async def explain(self, request: HttpRequest) -> HttpResponse:
        """The decisions of the rollout `id`, or of the last one."""
        model, rollouts = self._look(request, "rollout_explain")
        view, events = await rollouts.explain(model, _number(request, "id"))
        return json_response({"rollout": rollout_json(view), "events": [event_json(each) for each in events]})

    def compare(self, request: HttpRequest) -> HttpResponse:
        """The document itself, which is JSON."""
        model, rollouts = self._look(request, "rollout_compare")
        values = request.query_values()
        live, shadow = values.get("live", ""), values.get("shadow", "")
        check_version(live, "'live'")
        check_version(shadow, "'shadow'")
        return HttpResponse([rollouts.compare(model, live, shadow).encode()])

    def route(self, request: HttpRequest) -> HttpResponse:
        return _route(self._rollouts.of(request.caller).route(request.params["model"]))

    async def set_route(self, request: HttpRequest) -> HttpResponse:
        model, rollouts = self._of(request)
        return _route(await rollouts.set_route(model, route_of_body(request.body, self._limits)))

    async def clear_route(self, request: HttpRequest) -> HttpResponse:
        return _route(await self._rollouts.of(request.caller).clear_route(request.params["model"]))

    def _changing(self, method: str, path: str, handle: Order, action: str) -> Route:
        """An endpoint that reads a body, for those who may do `action`."""

        def check(request: HttpRequest) -> None:
            model, rollouts = self._of(request)
            rollouts.check(action, Permission.CONTROL, model)

        return ControlRoute(method, path, handle, check, MAX_CONTROL_BYTES)

    def _order(self, request: HttpRequest, fields: Mapping[str, type]) -> tuple[str, RolloutsOf, OrderBody]:
        """The model, its rollouts, and what the body says."""
        model, rollouts = self._of(request)
        return model, rollouts, OrderBody(request.body, fields, self._limits)

    def _look(self, request: HttpRequest, action: str) -> tuple[str, RolloutsOf]:
        """The model and its rollouts, for a caller who may look at them."""
        model, rollouts = self._of(request)
        rollouts.check(action, Permission.READ, model)
        return model, rollouts

    def _of(self, request: HttpRequest) -> tuple[str, RolloutsOf]:
        return request.params["model"], self._rollouts.of(request.caller)


def _rollout(view: RolloutView) -> HttpResponse:
    return json_response(rollout_json(view))


def _route(view: RouteView) -> HttpResponse:
    return json_response(route_status_json(view))


def _number(request: HttpRequest, name: str) -> int:
    """The field `name` of the query, 0 where it is not given."""
    text = request.query_values().get(name, "0")
    if not (text.isascii() and text.isdecimal()) or len(text) > _MAX_DIGITS:
        raise InvalidArgument(f"Unable to parse '{name}' of the query: expected an integer of 0 or more")
    return int(text)
