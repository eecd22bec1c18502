"""Inference requests over HTTP: JSON, with the binary tensor extension or without."""

from collections.abc import Sequence

from headrace.core.request import InferenceRequest
from headrace.core.tensor import Buffer, Tensor, aligned
from headrace.errors import InvalidArgument
from headrace.transport.http.infer_document import InputText, OutputForm
from headrace.transport.http.json_data import from_json
from headrace.transport.http.known_documents import KnownDocuments
from headrace.transport.http.messages import HttpRequest
from headrace.transport.inputs import check_names_differ
from headrace.transport.limits import Limits
from headrace.transport.parameters import ROUTE

HEADER_LENGTH = "inference-header-content-length"


class InferReader:
    """Reads the bodies of inference requests."""

    def __init__(self, limits: Limits) -> None:
        self._documents = KnownDocuments(limits)

    def read(self, request: HttpRequest) -> tuple[InferenceRequest, OutputForm]:
        """The request in a body of JSON, which binary data may follow; InvalidArgument says what is wrong."""
        body = request.body
        header_length = request.headers.get(HEADER_LENGTH)
        if header_length is None:
            at = len(body)
            document, values = self._documents.read_with_values(bytes(body))
        else:
            at = read_header_length(header_length, len(body))
            document, values = self._documents.read_whole(bytes(body[:at])), None
        inference = InferenceRequest(
            request.params["model"],
            request.params.get("version", ""),
            document.id,
            _tensors(document.inputs, body, at) if values is None else [_tensor(document.inputs[0], values)],
            document.outputs,
            document.parameters,
            request.arrived_ns,
            None,
            document.wants_timings,
            wants_route=document.parameters.get(ROUTE) is True,
        )
        return inference, document.form


def read_header_length(text: str, body_bytes: int) -> int:
    """How many bytes of the body are JSON; InvalidArgument where that cannot be."""
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= body_bytes):
        raise InvalidArgument(
            f"Inference-Header-Content-Length is '{text[:64]}': expected the length of the JSON, 0 to "
            f"{body_bytes} bytes"
        )
    return int(text)


def _tensors(inputs: Sequence[InputText], body: Buffer, at: int) -> list[Tensor]:
    """The inputs; binary ones take their bytes from `body`, in their order, from `at` on."""
    tensors = []
    for each in inputs:
        if each.binary_bytes is None:
            tensors.append(_tensor(each, each.values))
        else:
            data, at = _taken(each.name, each.binary_bytes, body, at)
            tensors.append(Tensor(each.name, each.datatype, each.shape, data))
    if at != len(body):
        raise InvalidArgument(
            f"unexpected additional input data: {len(body) - at} bytes more than the inputs' "
            "binary_data_size say"
        )
    if len(tensors) > 1:
        check_names_differ(tensors)
    return tensors


def _tensor(given: InputText, values: object) -> Tensor:
    data = from_json(values, given.datatype, given.shape, given.name)
    return Tensor(given.name, given.datatype, given.shape, data)


def _taken(name: str, byte_size: int, body: Buffer, at: int) -> tuple[Buffer, int]:
    """The bytes of input `name`, and where they end."""
    end = at + byte_size
    if end > len(body):
        raise InvalidArgument(
            f"input '{name}' has a binary_data_size of {byte_size}, but only {len(body) - at} "
            "bytes are left for it"
        )
    return aligned(memoryview(body)[at:end], at), end
