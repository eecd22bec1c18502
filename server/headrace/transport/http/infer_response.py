"""Inference responses as JSON, with outputs in it or, by the binary tensor extension, behind it.

All but the numbers is the same from answer to answer, and is written once (benchmarks/gateway).
"""

from functools import lru_cache

import orjson

from headrace.core.request import InferenceResponse, Parameter
from headrace.core.tensor import Buffer, DataType, Shape, Tensor
from headrace.transport.http.infer_document import BINARY_DATA_SIZE, OutputForm
from headrace.transport.http.json_data import to_json
from headrace.transport.http.messages import BINARY, JSON, HttpResponse

HEADER_LENGTH = "Inference-Header-Content-Length"
MAX_REMEMBERED = 1024


def infer_response(response: InferenceResponse, form: OutputForm) -> HttpResponse:
    """The answer to a V2 inference request; its fields are in Triton's order."""
    blobs: list[Buffer] = []
    outputs = [_output(output, form, blobs) for output in response.outputs]
    text = b"".join((_beginning(response), b",".join(outputs), b"]}"))
    if not blobs:
        return HttpResponse((text,), content_type=JSON, may_be_coded=True)
    return HttpResponse(
        (text, *blobs),
        content_type=BINARY,
        headers=((HEADER_LENGTH, str(len(text))),),
        may_be_coded=True,
    )


def _beginning(response: InferenceResponse) -> bytes:
    """The document up to its first output."""
    if not response.id and not response.parameters and response.timings is None:
        return _plain_beginning(response.model_name, response.model_version)
    document: dict[str, object] = {"id": response.id} if response.id else {}
    document["model_name"] = response.model_name
    document["model_version"] = response.model_version
    parameters = _parameters(response)
    if parameters:
        document["parameters"] = parameters
    return orjson.dumps(document)[:-1] + b',"outputs":['


@lru_cache(MAX_REMEMBERED)
def _plain_beginning(model_name: str, model_version: str) -> bytes:
    document = {"model_name": model_name, "model_version": model_version}
    return orjson.dumps(document)[:-1] + b',"outputs":['


def _output(output: Tensor, form: OutputForm, blobs: list[Buffer]) -> bytes:
    if form.is_binary_for(output.name):
        blobs.append(output.data)
        return _binary_output(output.name, output.datatype, output.shape, len(output.data))
    data = orjson.dumps(to_json(output), option=orjson.OPT_SERIALIZE_NUMPY)
    return b"%b%b}" % (_output_beginning(output.name, output.datatype, output.shape), data)


@lru_cache(MAX_REMEMBERED)
def _binary_output(name: str, datatype: DataType, shape: Shape, byte_size: int) -> bytes:
    described = {"name": name, "datatype": datatype.value, "shape": shape}
    return orjson.dumps({**described, "parameters": {BINARY_DATA_SIZE: byte_size}})


@lru_cache(MAX_REMEMBERED)
def _output_beginning(name: str, datatype: DataType, shape: Shape) -> bytes:
    """An output up to its data."""
    described = {"name": name, "datatype": datatype.value, "shape": shape}
    return orjson.dumps(described)[:-1] + b',"data":'


def _parameters(response: InferenceResponse) -> dict[str, Parameter]:
    parameters = dict(response.parameters)
    if response.timings is not None:
        parameters |= response.timings.to_parameters()
    return parameters
