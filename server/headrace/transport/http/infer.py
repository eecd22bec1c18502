"""Inference over HTTP: `POST /v2/models/<model>[/versions/<version>]/infer`."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from headrace.core.caller import Caller
from headrace.core.request import InferenceRequest, InferenceResponse, Reply
from headrace.errors import HeadraceError, InvalidArgument
from headrace.security.control_guard import GuardedControl
from headrace.service.answers import ModelTensors
from headrace.transport.failures import to_error
from headrace.transport.http.infer_document import ALL_BINARY, OutputForm
from headrace.transport.http.infer_request import HEADER_LENGTH, InferReader
from headrace.transport.http.infer_response import infer_response
from headrace.transport.http.messages import Answer, HttpRequest, HttpResponse
from headrace.transport.http.raw_request import read_raw_request
from headrace.transport.http.routes import Check, InferenceRoute, Route
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
        check = checking(self._service)
        return [InferenceRoute("POST", path, self.submit, check) for path in PATHS]

    def submit(self, request: HttpRequest, answer: Answer) -> None:
        try:
            inference, form = self._read(request)
        except InvalidArgument:
            model_of(request, self._control)  # where there is no such model, that is what is wrong
            raise
        inference.caller = request.caller
        inference.metadata = request.headers.get
        if request.headers.get(TIMINGS_HEADER) == "true":
            inference.wants_timings = True
        if request.headers.get(ROUTE_HEADER) == "true":
            inference.wants_route = True
        submit(self._service, inference, answer, partial(infer_response, form=form))

    def _read(self, request: HttpRequest) -> tuple[InferenceRequest, OutputForm]:
        if request.headers.get(HEADER_LENGTH) == "0":
            return read_raw_request(request, model_of(request, self._control)), ALL_BINARY
        return self._reader.read(request)


def checking(service: InferenceService) -> Check:
    """What asks whether a request's caller may send it to the model that its path names."""

    def check(request: HttpRequest) -> None:
        service.check(request.caller, request.params["model"])

    return check


def model_of(request: HttpRequest, control: GuardedControl) -> ModelTensors:
    """The model and version that the path names; NotFound or Unavailable where they cannot answer."""
    params = request.params
    return control.of(request.caller).model_tensors(params["model"], params.get("version", ""))


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
