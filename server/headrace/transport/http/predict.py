"""Predictions for people with curl: `POST /v1/predict/<model>` takes rows in whatever form they have them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core.request import NO_PARAMETERS, InferenceRequest, InferenceResponse, RequestedOutput
from headrace.core.tensor import DataType, Tensor
from headrace.errors import InvalidArgument
from headrace.security.control_guard import GuardedControl
from headrace.service.answers import ModelTensors
from headrace.settings.suggestion import did_you_mean
from headrace.transport.http.columns import Columns
from headrace.transport.http.fitting import fit
from headrace.transport.http.image_body import IMAGE, picture_input, read_image
from headrace.transport.http.infer import InferenceService, checking, model_of, submit
from headrace.transport.http.messages import Answer, HttpRequest, HttpResponse, json_response
from headrace.transport.http.off_loop import OffLoop
from headrace.transport.http.predict_body import read_body
from headrace.transport.http.routes import InferenceRoute, Route
from headrace.transport.http.rows import Row, rows_of
from headrace.transport.inputs import check_text_elements
from headrace.transport.limits import Limits

PATHS = ("/v1/predict/{model}", "/v1/predict/{model}/versions/{version}")
DEFAULT_TOP_K = 3
MAX_TOP_K = 1_000_000
# Larger bodies are read off the loop.
SMALL_BYTES = 64 * 1024

_FIELDS = ("top_k", "outputs")


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the query says: how many classes are wanted (0: the numbers), and which outputs (none: all)."""

    top_k: int
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, request: HttpRequest) -> "Wishes":
        query = request.query_values()
        for name in query:
            if name not in _FIELDS:
                raise InvalidArgument(f"'{name[:32]}' is not known here{did_you_mean(name, _FIELDS)}")
        outputs = tuple(name for name in query.get("outputs", "").split(",") if name)
        return cls(_top_k(query.get("top_k")), outputs)


class Predict:
    """Makes tensors of what callers have, and rows with names and labels of what the model answers."""

    def __init__(
        self, service: InferenceService, control: GuardedControl, limits: Limits, off_loop: OffLoop
    ) -> None:
        self._service = service
        self._control = control
        self._limits = limits
        self._off_loop = off_loop

    def routes(self) -> list[Route]:
        check = checking(self._service)
        return [InferenceRoute("POST", path, self.submit, check) for path in PATHS]

    def submit(self, request: HttpRequest, answer: Answer) -> None:
        model = model_of(request, self._control)
        wishes = Wishes.of(request)
        read: Callable[[], Columns] = partial(read_body, request, model, self._limits)
        if request.media_type.startswith(IMAGE):
            read = partial(read_image, request.body, picture_input(model))
        elif len(request.body) <= SMALL_BYTES:
            self._send(tensors_of(model, read(), self._limits), request, model, wishes, answer)
            return
        self._off_loop.run(
            request.caller,
            answer,
            lambda: tensors_of(model, read(), self._limits),
            lambda tensors: self._send(tensors, request, model, wishes, answer),
        )

    def _send(
        self, tensors: list[Tensor], request: HttpRequest, model: ModelTensors, wishes: Wishes, answer: Answer
    ) -> None:
        def write(response: InferenceResponse) -> HttpResponse:
            predictions = [_labelled(row, model, wishes.top_k) for row in rows_of(response, model)]
            written = json_response(
                {"model": response.model_name, "version": response.model_version, "predictions": predictions}
            )
            written.may_be_coded = True
            return written

        submit(self._service, inference_request(request, tensors, wishes.outputs), answer, write)


def inference_request(
    request: HttpRequest, tensors: list[Tensor], outputs: Sequence[str]
) -> InferenceRequest:
    """The request to the model that the path names."""
    return InferenceRequest(
        request.params["model"],
        request.params.get("version", ""),
        "",
        tensors,
        [RequestedOutput(name) for name in outputs],
        NO_PARAMETERS,
        request.arrived_ns,
        caller=request.caller,
        metadata=request.headers.get,
    )


def tensors_of(model: ModelTensors, columns: Columns, limits: Limits) -> list[Tensor]:
    known = {spec.name: spec for spec in model.inputs}
    for name, values in columns.items():
        if name not in known:
            raise InvalidArgument(
                f"model '{model.name}' has no input '{name}': expected {', '.join(sorted(known))}"
            )
        if known[name].datatype is DataType.BYTES:
            check_text_elements(name, values.shape, limits)
    return [fit(spec, columns[spec.name], model.batches) for spec in model.inputs if spec.name in columns]


def _top_k(text: str | None) -> int:
    if text is None:
        return DEFAULT_TOP_K
    if not (text.isascii() and text.isdecimal() and len(text) < 8 and int(text) <= MAX_TOP_K):
        raise InvalidArgument(
            f"top_k is '{text[:32]}': expected an integer from 0 to {MAX_TOP_K}; 0 is for all numbers"
        )
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
