"""Predictions for people with curl: `POST /v1/predict/<model>` takes rows in whatever form they have them."""

import asyncio
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core.request import NO_PARAMETERS, InferenceRequest, InferenceResponse, RequestedOutput
from headrace.core.tensor import Tensor
from headrace.errors import InvalidArgument
from headrace.security.guard import GuardedControl
from headrace.service.answers import ModelTensors
from headrace.transport.failures import to_error
from headrace.transport.http.fitting import fit
from headrace.transport.http.image_body import IMAGE, read_image
from headrace.transport.http.infer import InferenceService, submit
from headrace.transport.http.messages import Answer, HttpRequest, HttpResponse, json_response
from headrace.transport.http.predict_body import Columns, read_body
from headrace.transport.http.routes import InferenceRoute, Route
from headrace.transport.http.rows import Row, rows_of
from headrace.transport.limits import Limits

PATHS = ("/v1/predict/{model}", "/v1/predict/{model}/versions/{version}")
DEFAULT_TOP_K = 3


class Predict:
    """Makes tensors of what callers have, and rows with names and labels of what the model answers."""

    def __init__(self, service: InferenceService, control: GuardedControl, limits: Limits) -> None:
        self._service = service
        self._control = control
        self._limits = limits

    def routes(self) -> list[Route]:
        return [InferenceRoute("POST", path, self.submit) for path in PATHS]

    def submit(self, request: HttpRequest, answer: Answer) -> None:
        self._service.check(request.caller, request.params["model"])
        control = self._control.of(request.caller)
        model = control.model_tensors(request.params["model"], request.params.get("version", ""))
        if not request.media_type.startswith(IMAGE):
            self._predict(request, model, read_body(request, model, self._limits), answer)
            return
        reading = asyncio.get_running_loop().run_in_executor(None, read_image, request.body, model)
        reading.add_done_callback(lambda read: self._go_on(read, request, model, answer))

    def _go_on(
        self, read: "asyncio.Future[Columns]", request: HttpRequest, model: ModelTensors, answer: Answer
    ) -> None:
        try:
            self._predict(request, model, read.result(), answer)
        except Exception as error:
            answer.fail(to_error(error, request.path))

    def _predict(self, request: HttpRequest, model: ModelTensors, columns: Columns, answer: Answer) -> None:
        query = request.query_values()
        top_k = _top_k(query.get("top_k"))
        wanted = [name for name in query.get("outputs", "").split(",") if name]
        inference = inference_request(request, model, columns, wanted)

        def write(response: InferenceResponse) -> HttpResponse:
            predictions = [_labelled(row, model, top_k) for row in rows_of(response, model)]
            written = json_response(
                {"model": response.model_name, "version": response.model_version, "predictions": predictions}
            )
            written.may_be_coded = True
            return written

        submit(self._service, inference, answer, write)


def inference_request(
    request: HttpRequest, model: ModelTensors, columns: Columns, outputs: list[str]
) -> InferenceRequest:
    """The request to `model` for `columns`, the values of its inputs by name."""
    return InferenceRequest(
        model.name,
        request.params.get("version", ""),
        "",
        _tensors(model, columns),
        [RequestedOutput(name) for name in outputs],
        NO_PARAMETERS,
        request.arrived_ns,
        caller=request.caller,
    )


def _tensors(model: ModelTensors, columns: Columns) -> list[Tensor]:
    known = {spec.name for spec in model.inputs}
    for name in columns:
        if name not in known:
            raise InvalidArgument(
                f"model '{model.name}' has no input '{name}': expected {', '.join(sorted(known))}"
            )
    return [fit(spec, columns[spec.name], model.batches) for spec in model.inputs if spec.name in columns]


def _top_k(text: str | None) -> int:
    if text is None:
        return DEFAULT_TOP_K
    if not (text.isascii() and text.isdecimal() and 0 <= int(text[:9]) <= 1_000_000):
        raise InvalidArgument(f"top_k is '{text[:32]}': expected an integer, 0 for all numbers")
    return int(text)


def _labelled(row: Row, model: ModelTensors, top_k: int) -> dict[str, Any]:
    """`row` with its best classes instead of the numbers of outputs whose classes have names."""
    labels = {spec.name: spec.labels for spec in model.outputs}
    return {
        name: _best(value, labels[name], top_k) if top_k and _has_classes(value, labels[name]) else value
        for name, value in row.items()
    }


def _has_classes(value: Any, labels: tuple[str, ...]) -> bool:
    return bool(labels) and isinstance(value, np.ndarray) and value.ndim == 1


def _best(scores: NDArray[Any], labels: tuple[str, ...], top_k: int) -> list[dict[str, Any]]:
    """The classes with the highest scores, the highest first; one without a label has its number."""
    order = np.argsort(scores, kind="stable")[::-1][:top_k].tolist()
    return [
        {"label": labels[index] if index < len(labels) else str(index), "score": scores[index]}
        for index in order
    ]
