"""Inference below every transport: what was taken is given back, whatever happens below."""

import pytest

from headrace.core.caller import Caller, Proof
from headrace.core.request import NO_PARAMETERS, InferenceRequest
from headrace.errors import LimitExceeded, Unavailable
from headrace.security.access_file import LimitRule
from headrace.security.audit.log import NoAuditLog
from headrace.security.authenticator import NoAuthenticator
from headrace.security.inference_guard import GuardedInference
from headrace.security.limiter import Limiter
from headrace.security.refusals import Refusals

ANN = Caller("ann", proof=Proof.KEY)


class Reply:
    is_wanted = True

    def __init__(self):
        self.answers = []

    def complete(self, response):
        self.answers.append(response)

    def fail(self, error):
        self.answers.append(error)


class Service:
    """Keeps replies, or raises."""

    def __init__(self):
        self.replies = []
        self.error = None

    def knows(self, model):
        return model == "m"

    def submit(self, request, reply):
        if self.error is not None:
            raise self.error
        self.replies.append(reply)


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def refusals():
    return Refusals(NoAuditLog())


@pytest.fixture
def guard(service, refusals):
    limiter = Limiter((LimitRule(callers=("*",), concurrent=1),))
    return GuardedInference(service, NoAuthenticator(), limiter, refusals, NoAuditLog())


def ask(guard, model="m"):
    reply = Reply()
    guard.submit(InferenceRequest(model, "", "", [], [], NO_PARAMETERS, 0, caller=ANN), reply)
    return reply.answers


@pytest.mark.parametrize(
    "end", [lambda reply: reply.complete("y"), lambda reply: reply.fail(Unavailable("no"))]
)
def test_a_place_comes_back_with_the_answer(guard, service, end):
    assert ask(guard) == []
    (refusal,) = ask(guard)
    assert isinstance(refusal, LimitExceeded)
    assert refusal.reason == "concurrency_limit"
    end(service.replies[0])
    assert ask(guard) == []


def test_a_place_comes_back_where_what_is_below_breaks(guard, service):
    service.error = MemoryError()
    for _ in range(3):
        with pytest.raises(MemoryError):
            ask(guard)
    service.error = None
    assert ask(guard) == []


def test_only_models_that_there_are_have_their_names_counted(guard, refusals):
    ask(guard)
    for model in ("m", "made up", "x" * 100_000):
        ask(guard, model)
    assert refusals.counts == {("m", "concurrency_limit"): 1, ("", "concurrency_limit"): 2}
