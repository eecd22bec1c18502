"""KServe's V1 protocol: `POST /v1/models/<model>:predict` with `instances`, answered with `predictions`."""

from http import HTTPStatus
from typing import Any

from headrace.core.request import InferenceResponse
from headrace.errors import InvalidArgument
from headrace.security.control_guard import GuardedControl
from headrace.service.answers import ModelTensors
from headrace.transport.http.infer import InferenceService, checking, model_of, submit
from headrace.transport.http.infer_document import parse_object
from headrace.transport.http.messages import Answer, HttpRequest, HttpResponse, json_response
from headrace.transport.http.predict import inference_request, tensors_of
from headrace.transport.http.predict_body import columns_of
from headrace.transport.http.routes import ControlRoute, InferenceRoute, Route
from headrace.transport.http.rows import rows_of
from headrace.transport.limits import Limits


class KServeV1:
    def __init__(self, service: InferenceService, control: GuardedControl, limits: Limits) -> None:
        self._service = service
        self._control = control
        self._limits = limits

    def routes(self) -> list[Route]:
        return [
            ControlRoute("GET", "/", self.live),
            ControlRoute("GET", "/v1/models", self.models),
            ControlRoute("GET", "/v1/models/{model}", self.ready),
            InferenceRoute("POST", "/v1/models/{model}:predict", self.predict, checking(self._service)),
        ]

    def live(self, request: HttpRequest) -> HttpResponse:
        """What KServe's probes ask; a browser is led to the page."""
        if "text/html" in request.headers.get("accept", ""):
            return HttpResponse(status=HTTPStatus.TEMPORARY_REDIRECT, headers=(("Location", "/docs"),))
        return json_response({"status": "alive"})

    def models(self, request: HttpRequest) -> HttpResponse:
        names = {info.name for info in self._control.of(request.caller).models("")}
        return json_response({"models": sorted(names)})

    def ready(self, request: HttpRequest) -> HttpResponse:
        name = request.params["model"]
        is_ready = self._control.of(request.caller).is_model_ready(name, "")
        self._control.of(request.caller).models(name)
        status = HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
        return json_response({"name": name, "ready": is_ready}, status)

    def predict(self, request: HttpRequest, answer: Answer) -> None:
        model = model_of(request, self._control)
        document = parse_object(request.body, self._limits)
        given = document.get("instances", document.get("inputs"))
        if not isinstance(given, list):
            raise InvalidArgument("Unable to parse 'instances': expected a list of rows")
        tensors = tensors_of(model, columns_of(_rows(given, model), model), self._limits)
        if model.batches and any(tensor.shape[0] != len(given) for tensor in tensors):
            raise InvalidArgument("Unable to parse 'instances': expected one row in each")
        inference = inference_request(request, tensors, [])
        submit(self._service, inference, answer, lambda response: _predictions(response, model))


def _rows(instances: list[Any], model: ModelTensors) -> Any:
    """The rows of a batch, or the one that a model without batches takes."""
    if model.batches:
        return instances
    if len(instances) != 1:
        raise InvalidArgument(f"model '{model.name}' takes one instance at a time, got {len(instances)}")
    return instances[0]


def _predictions(response: InferenceResponse, model: ModelTensors) -> HttpResponse:
    """A model's only output is given alone, several by their names."""
    rows: list[Any] = rows_of(response, model)
    if len(response.outputs) == 1:
        (name,) = [output.name for output in response.outputs]
        rows = [row[name] for row in rows]
    written = json_response({"predictions": rows})
    written.may_be_coded = True
    return written
