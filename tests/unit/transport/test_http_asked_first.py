"""Whoever may not is told so, whatever the body is: it is neither decompressed nor parsed before."""

import gzip
from typing import Any

import pytest

from conformance.fakes import FakeControl, FakeInference
from headrace.core.caller import STRANGER, Caller, Proof
from headrace.errors import NotFound
from headrace.security.audit.event import AuditEvent
from headrace.security.audit.log import NoAuditLog
from headrace.security.control_guard import GuardedControl
from headrace.security.inference_guard import GuardedInference
from headrace.security.limiter import Limiter
from headrace.security.policy import Permission, Policy, Role
from headrace.security.refusals import Refusals
from headrace.security.rollout_guard import GuardedRollouts
from headrace.service.answers import ModelTensors
from headrace.settings import HttpSettings
from headrace.transport.http import coding, infer_document
from headrace.transport.http.coding import Coding
from headrace.transport.http.endpoints import build_routes
from headrace.transport.http.messages import HttpRequest, http_status
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.routes import ANY_SIZE, ControlRoute, Route, Routes
from headrace.transport.limits import DEFAULT_LIMITS, MAX_CONTROL_BYTES
from support.answers import RecordedAnswer
from support.loops import run, until
from support.rollouts import FakeRollouts

POLICY = Policy(
    {
        "elsewhere": Role(dict.fromkeys((Permission.INFER, Permission.CONTROL), ("payroll",))),
        "all": Role(dict.fromkeys(Permission, ("*",))),
    }
)
# May do things, and none of those that are asked for here.
OTHER = Caller("other", frozenset({"elsewhere"}), Proof.KEY)
OPERATOR = Caller("operator", frozenset({"all"}), Proof.KEY)
NESTED = b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"
BODIES = {
    "nothing": (b"", ""),
    "no JSON": (b"{", ""),
    "no object": (b"[1]", ""),
    "no UTF-8": (b"\xff", ""),
    "deep": (NESTED, ""),
    "large": (b" " * (MAX_CONTROL_BYTES + 1), ""),
    "compressed": (gzip.compress(NESTED), "gzip"),
    "no gzip": (b"{}", "gzip"),
    "an unknown coding": (b"{}", "br"),
}
# Their bodies say what they are to do, and they answer everybody alike that it is not done here.
NOT_DONE = "sharedmemory"
# Of those that read a body, which may be asked by whoever may do anything at all.
FOR_MANY = "/index"


class Denials(NoAuditLog):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


class FixedPolicies:
    policy = POLICY


class Gateway:
    """Every endpoint behind the guards, with what stands before them in a server."""

    def __init__(self) -> None:
        self.audit = Denials()
        self.refusals = Refusals(self.audit)
        self.control, self.inference, self.rollouts = FakeControl(), FakeInference(), FakeRollouts()
        policies, refusals, audit = FixedPolicies(), self.refusals, self.audit
        self.routes: list[Route] = build_routes(
            GuardedInference(self.inference, policies, Limiter(()), refusals, audit),
            GuardedControl(self.control, policies, refusals, audit),
            HttpSettings(),
            DEFAULT_LIMITS,
            OffLoop(),
            GuardedRollouts(self.rollouts, policies, refusals, audit),
        )

    def ask(self, caller: Caller, method: str, path: str, body: bytes, coding: str = "") -> tuple[int, str]:
        """The status and the text of the error that the request is answered with."""
        headers = {"content-encoding": coding} if coding else {}
        request = HttpRequest(method, path, "", headers, body, 0, caller=caller)
        answer = RecordedAnswer()

        async def main() -> None:
            routes = Routes(self.routes)
            route = routes.permitted(request, answer)
            if route is not None:
                Coding(1 << 26, OffLoop(), routes.answer).decode(route, request, answer)
                await until(lambda: answer.errors or answer.responses)
            await routes.wait(5)

        run(main())
        (error,) = answer.errors
        return int(http_status(error)), str(error)


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test where a body is decompressed or parsed."""

    def refuse(*_: Any) -> None:
        raise AssertionError("the body was looked at")

    monkeypatch.setattr(coding, "inflate", refuse)
    monkeypatch.setattr(infer_document.orjson, "loads", refuse)


def reading(gateway: Gateway) -> list[tuple[str, str]]:
    """(method, path) of each endpoint that reads a body."""
    found = [
        (route.method, route.path.format(model="echo", version="1", repository="r"))
        for route in gateway.routes
        if route.max_body_bytes
    ]
    assert len(found) >= 21
    return found


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize(("body", "coding"), BODIES.values(), ids=BODIES)
def test_strangers_are_told_that_they_need_credentials_whatever_they_send(gateway, body, coding):
    asked = reading(gateway)
    for method, path in asked:
        status, text = gateway.ask(STRANGER, method, path, body, coding)
        assert (status, text[:23]) == (401, "credentials are needed:"), path
    assert gateway.refusals.counts == {("", "unauthenticated"): len(asked)}
    assert [event.is_allowed for event in gateway.audit.events] == [False] * len(asked)


@pytest.mark.usefixtures("untouched")
@pytest.mark.parametrize("name", [name for name, (body, _) in BODIES.items() if body])
def test_callers_without_the_permission_are_told_so_whatever_they_send(gateway, name):
    body, coding = BODIES[name]
    asked = [(method, path) for method, path in reading(gateway) if not path.endswith(FOR_MANY)]
    for method, path in asked:
        status, text = gateway.ask(OTHER, method, path, body, coding)
        assert (status, text[:23]) == (403, "'other' lacks the permi"), path
    assert gateway.refusals.counts == {("", "permission_denied"): len(asked)}
    assert len(gateway.audit.events) == len(asked)


@pytest.mark.parametrize("name", ["no JSON", "no UTF-8", "deep", "no gzip", "an unknown coding"])
def test_who_may_is_told_what_is_wrong_with_the_body(gateway, name):
    for method, path in reading(gateway):
        status, text = gateway.ask(OPERATOR, method, path, *BODIES[name])
        assert status == (501 if name == "an unknown coding" else 400), (path, text)
        assert "internal" not in text


def test_orders_that_are_too_large_are_refused_compressed_or_not(gateway):
    large = b'{"a":"' + b"x" * MAX_CONTROL_BYTES + b'"}'
    limited = [route for route in gateway.routes if 0 < route.max_body_bytes < ANY_SIZE]
    assert len(limited) >= 14
    for route in limited:
        path = route.path.format(model="echo", repository="r")
        for sent in ((large, ""), (gzip.compress(large), "gzip")):
            status, text = gateway.ask(OPERATOR, route.method, path, *sent)
            assert status == 400, path
            assert str(MAX_CONTROL_BYTES) in text
            assert "allowed here" in text


def test_every_endpoint_that_may_have_a_body_and_reads_it_asks_first(gateway):
    for route in gateway.routes:
        if isinstance(route, ControlRoute) and route.method in ("GET", "DELETE"):
            assert route.max_body_bytes == 0
        elif NOT_DONE not in route.path:
            assert route.max_body_bytes > 0, route.path


class NoModel(FakeControl):
    """Knows no model."""

    def model_tensors(self, name: str, version: str) -> ModelTensors:
        raise NotFound(f"no model '{name}'")


@pytest.mark.parametrize("path", ["/v2/models/x/infer", "/v1/predict/x", "/v1/models/x:predict"])
def test_of_an_unknown_model_it_is_told_that_it_is_unknown_whatever_is_sent(monkeypatch, path):
    monkeypatch.setattr(FakeControl, "model_tensors", NoModel.model_tensors)

    for body in (b"", b"{", b"[1]"):
        assert Gateway().ask(OPERATOR, "POST", path, body) == (404, "no model 'x'")
