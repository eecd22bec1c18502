"""Inference requests whose whole body is one tensor's bytes (Triton's "raw binary request")."""

from headrace.core import strings
from headrace.core.request import NO_PARAMETERS, InferenceRequest
from headrace.core.tensor import DataType, Shape, Tensor, element_count
from headrace.errors import InvalidArgument
from headrace.service.answers import ModelTensors
from headrace.transport.http.messages import HttpRequest
from headrace.transport.inputs import check_shape


def read_raw_request(request: HttpRequest, model: ModelTensors) -> InferenceRequest:
    """The request for `model`, whose one input is of one row; a size that varies follows from the body's.

    InvalidArgument where the model has more inputs, or sizes that do not follow.
    """
    if len(model.inputs) != 1:
        raise InvalidArgument(
            f"a raw request carries one input, but model '{model.name}' has {len(model.inputs)}"
        )
    (declared,) = model.inputs
    datatype, data = declared.datatype, request.body
    dims = (1, *declared.dims) if model.batches else declared.dims
    if datatype is DataType.BYTES:
        data, shape = strings.pack([bytes(data)]), (1,) * len(dims)
    else:
        shape = _filled_in(declared.name, dims, len(data), datatype)
    check_shape(declared.name, shape)
    return InferenceRequest(
        model.name,
        request.params.get("version", ""),
        "",
        [Tensor(declared.name, datatype, shape, data)],
        [],
        NO_PARAMETERS,
        request.arrived_ns,
    )


def _filled_in(name: str, dims: Shape, byte_size: int, datatype: DataType) -> Shape:
    """`dims` with the one size that varies, if any, such that `byte_size` bytes are its elements."""
    varying = dims.count(-1)
    if not varying:
        return dims
    if varying > 1:
        raise InvalidArgument(
            f"a raw request cannot tell the shape of input '{name}', of which {varying} sizes vary: "
            "send its shape in JSON"
        )
    rest_bytes = element_count(tuple(size for size in dims if size != -1)) * datatype.item_bytes
    if not rest_bytes or byte_size % rest_bytes:
        raise InvalidArgument(
            f"the body of {byte_size} bytes does not fit input '{name}': expected a multiple of {rest_bytes}"
        )
    return tuple(byte_size // rest_bytes if size == -1 else size for size in dims)
