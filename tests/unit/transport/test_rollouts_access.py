"""Who may look at rollouts and routes and who may change them, over gRPC and HTTP alike."""

import asyncio
import inspect
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from headrace.core.caller import STRANGER, Caller
from headrace.errors import HeadraceError, PermissionDenied, Status, Unauthenticated
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.repository.routing.writing import route_json, route_message
from headrace.security.policy import Policy
from headrace.settings import GrpcSettings, HttpSettings
from headrace.transport.grpc.methods import build_methods
from headrace.transport.grpc.restricted import group_of as group_of_method
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.messages import HttpRequest, HttpResponse, error_response
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.restricted import group_of as group_of_endpoint
from headrace.transport.http.routes import Routes
from headrace.transport.limits import DEFAULT_LIMITS
from headrace.transport.restriction import Api
from support.loops import run
from support.rollouts import ADMIN, ELSEWHERE, MODEL, OPERATOR, READER, ROLES, ROUTE, FakeRollouts, guarded

SERVICE = "/headrace.v1.Rollouts/"
MISSING = "nobody"

# Of each method: its request with a model's name, and whether it changes something.
METHODS: dict[str, tuple[type[Any], bool, dict[str, Any]]] = {
    "Start": (pb.StartRolloutRequest, True, {}),
    "Status": (pb.RolloutStatusRequest, False, {}),
    "Pause": (pb.RolloutRequest, True, {}),
    "Resume": (pb.RolloutRequest, True, {}),
    "Promote": (pb.PromoteRequest, True, {}),
    "Rollback": (pb.RolloutRequest, True, {}),
    "Abort": (pb.RolloutRequest, True, {}),
    "History": (pb.RolloutHistoryRequest, False, {}),
    "Explain": (pb.ExplainRolloutRequest, False, {}),
    "Compare": (pb.CompareRequest, False, {"live_version": "1", "shadow_version": "2"}),
    "GetRoute": (pb.RouteRequest, False, {}),
    "SetRoute": (pb.SetRouteRequest, True, {"route": route_message(ROUTE)}),
    "ClearRoute": (pb.RouteRequest, True, {}),
}
# The same of each endpoint, with its body.
ENDPOINTS: dict[str, tuple[bool, bytes]] = {
    "GET rollout": (False, b""),
    "POST rollout/start": (True, b'{"dry_run": true}'),
    "POST rollout/pause": (True, b'{"reason": "x"}'),
    "POST rollout/resume": (True, b""),
    "POST rollout/promote": (True, b"{}"),
    "POST rollout/rollback": (True, b""),
    "POST rollout/abort": (True, b""),
    "GET rollout/history": (False, b""),
    "GET rollout/explain": (False, b""),
    "GET rollout/compare?live=1&shadow=2": (False, b""),
    "GET route": (False, b""),
    "PUT route": (True, route_json(ROUTE).encode()),
    "DELETE route": (True, b""),
}
CHANGES = [name for name, (_, changes, _) in METHODS.items() if changes]
CHANGING = [name for name, (changes, _) in ENDPOINTS.items() if changes]


@dataclass
class Call:
    caller: Caller


@dataclass
class RecordedAnswer:
    responses: list[HttpResponse] = field(default_factory=list)
    is_wanted: bool = True

    def complete(self, response: HttpResponse) -> None:
        self.responses.append(response)

    def fail(self, error: HeadraceError) -> None:
        self.complete(error_response(error))


class Ways:
    """Both transports' tables on one fake service, where callers have the roles of support.rollouts."""

    def __init__(self) -> None:
        self.service = FakeRollouts()
        rollouts = guarded(self.service, Policy(ROLES))
        self._methods = build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS, rollouts)  # type: ignore[arg-type]
        self._routes = build_routes(None, None, HttpSettings(), DEFAULT_LIMITS, OffLoop(), rollouts)  # type: ignore[arg-type]

    def over_grpc(self, caller: Caller, name: str, request: Any) -> HeadraceError | bytes:
        data = request if isinstance(request, bytes) else request.SerializeToString()

        async def main() -> bytes:
            answer = self._methods[SERVICE + name].handle(data, Call(caller))  # type: ignore[union-attr, arg-type]
            return await answer if inspect.isawaitable(answer) else answer

        try:
            return run(main(), asyncio.new_event_loop)
        except HeadraceError as error:
            return error

    def over_http(self, caller: Caller, method: str, target: str, body: bytes = b"") -> tuple[int, Any]:
        path, _, query = target.partition("?")
        answer = RecordedAnswer()

        async def main() -> None:
            routes = Routes(self._routes)
            routes.dispatch(HttpRequest(method, path, query, {}, body, 0, caller=caller), answer)
            await routes.wait(5)
            await asyncio.sleep(0)

        run(main())
        (response,) = answer.responses
        return int(response.status), json.loads(b"".join(map(bytes, response.body)))

    def refusal_over_grpc(self, caller: Caller, name: str, model: str) -> HeadraceError:
        request_class, _, fields = METHODS[name]
        error = self.over_grpc(caller, name, request_class(model_name=model, **fields))
        assert isinstance(error, HeadraceError)
        return error


@pytest.fixture
def ways() -> Ways:
    return Ways()


def http_target(name: str, model: str = MODEL) -> tuple[str, str]:
    method, path = name.split(" ")
    return method, f"/v2/models/{model}/{path}"


def test_these_are_all(ways: Ways) -> None:
    assert set(METHODS) == {path.split("/")[2] for path in ways._methods if path.startswith(SERVICE)}
    known = {"GET /v2/rollouts"}
    for name in ENDPOINTS:
        method, target = http_target(name, "{model}")
        known.add(f"{method} {target.partition('?')[0]}")
    rollout_routes = [route for route in ways._routes if "rollout" in route.path or "/route" in route.path]
    assert {f"{route.method} {route.path}" for route in rollout_routes} == known


# Strangers


@pytest.mark.parametrize("name", METHODS)
def test_no_method_answers_a_stranger_or_asks_the_service(ways: Ways, name: str) -> None:
    for request in (b"", METHODS[name][0](model_name=MODEL, **METHODS[name][2])):
        error = ways.over_grpc(STRANGER, name, request)
        assert isinstance(error, Unauthenticated)
    assert ways.service.calls == []


@pytest.mark.parametrize("name", ["GET /v2/rollouts", *ENDPOINTS])
def test_no_endpoint_answers_a_stranger_or_asks_the_service(ways: Ways, name: str) -> None:
    """With what it takes, with nothing, and with what it does not take: permission is looked at first."""
    if name in ENDPOINTS:
        method, target = http_target(name)
    else:
        method, target = name.split(" ")
    good = ENDPOINTS.get(name, (False, b""))[1]
    for body, to in ((good, target), (b"", target.partition("?")[0]), (b"{", f"{target}?limit=x&id=x")):
        status, document = ways.over_http(STRANGER, method, to, body)
        assert status == 401, document
    assert ways.service.calls == []


# Callers with other permissions


@pytest.mark.parametrize("name", CHANGES)
def test_who_may_look_may_not_change_over_grpc(ways: Ways, name: str) -> None:
    error = ways.refusal_over_grpc(READER, name, MODEL)

    assert isinstance(error, PermissionDenied)
    assert str(error) == "'reader' lacks the permission 'control' for model 'digits'"
    assert ways.service.calls == []


@pytest.mark.parametrize("name", CHANGING)
def test_who_may_look_may_not_change_over_http(ways: Ways, name: str) -> None:
    for body in (ENDPOINTS[name][1], b"{"):
        status, document = ways.over_http(READER, *http_target(name), body)
        assert (status, document["error"]) == (
            403,
            "'reader' lacks the permission 'control' for model 'digits'",
        )
    assert ways.service.calls == []


@pytest.mark.parametrize("name", METHODS)
def test_a_model_of_others_is_as_one_that_there_is_not_over_grpc(ways: Ways, name: str) -> None:
    there, missing = (ways.refusal_over_grpc(ELSEWHERE, name, model) for model in (MODEL, MISSING))

    assert there.status is missing.status is Status.PERMISSION_DENIED
    assert str(there).replace(MODEL, MISSING) == str(missing)
    assert ways.service.calls == []


@pytest.mark.parametrize("name", ENDPOINTS)
def test_a_model_of_others_is_as_one_that_there_is_not_over_http(ways: Ways, name: str) -> None:
    (there, told), (missing, said) = (
        ways.over_http(ELSEWHERE, *http_target(name, model), ENDPOINTS[name][1]) for model in (MODEL, MISSING)
    )

    assert there == missing == 403
    assert told["error"].replace(MODEL, MISSING) == said["error"]
    assert ways.service.calls == []


def test_lists_have_what_the_caller_may_know(ways: Ways) -> None:
    for caller, count in ((READER, 1), (OPERATOR, 1), (ELSEWHERE, 0)):
        data = ways.over_grpc(caller, "Status", pb.RolloutStatusRequest())
        assert isinstance(data, bytes)
        assert len(pb.RolloutStatusResponse.FromString(data).rollouts) == count
        status, document = ways.over_http(caller, "GET", "/v2/rollouts")
        assert (status, len(document["rollouts"])) == (200, count)


# Callers who may


@pytest.mark.parametrize("name", METHODS)
def test_who_may_is_answered_over_grpc(ways: Ways, name: str) -> None:
    request_class, changes, fields = METHODS[name]
    answer = ways.over_grpc(OPERATOR if changes else READER, name, request_class(model_name=MODEL, **fields))

    assert isinstance(answer, bytes)
    assert len(ways.service.wishes) == (name != "GetRoute")


@pytest.mark.parametrize("name", ENDPOINTS)
def test_who_may_is_answered_over_http(ways: Ways, name: str) -> None:
    changes, body = ENDPOINTS[name]

    status, document = ways.over_http(OPERATOR if changes else READER, *http_target(name), body)

    assert status == 200, document
    assert len(ways.service.wishes) == (name != "GET route")


@pytest.mark.parametrize("name", CHANGES)
def test_the_service_is_told_who_gives_an_order(ways: Ways, name: str) -> None:
    request_class, _, fields = METHODS[name]
    ways.over_grpc(OPERATOR, name, request_class(model_name=MODEL, **fields))

    assert "operator" in ways.service.wishes[0]


def test_a_plan_with_queries_is_for_those_who_may_see_everything(ways: Ways) -> None:
    query = {"name": "sales", "query": "sum(sales)", "min": 1}
    body = json.dumps({"plan": {"gates": {"prometheus": [query]}}}).encode()
    target = http_target("POST rollout/start")

    status, document = ways.over_http(OPERATOR, *target, body)
    assert (status, document["error"]) == (403, "'operator' lacks the permission 'admin' for model '*'")
    assert ways.service.calls == []
    assert ways.over_http(ADMIN, *target, body)[0] == 200


# Triton's restricted protocols


def test_rollouts_are_in_the_group_of_loading_and_unloading(ways: Ways) -> None:
    paths = [path for path in ways._methods if path.startswith(SERVICE)]
    assert {group_of_method(path) for path in paths} == {Api.MODEL_REPOSITORY}
    routes = [route.path for route in ways._routes if "rollout" in route.path or "/route" in route.path]
    assert {group_of_endpoint(path) for path in routes} == {Api.MODEL_REPOSITORY}
