"""headrace.v1.Rollouts: what each method asks of the service, what it answers, and what it refuses."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.message import Message

from headrace.core.caller import STRANGER, Caller
from headrace.core.plan import Plan, Step
from headrace.core.route import Fallback, Route, Weight
from headrace.errors import (
    ConfigError,
    FailedPrecondition,
    HeadraceError,
    Internal,
    InvalidArgument,
    NotFound,
    Status,
)
from headrace.pb.grpc.reflection.v1 import reflection_pb2
from headrace.pb.headrace.v1 import rollouts_pb2 as pb
from headrace.pb.pool import POOL
from headrace.repository.routing.writing import plan_message, route_message
from headrace.security.audit.log import NoAuditLog
from headrace.security.control_guard import GuardedControl
from headrace.security.policy import OpenPolicy
from headrace.security.refusals import Refusals
from headrace.settings import GrpcSettings
from headrace.transport.grpc.calls import ControlMethod
from headrace.transport.grpc.methods import build_methods
from headrace.transport.grpc.rollout_messages import event_message, rollout_message, route_status_message
from headrace.transport.limits import DEFAULT_LIMITS, Limits
from support.loops import run
from support.rollouts import (
    EVENTS,
    MODEL,
    ROLLOUT,
    ROUTE,
    ROUTE_VIEW,
    WIDE,
    FakeRollouts,
    FixedPolicies,
    guarded,
)

SERVICE = "headrace.v1.Rollouts"
RESPONSES = {
    method.name: method.output_type._concrete_class for method in POOL.FindServiceByName(SERVICE).methods
}


@dataclass
class FakeCall:
    caller: Caller = field(default=STRANGER)


class Rollouts:
    """The methods on a fake service, without a network."""

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self.service = FakeRollouts()
        control = GuardedControl(None, FixedPolicies(OpenPolicy()), Refusals(NoAuditLog()), NoAuditLog())  # type: ignore[arg-type]
        self._methods = build_methods(None, control, GrpcSettings(), limits, guarded(self.service))  # type: ignore[arg-type]

    def ask(self, name: str, request: Message | bytes) -> Any:
        """The response message."""
        data = request if isinstance(request, bytes) else request.SerializeToString()
        method = self._methods[f"/{SERVICE}/{name}"]
        assert isinstance(method, ControlMethod)

        async def main() -> bytes:
            answer = method.handle(data, FakeCall())  # type: ignore[arg-type]
            return await answer if inspect.isawaitable(answer) else answer

        return RESPONSES[name].FromString(run(main(), asyncio.new_event_loop))

    def refusal(self, name: str, request: Message | bytes) -> HeadraceError:
        with pytest.raises(HeadraceError) as refused:
            self.ask(name, request)
        return refused.value


@pytest.fixture
def rollouts() -> Rollouts:
    return Rollouts()


def test_every_method_of_the_service_is_there() -> None:
    methods = build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS, guarded(FakeRollouts()))  # type: ignore[arg-type]

    assert {path.split("/")[2] for path in methods if SERVICE in path} == set(RESPONSES)


def test_without_rollouts_there_is_no_such_service() -> None:
    methods = build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS)  # type: ignore[arg-type]

    assert not [path for path in methods if SERVICE in path]


# Starting


def test_start_with_everything(rollouts: Rollouts) -> None:
    plan = Plan(steps=(Step(100), Step(1000)), false_alarm_rate=0.05)
    request = pb.StartRolloutRequest(
        model_name=MODEL, version=3, stable_version=2, plan=plan_message(plan), dry_run=True
    )

    answer = rollouts.ask("Start", request)

    assert rollouts.service.calls == [("start", MODEL, 3, 2, plan, "stranger", True)]
    assert answer.id == 0
    assert answer.plan == plan_message(plan)


def test_start_leaves_the_choice_to_the_server(rollouts: Rollouts) -> None:
    answer = rollouts.ask("Start", pb.StartRolloutRequest(model_name=MODEL))

    assert rollouts.service.wishes == [("start", MODEL, 0, 0, None, "stranger", False)]
    assert answer == rollout_message(ROLLOUT)


def test_a_plan_that_says_nothing_is_the_default_plan(rollouts: Rollouts) -> None:
    request = pb.StartRolloutRequest(model_name=MODEL)
    request.plan.SetInParent()

    rollouts.ask("Start", request)

    assert rollouts.service.wishes == [("start", MODEL, 0, 0, Plan(), "stranger", False)]


def test_everything_that_is_wrong_with_a_plan_is_told(rollouts: Rollouts) -> None:
    request = pb.StartRolloutRequest(model_name=MODEL)
    request.plan.steps.add(weight=200)
    request.plan.false_alarm_rate = 3

    error = rollouts.refusal("Start", request)

    assert isinstance(error, ConfigError)
    assert error.status is Status.INVALID_ARGUMENT
    assert str(error).split("\n")[0] == (
        "plan: steps[0].weight: 200 is given; expected 0 to 100 percent, to a tenth"
    )
    assert "plan: false_alarm_rate: 3 is given" in str(error)
    assert rollouts.service.wishes == []


@pytest.mark.parametrize("field", ["version", "stable_version"])
def test_versions_that_no_folder_has_are_refused(rollouts: Rollouts, field: str) -> None:
    error = rollouts.refusal("Start", pb.StartRolloutRequest(model_name=MODEL, **{field: 2**63}))

    assert isinstance(error, InvalidArgument)
    assert f"'{field}' is {2**63}: expected an integer of 0 to" in str(error)


def test_a_plan_as_long_as_no_file_may_be_is_refused(rollouts: Rollouts) -> None:
    request = pb.StartRolloutRequest(model_name=MODEL)
    request.plan.seed = "x" * 2**20

    assert "Start takes at most 1048576" in str(rollouts.refusal("Start", request))


# Orders


@pytest.mark.parametrize(
    ("method", "call", "state"),
    [
        ("Pause", "pause", "paused"),
        ("Resume", "resume", "running"),
        ("Rollback", "roll_back", "rolled_back"),
        ("Abort", "abort", "aborted"),
    ],
)
def test_orders(rollouts: Rollouts, method: str, call: str, state: str) -> None:
    answer = rollouts.ask(method, pb.RolloutRequest(model_name=MODEL, reason="a look first"))

    assert rollouts.service.wishes == [(call, MODEL, "a look first", "stranger")]
    assert (answer.id, answer.state) == (7, state)


@pytest.mark.parametrize("full", [False, True])
def test_promote(rollouts: Rollouts, full: bool) -> None:
    answer = rollouts.ask("Promote", pb.PromoteRequest(model_name=MODEL, reason="why not", full=full))

    assert rollouts.service.wishes == [("promote", MODEL, "why not", "stranger", full)]
    assert answer.step == 3


@pytest.mark.parametrize("method", ["Pause", "Resume", "Promote", "Rollback", "Abort"])
def test_a_reason_has_a_limit(method: str) -> None:
    rollouts = Rollouts(Limits(text_characters=8))
    request = pb.PromoteRequest if method == "Promote" else pb.RolloutRequest

    error = rollouts.refusal(method, request(model_name=MODEL, reason="too long a"))

    assert str(error).startswith("the reason has 10 characters, but at most 8 are allowed")
    assert rollouts.service.calls == []


@pytest.mark.parametrize("method", list(RESPONSES))
def test_a_models_name_has_a_limit(method: str) -> None:
    rollouts = Rollouts(Limits(text_characters=8))
    request = POOL.FindServiceByName(SERVICE).methods_by_name[method].input_type._concrete_class

    error = rollouts.refusal(method, request(model_name="x" * 9))

    assert str(error).startswith("the model's name has 9 characters")


# Looking


def test_status_of_one_and_of_all(rollouts: Rollouts) -> None:
    for name in (MODEL, ""):
        answer = rollouts.ask("Status", pb.RolloutStatusRequest(model_name=name))
        assert list(answer.rollouts) == [rollout_message(ROLLOUT)]

    assert rollouts.service.calls == [("status", MODEL), ("status", "")]


def test_history(rollouts: Rollouts) -> None:
    answer = rollouts.ask("History", pb.RolloutHistoryRequest(model_name=MODEL, limit=3))

    assert rollouts.service.calls == [("history", MODEL, 3)]
    assert [rollout.id for rollout in answer.rollouts] == [7]


def test_explain(rollouts: Rollouts) -> None:
    answer = rollouts.ask("Explain", pb.ExplainRolloutRequest(model_name=MODEL, id=5))

    assert rollouts.service.calls == [("explain", MODEL, 5)]
    assert answer.rollout.id == 7
    assert list(answer.events) == [event_message(event) for event in EVENTS]


def test_no_rollout_has_so_large_a_number(rollouts: Rollouts) -> None:
    error = rollouts.refusal("Explain", pb.ExplainRolloutRequest(model_name=MODEL, id=2**64 - 1))

    assert isinstance(error, InvalidArgument)
    assert rollouts.service.calls == []


def test_compare(rollouts: Rollouts) -> None:
    request = pb.CompareRequest(model_name=MODEL, live_version="stable", shadow_version="3")

    assert rollouts.ask("Compare", request).document == '{"pairs": 80}'
    assert rollouts.service.calls == [("compare", MODEL, "stable", "3")]


@pytest.mark.parametrize("field", ["live_version", "shadow_version"])
def test_compare_needs_both_versions(rollouts: Rollouts, field: str) -> None:
    given = {"live_version": "1", "shadow_version": "2", field: ""}

    error = rollouts.refusal("Compare", pb.CompareRequest(model_name=MODEL, **given))

    assert str(error) == f"'{field}' is not given: expected a version's number or label"


# Routes


def test_a_route_is_told_with_all_its_parts(rollouts: Rollouts) -> None:
    answer = rollouts.ask("GetRoute", pb.RouteRequest(model_name=MODEL))

    assert answer == route_status_message(ROUTE_VIEW)
    assert answer.route == route_message(ROUTE)
    assert (answer.revision, answer.set_by) == (4, "ann")
    assert [(share.version, share.why, share.requests) for share in answer.shares] == [
        ("2", "weights", WIDE),
        ("3", "rule", 7),
    ]
    assert dict(answer.breakers) == {3: "half-open"}
    assert list(answer.differences) == list(ROUTE_VIEW.differences)


def test_set_route(rollouts: Rollouts) -> None:
    route = Route((Weight(1, 1000),), labels={"stable": 1}, fallback=Fallback(model="spare"))

    answer = rollouts.ask("SetRoute", pb.SetRouteRequest(model_name=MODEL, route=route_message(route)))

    assert rollouts.service.wishes == [("set_route", MODEL, route, "stranger")]
    assert answer.route == route_message(route)


def test_everything_that_is_wrong_with_a_route_is_told(rollouts: Rollouts) -> None:
    request = pb.SetRouteRequest(model_name=MODEL)
    request.route.weights[1] = 50
    request.route.rules.add(name="x", version="nobody")

    error = str(rollouts.refusal("SetRoute", request))

    assert "route: weights: they add up to 50; expected versions with percentages" in error
    assert "route: rules[0].when: no condition is given" in error
    assert rollouts.service.wishes == []


def test_clear_route(rollouts: Rollouts) -> None:
    answer = rollouts.ask("ClearRoute", pb.RouteRequest(model_name=MODEL))

    assert rollouts.service.wishes == [("clear_route", MODEL, "stranger")]
    assert not answer.HasField("route")
    assert (answer.model_name, answer.revision, answer.set_by) == (MODEL, 0, "stranger")


# Errors


REQUESTS: list[tuple[str, Callable[..., Message], dict[str, Any]]] = [
    ("Start", pb.StartRolloutRequest, {}),
    ("Status", pb.RolloutStatusRequest, {}),
    ("Pause", pb.RolloutRequest, {}),
    ("Resume", pb.RolloutRequest, {}),
    ("Promote", pb.PromoteRequest, {}),
    ("Rollback", pb.RolloutRequest, {}),
    ("Abort", pb.RolloutRequest, {}),
    ("History", pb.RolloutHistoryRequest, {}),
    ("Explain", pb.ExplainRolloutRequest, {}),
    ("Compare", pb.CompareRequest, {"live_version": "1", "shadow_version": "2"}),
    ("GetRoute", pb.RouteRequest, {}),
    ("SetRoute", pb.SetRouteRequest, {"route": route_message(ROUTE)}),
    ("ClearRoute", pb.RouteRequest, {}),
]
IDS = [name for name, *_ in REQUESTS]


@pytest.mark.parametrize(("method", "request_class", "fields"), REQUESTS, ids=IDS)
def test_the_services_errors_are_the_callers(
    rollouts: Rollouts, method: str, request_class: Callable[..., Message], fields: dict[str, Any]
) -> None:
    assert isinstance(rollouts.refusal(method, request_class(model_name="nobody", **fields)), NotFound)
    if method != "GetRoute":
        rollouts.service.error = FailedPrecondition("a rollout of 'digits' is under way")
        error = rollouts.refusal(method, request_class(model_name=MODEL, **fields))
        assert (error.status, str(error)) == (
            Status.FAILED_PRECONDITION,
            "a rollout of 'digits' is under way",
        )


@pytest.mark.parametrize("method", IDS)
def test_bytes_that_are_no_message(rollouts: Rollouts, method: str) -> None:
    assert isinstance(rollouts.refusal(method, b"\xff"), Internal)
    assert rollouts.service.calls == []


# Reflection


class RecordedStream:
    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_describes_the_service_with_all_it_needs(version: str) -> None:
    methods = build_methods(None, None, GrpcSettings(), DEFAULT_LIMITS, guarded(FakeRollouts()))  # type: ignore[arg-type]
    stream = RecordedStream()
    method = methods[f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"]
    handler = method.open(FakeCall(), stream)  # type: ignore[union-attr, arg-type]

    for request in (
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=f"{SERVICE}.Start"),
    ):
        handler.receive(request.SerializeToString())

    listed, described = map(reflection_pb2.ServerReflectionResponse.FromString, stream.sent)
    assert SERVICE in [service.name for service in listed.list_services_response.service]
    files = b"".join(described.file_descriptor_response.file_descriptor_proto)
    for name in (b"headrace/v1/rollouts.proto", b"headrace/v1/routing.proto"):
        assert name in files
