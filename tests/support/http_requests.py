"""Inference requests as the HTTP gateway reads them."""

from headrace.core.request import InferenceRequest
from headrace.transport.http.infer_document import OutputForm
from headrace.transport.http.infer_request import InferReader
from headrace.transport.http.messages import HttpRequest
from headrace.transport.limits import Limits


def read_infer_request(request: HttpRequest, limits: Limits) -> tuple[InferenceRequest, OutputForm]:
    """Read twice: what is remembered of the first must not show in the second."""
    reader = InferReader(limits)
    first = reader.read(request)
    assert reader.read(request) == first
    return first
