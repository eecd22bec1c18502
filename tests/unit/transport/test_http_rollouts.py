"""Rollouts and routes over HTTP: what each endpoint asks of the service, what it answers and refuses."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from headrace.core.plan import Plan, Step
from headrace.core.route import Fallback, Route, Weight
from headrace.errors import FailedPrecondition, HeadraceError, InvalidArgument, NotFound, Unavailable
from headrace.repository.routing.writing import plan_json, route_json
from headrace.settings import HttpSettings
from headrace.transport.grpc.rollout_messages import event_message, rollout_message, route_status_message
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.messages import HttpRequest, HttpResponse, error_response
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import Routes
from headrace.transport.limits import Limits
from headrace.transport.message_json import message_json
from support.loops import run
from support.rollouts import (
    EVENTS,
    EVIDENCE,
    MODEL,
    ROLLOUT,
    ROUTE,
    ROUTE_VIEW,
    WIDE,
    FakeRollouts,
    guarded,
)

ROLLOUT_PATH = f"/v2/models/{MODEL}/rollout"
ROUTE_PATH = f"/v2/models/{MODEL}/route"
ORDERS = {
    "pause": "pause",
    "resume": "resume",
    "promote": "promote",
    "rollback": "roll_back",
    "abort": "abort",
}
STRANGER = "stranger"


@dataclass
class RecordedAnswer:
    responses: list[HttpResponse] = field(default_factory=list)
    is_wanted: bool = True

    def complete(self, response: HttpResponse) -> None:
        self.responses.append(response)

    def fail(self, error: HeadraceError) -> None:
        self.complete(error_response(error))


class Gateway:
    """The endpoints on a fake service, without a network."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.service = FakeRollouts()
        self._limits = limits or Limits()

    def ask(self, method: str, target: str, body: Any = b"") -> tuple[int, Any]:
        """The status and the JSON of an answer; a `body` that is no bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        path, _, query = target.partition("?")
        answer = RecordedAnswer()

        async def main() -> None:
            rollouts = guarded(self.service)
            routes = Routes(build_routes(None, None, HttpSettings(), self._limits, OffLoop(), rollouts))  # type: ignore[arg-type]
            routes.dispatch(HttpRequest(method, path, query, {}, data, 0), answer)
            await routes.wait(5)
            await asyncio.sleep(0)

        run(main())
        (response,) = answer.responses
        assert response.content_type == "application/json"
        return int(response.status), json.loads(b"".join(map(bytes, response.body)))

    def refusal(self, method: str, target: str, body: Any = b"") -> tuple[int, str]:
        status, document = self.ask(method, target, body)
        assert list(document) == ["error"]
        return status, document["error"]


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


# What is answered


def test_a_rollout_is_as_the_message_says_it() -> None:
    gateway = Gateway()

    status, document = gateway.ask("GET", ROLLOUT_PATH)

    assert status == 200
    assert document == message_json(rollout_message(ROLLOUT))
    assert gateway.service.calls == [("status", MODEL)]


def test_a_rollout_in_json_has_numbers_as_numbers(gateway: Gateway) -> None:
    _, document = gateway.ask("GET", ROLLOUT_PATH)

    assert document["stable"]["requests"] == WIDE
    assert (document["id"], document["stable_version"], document["version"]) == (7, 2, 3)
    assert document["plan"]["steps"][0] == {
        "weight": 0.0,
        "shadow": 100.0,
        "min_duration_s": 60.0,
        "min_requests": 100,
        "approval": False,
    }


def test_all_rollouts(gateway: Gateway) -> None:
    gateway.service.rollouts = [ROLLOUT, replace(ROLLOUT, model="other")]

    status, document = gateway.ask("GET", "/v2/rollouts")

    assert status == 200
    assert [each["model_name"] for each in document["rollouts"]] == [MODEL, "other"]
    assert gateway.service.calls == [("status", "")]


def test_a_model_that_was_never_rolled_out(gateway: Gateway) -> None:
    gateway.service.rollouts = []

    assert gateway.refusal("GET", ROLLOUT_PATH) == (404, "model 'digits' has had no rollout")
    assert gateway.ask("GET", "/v2/rollouts") == (200, {"rollouts": []})


@pytest.mark.parametrize(("query", "limit"), [("", 0), ("?limit=0", 0), ("?limit=3", 3)])
def test_history(gateway: Gateway, query: str, limit: int) -> None:
    status, document = gateway.ask("GET", f"{ROLLOUT_PATH}/history{query}")

    assert (status, [each["id"] for each in document["rollouts"]]) == (200, [7])
    assert gateway.service.calls == [("history", MODEL, limit)]


@pytest.mark.parametrize(("query", "rollout_id"), [("", 0), ("?id=5", 5)])
def test_explain(gateway: Gateway, query: str, rollout_id: int) -> None:
    status, document = gateway.ask("GET", f"{ROLLOUT_PATH}/explain{query}")

    assert status == 200
    assert gateway.service.calls == [("explain", MODEL, rollout_id)]
    assert document["rollout"]["id"] == 7
    assert [each["evidence"] for each in document["events"]] == [{}, EVIDENCE, "no document"]
    for told, event in zip(document["events"], EVENTS, strict=True):
        assert {**told, "evidence": event.evidence} == message_json(event_message(event))


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "", "1_0", "٣", "9" * 19])
@pytest.mark.parametrize("target", ["history?limit", "explain?id"])
def test_numbers_in_a_query_are_numbers(gateway: Gateway, target: str, text: str) -> None:
    status, error = gateway.refusal("GET", f"{ROLLOUT_PATH}/{target}={text}")

    assert status == 400
    assert error == f"Unable to parse '{target.split('?')[1]}' of the query: expected an integer of 0 or more"
    assert gateway.service.calls == []


def test_compare_gives_the_document_itself(gateway: Gateway) -> None:
    answer = gateway.ask("GET", f"{ROLLOUT_PATH}/compare?live=stable&shadow=2")

    assert answer == (200, {"pairs": 80})
    assert gateway.service.calls == [("compare", MODEL, "stable", "2")]


@pytest.mark.parametrize(
    ("query", "missing"), [("", "live"), ("?live=1", "shadow"), ("?live=&shadow=2", "live")]
)
def test_compare_needs_both_versions(gateway: Gateway, query: str, missing: str) -> None:
    answer = gateway.refusal("GET", f"{ROLLOUT_PATH}/compare{query}")

    assert answer == (400, f"'{missing}' is not given: expected a version's number or label")


def test_no_version_has_so_long_a_name(gateway: Gateway) -> None:
    status, error = gateway.refusal("GET", f"{ROLLOUT_PATH}/compare?live=1&shadow={'9' * 5000}")

    assert (status, error) == (400, "'shadow' has 5000 characters, but at most 256 are allowed")


# Orders


def test_start_with_everything(gateway: Gateway) -> None:
    plan = Plan(steps=(Step(100), Step(1000)), false_alarm_rate=0.05)
    body = {"version": 3, "stable_version": 2, "plan": json.loads(plan_json(plan)), "dry_run": True}

    status, document = gateway.ask("POST", f"{ROLLOUT_PATH}/start", body)

    assert status == 200
    assert gateway.service.calls == [("start", MODEL, 3, 2, plan, STRANGER, True)]
    assert (document["id"], document["plan"]["false_alarm_rate"]) == (0, 0.05)


@pytest.mark.parametrize("body", [b"", {}], ids=["nothing", "an-empty-object"])
def test_start_leaves_the_choice_to_the_server(gateway: Gateway, body: Any) -> None:
    status, document = gateway.ask("POST", f"{ROLLOUT_PATH}/start", body)

    assert (status, document["id"]) == (200, 7)
    assert gateway.service.wishes == [("start", MODEL, 0, 0, None, STRANGER, False)]


def test_a_plan_that_says_nothing_is_the_default_plan(gateway: Gateway) -> None:
    gateway.ask("POST", f"{ROLLOUT_PATH}/start", {"plan": {}})

    assert gateway.service.wishes == [("start", MODEL, 0, 0, Plan(), STRANGER, False)]


@pytest.mark.parametrize("body", [b"", {}, {"reason": "a look first"}], ids=["nothing", "empty", "reason"])
@pytest.mark.parametrize("order", ORDERS)
def test_orders(gateway: Gateway, order: str, body: Any) -> None:
    status, document = gateway.ask("POST", f"{ROLLOUT_PATH}/{order}", body)

    reason = body["reason"] if body else ""
    call = (ORDERS[order], MODEL, reason, STRANGER, *([False] if order == "promote" else []))
    assert (status, document["model_name"]) == (200, MODEL)
    assert gateway.service.wishes == [call]


def test_promote_to_the_end(gateway: Gateway) -> None:
    status, _ = gateway.ask("POST", f"{ROLLOUT_PATH}/promote", {"reason": "x", "full": True})

    assert status == 200
    assert gateway.service.wishes == [("promote", MODEL, "x", STRANGER, True)]


@pytest.mark.parametrize(
    ("order", "body", "error"),
    [
        ("start", {"versoin": 1}, "unknown field 'versoin'; did you mean 'version'?"),
        ("start", {"q": 1}, "unknown field 'q'; expected version, stable_version, plan, dry_run"),
        ("start", {"version": "3"}, "Unable to parse 'version': expected an integer"),
        ("start", {"version": True}, "Unable to parse 'version': expected an integer"),
        ("start", {"version": 1.0}, "Unable to parse 'version': expected an integer"),
        ("start", {"version": -1}, "'version' is -1: expected an integer of 0 to 999999999999999999"),
        ("start", {"dry_run": 1}, "Unable to parse 'dry_run': expected a boolean"),
        ("start", {"plan": None}, "Unable to parse 'plan': expected an object"),
        ("start", {"plan": [1]}, "Unable to parse 'plan': expected an object"),
        ("pause", {"reason": 5}, "Unable to parse 'reason': expected a string"),
        ("pause", {"full": True}, "unknown field 'full'; expected reason"),
        ("promote", {"ful": True}, "unknown field 'ful'; did you mean 'full'?"),
        ("abort", [], "failed to parse the request JSON buffer: expected an object"),
    ],
    ids=lambda value: json.dumps(value) if not isinstance(value, str) else None,
)
def test_orders_that_are_refused(gateway: Gateway, order: str, body: Any, error: str) -> None:
    assert gateway.refusal("POST", f"{ROLLOUT_PATH}/{order}", body) == (400, error)
    assert gateway.service.wishes == []


def test_a_body_that_is_no_json(gateway: Gateway) -> None:
    for path in (f"{ROLLOUT_PATH}/start", f"{ROLLOUT_PATH}/resume"):
        status, error = gateway.refusal("POST", path, b"{")
        assert (status, error.split(":")[0]) == (400, "failed to parse the request JSON buffer")


def test_a_reason_has_a_limit() -> None:
    gateway = Gateway(Limits(text_characters=8))

    status, error = gateway.refusal("POST", f"{ROLLOUT_PATH}/pause", {"reason": "too long a"})

    assert (status, error.split(",")[0]) == (400, "'reason' has 10 characters")


def test_everything_that_is_wrong_with_a_plan_is_told(gateway: Gateway) -> None:
    plan = {"steps": [{"weight": 200, "durration": 3}], "keep_previus_s": 4}

    status, error = gateway.refusal("POST", f"{ROLLOUT_PATH}/start", {"plan": plan})

    assert status == 400
    assert "plan: steps[0].durration: unknown field 'durration'" in error
    assert "plan: keep_previus_s: unknown field 'keep_previus_s'; did you mean 'keep_previous_s'?" in error


# Routes


def test_a_route_is_as_the_message_says_it(gateway: Gateway) -> None:
    status, document = gateway.ask("GET", ROUTE_PATH)

    assert status == 200
    assert document == message_json(route_status_message(ROUTE_VIEW))
    assert document["route"]["labels"]["wide"] == WIDE
    assert document["route"]["shadows"] == [{"version": WIDE, "percent": 10.5}]
    assert document["shares"][0]["requests"] == WIDE
    assert document["breakers"] == {"3": "half-open"}


def test_where_the_newest_version_answers_there_is_no_route(gateway: Gateway) -> None:
    status, document = gateway.ask("DELETE", ROUTE_PATH)

    assert (status, document["route"], document["revision"]) == (200, None, 0)
    assert gateway.service.wishes == [("clear_route", MODEL, STRANGER)]


def test_a_route_that_was_told_can_be_set_again(gateway: Gateway) -> None:
    _, document = gateway.ask("GET", ROUTE_PATH)

    status, answer = gateway.ask("PUT", ROUTE_PATH, document["route"])

    assert status == 200
    assert gateway.service.wishes == [("set_route", MODEL, replace(ROUTE, revision=0), STRANGER)]
    assert answer["route"] == document["route"]


def test_a_route_may_be_as_protobuf_writes_it(gateway: Gateway) -> None:
    route = Route((Weight(1, 1000),), labels={"stable": 1}, fallback=Fallback(model="spare"))

    status, _ = gateway.ask("PUT", ROUTE_PATH, route_json(route).encode())

    assert status == 200
    assert gateway.service.wishes == [("set_route", MODEL, route, STRANGER)]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "route: not valid JSON: "),
        (b"\xff", "the request's body is not UTF-8: invalid start byte"),
        ({"wieghts": {"1": 100}}, "route: wieghts: unknown field 'wieghts'; did you mean 'weights'?"),
        ({"weights": {"1": 60}}, "route: weights: they add up to 60; expected versions with"),
        ({"weights": [1]}, "route: weights: a list is given; expected a mapping"),
        (b" " * 2**20 + b"{}", "the request's body has 1048578 bytes: at most 1048576 are allowed here"),
        (b"null", "route: weights: no version is given"),
    ],
    ids=["nothing", "no-text", "misspelt", "not-100", "a-list", "too-long", "null"],
)
def test_routes_that_are_refused(gateway: Gateway, body: Any, error: str) -> None:
    status, told = gateway.refusal("PUT", ROUTE_PATH, body)

    assert (status, told[: len(error)]) == (400, error)
    assert gateway.service.wishes == []


# Errors and paths

EVERYTHING: list[tuple[str, str, Mapping[str, Any] | bytes]] = [
    ("GET", "rollout", b""),
    *[("POST", f"rollout/{order}", b"") for order in ("start", *ORDERS)],
    ("GET", "rollout/history", b""),
    ("GET", "rollout/explain", b""),
    ("GET", "rollout/compare?live=1&shadow=2", b""),
    ("GET", "route", b""),
    ("PUT", "route", {"weights": {"1": 100}}),
    ("DELETE", "route", b""),
]
IDS = [f"{method}-{path.partition('?')[0]}" for method, path, _ in EVERYTHING]


@pytest.mark.parametrize(("method", "path", "body"), EVERYTHING, ids=IDS)
def test_the_services_errors_are_the_callers(gateway: Gateway, method: str, path: str, body: Any) -> None:
    unknown = "Request for unknown model: 'nobody' is not found"
    assert gateway.refusal(method, f"/v2/models/nobody/{path}", body) == (404, unknown)
    if (method, path) == ("GET", "route"):
        return
    for error, status in (
        (FailedPrecondition("a rollout is under way"), 409),
        (NotFound("no such version"), 404),
        (InvalidArgument("no"), 400),
        (Unavailable("not now"), 503),
    ):
        gateway.service.error = error
        assert gateway.refusal(method, f"/v2/models/{MODEL}/{path}", body) == (status, str(error))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "rollout", "GET"),
        ("GET", "rollout/start", "POST"),
        ("POST", "rollout/history", "GET"),
        ("POST", "route", "DELETE, GET, PUT"),
    ],
)
def test_other_methods(gateway: Gateway, method: str, path: str, allowed: str) -> None:
    expected = f"{method} is not possible here: expected {allowed}"
    assert gateway.refusal(method, f"/v2/models/{MODEL}/{path}") == (405, expected)


@pytest.mark.parametrize("name", ["stats", "rollout", "route", "versions", "a%2Froute", "1"])
def test_no_name_of_a_model_is_taken_for_a_path(gateway: Gateway, name: str) -> None:
    model = name.replace("%2F", "/")
    for path, call in (("route", "route"), ("rollout/history", "history")):
        assert gateway.refusal("GET", f"/v2/models/{name}/{path}")[0] == 404
        assert gateway.service.calls[-1][:2] == (call, model)


def test_without_rollouts_there_is_nothing_at_their_paths() -> None:
    routes = build_routes(None, None, HttpSettings(), Limits(), OffLoop())  # type: ignore[arg-type]

    assert not [route.path for route in routes if "rollout" in route.path or "/route" in route.path]
