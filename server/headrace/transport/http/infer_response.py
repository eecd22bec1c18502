"""Inference responses as JSON, with outputs in it or, by the binary tensor extension, behind it."""

from typing import Any

import orjson

from headrace.core.request import InferenceResponse, Parameter
from headrace.core.tensor import Buffer, Tensor
from headrace.transport.http.infer_request import BINARY_DATA_SIZE, OutputForm
from headrace.transport.http.json_data import to_json
from headrace.transport.http.messages import BINARY, JSON, HttpResponse

HEADER_LENGTH = "Inference-Header-Content-Length"


def infer_response(response: InferenceResponse, form: OutputForm) -> HttpResponse:
    """The answer to a V2 inference request; its fields are in Triton's order."""
    document: dict[str, Any] = {"id": response.id} if response.id else {}
    document["model_name"] = response.model_name
    document["model_version"] = response.model_version
    parameters = _parameters(response)
    if parameters:
        document["parameters"] = parameters
    blobs: list[Buffer] = []
    document["outputs"] = [_output(output, form, blobs) for output in response.outputs]
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    if not blobs:
        return HttpResponse((text,), content_type=JSON, may_be_coded=True)
    return HttpResponse(
        (text, *blobs),
        content_type=BINARY,
        headers=((HEADER_LENGTH, str(len(text))),),
        may_be_coded=True,
    )


def _output(output: Tensor, form: OutputForm, blobs: list[Buffer]) -> dict[str, Any]:
    described: dict[str, Any] = {
        "name": output.name,
        "datatype": output.datatype.value,
        "shape": output.shape,
    }
    if form.is_binary_for(output.name):
        described["parameters"] = {BINARY_DATA_SIZE: len(output.data)}
        blobs.append(output.data)
    else:
        described["data"] = to_json(output)
    return described


def _parameters(response: InferenceResponse) -> dict[str, Parameter]:
    parameters = dict(response.parameters)
    if response.timings is not None:
        parameters |= response.timings.to_parameters()
    return parameters
