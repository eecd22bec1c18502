"""An inference response as rows: for each row of the batch, its outputs by name."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from headrace.core import strings
from headrace.core.request import InferenceResponse
from headrace.core.tensor import DataType, Tensor, from_bf16
from headrace.service.answers import ModelTensors

Row: TypeAlias = dict[str, Any]


def rows_of(response: InferenceResponse, model: ModelTensors) -> list[Row]:
    """One row for each of the batch, or a single one where the model does not batch.

    A value of one element is given without lists around it.
    """
    columns = {output.name: _column(output, model.batches) for output in response.outputs}
    count = min(map(len, columns.values()), default=0)
    return [{name: column[index] for name, column in columns.items()} for index in range(count)]


def _column(output: Tensor, batches: bool) -> Sequence[Any]:
    array = _array(output)
    if not batches:
        array = array.reshape((1, *array.shape))
    if array[:1].size == 1:
        array = array.reshape(-1)
    column: list[Any] = array.tolist() if array.dtype == object else list(array)
    return column


def _array(output: Tensor) -> NDArray[Any]:
    """As numpy has it, which is written as JSON in the fewest digits that its precision needs."""
    if output.datatype is DataType.BYTES:
        elements = strings.unpack(output.data)
        texts = np.empty(len(elements), object)
        texts[:] = [element.decode("utf-8", "replace") for element in elements]
        return texts.reshape(output.shape)
    array: NDArray[Any] = np.frombuffer(output.data, output.datatype.numpy)
    if output.datatype is DataType.BF16:
        array = from_bf16(array)
    return array.reshape(output.shape)
