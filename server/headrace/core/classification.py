"""The classification extension: instead of an output's numbers, its k largest with index and label."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.core import strings
from headrace.core.tensor import DataType, Tensor, TensorSpec, from_bf16


def classify(spec: TensorSpec, values: NDArray[np.generic], class_count: int, *, batches: bool) -> Tensor:
    """A BYTES tensor of shape [rows, k] (or [k]) with elements "value:index[:label]", the largest first.

    `values` are the rows that belong to one request; everything behind the batch dimension is one list of
    classes. Equal values keep their order. Source: Triton's classification extension.
    """
    rows = values.reshape(len(values), -1) if batches else values.reshape(1, -1)
    if spec.datatype is DataType.BF16:
        rows = from_bf16(rows)
    count = min(class_count, rows.shape[1])
    order = np.argsort(_descending(rows), axis=1, kind="stable")[:, :count]
    best = np.take_along_axis(rows, order, axis=1)
    elements = [
        _element(value, index, spec.labels)
        for values_of_row, indices in zip(best.tolist(), order.tolist(), strict=True)
        for value, index in zip(values_of_row, indices, strict=True)
    ]
    shape = (len(rows), count) if batches else (count,)
    return Tensor(spec.name, DataType.BYTES, shape, strings.pack(elements))


def _descending(rows: NDArray[np.generic]) -> NDArray[Any]:
    """Keys that sort the largest value first; negation would overflow for unsigned integers."""
    if rows.dtype.kind == "f":
        negative: NDArray[Any] = np.negative(rows)
        return negative
    keys: NDArray[Any] = np.subtract(rows.max(initial=0), rows) if rows.dtype.kind == "u" else np.invert(rows)
    return keys


def _element(value: float, index: int, labels: tuple[str, ...]) -> bytes:
    text = f"{value:f}:{index}"
    return (f"{text}:{labels[index]}" if index < len(labels) else text).encode()
