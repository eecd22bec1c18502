"""Inference over HTTP: `POST /v2/models/<model>[/versions/<version>]/infer`."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from headrace.core.caller import Caller
from headrace.core.request import InferenceRequest, InferenceResponse, Reply
from headrace.errors import HeadraceError
from headrace.security.control_guard import GuardedControl
from headrace.transport.failures import to_error
from headrace.transport.http.infer_document import ALL_BINARY
from headrace.transport.http.infer_request import HEADER_LENGTH, InferReader
from headrace.transport.http.infer_response import infer_response
from headrace.transport.http.messages import Answer, HttpRequest, HttpResponse
from headrace.transport.http.raw_request import read_raw_request
from headrace.transport.http.routes import InferenceRoute, Route
from headrace.transport.limits import Limits

PATHS = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")
TIMINGS_HEADER = "headrace-timings"
ROUTE_HEADER = "headrace-route"


class InferenceService(Protocol):
    def check(self, caller: Caller, model: str) -> None:
        """Raises where `caller` may not send requests to `model`."""
        ...

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Answers through `reply`, now or later; never raises."""
        ...


class Infer:
    """Reads requests, hands them to the service, and writes its answers."""

    def __init__(self, service: InferenceService, control: GuardedControl, limits: Limits) -> None:
        self._service = service
        self._control = control
        self._reader = InferReader(limits)

    def routes(self) -> list[Route]:
        return [InferenceRoute("POST", path, self.submit) for path in PATHS]

    def submit(self, request: HttpRequest, answer: Answer) -> None:
        params = request.params
        self._service.check(request.caller, params["model"])
        if request.headers.get(HEADER_LENGTH) == "0":
            control = self._control.of(request.caller)
            model = control.model_tensors(params["model"], params.get("version", ""))
            inference, form = read_raw_request(request, model), ALL_BINARY
        else:
            inference, form = self._reader.read(request)
        inference.caller = request.caller
        inference.metadata = request.headers.get
        if request.headers.get(TIMINGS_HEADER) == "true":
            inference.wants_timings = True
        if request.headers.get(ROUTE_HEADER) == "true":
            inference.wants_route = True
        submit(self._service, inference, answer, partial(infer_response, form=form))


def submit(
    service: InferenceService,
    request: InferenceRequest,
    answer: Answer,
    write: Callable[[InferenceResponse], HttpResponse],
) -> None:
    """Has `request` answered through `answer`, in the form that `write` gives it."""
    service.submit(request, _WritingReply(answer, write))


class _WritingReply:
    """A reply that answers an HTTP request."""

    __slots__ = ("_answer", "_write")

    def __init__(self, answer: Answer, write: Callable[[InferenceResponse], HttpResponse]) -> None:
        self._answer = answer
        self._write = write

    @property
    def is_wanted(self) -> bool:
        return self._answer.is_wanted

    def complete(self, response: InferenceResponse) -> None:
        try:
            written = self._write(response)
        except Exception as error:  # one answer that cannot be written must not harm the others of its batch
            self._answer.fail(to_error(error, "writing an answer"))
            return
        self._answer.complete(written)

    def fail(self, error: HeadraceError) -> None:
        self._answer.fail(error)
