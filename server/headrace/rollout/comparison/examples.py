"""The pairs that differ most, shortened to what a person looks at."""

from collections.abc import Iterable, Mapping, Sequence
from heapq import heappush, heappushpop
from itertools import count
from math import isfinite
from typing import Any

import numpy as np

from headrace.core import strings
from headrace.core.request import SHOWN_ID, InferenceResponse
from headrace.core.tensor import DataType, Tensor, element_count, from_bf16
from headrace.errors import HeadraceError
from headrace.router.shadow.pair import Answer, Pair

KEPT_EXAMPLES = 20

# Of each answer, and of each tensor of an answer or of a request.
SHOWN_TENSORS = 8
SHOWN_ELEMENTS = 16
SHOWN_INPUT_ELEMENTS = 256
SHOWN_CHARACTERS = 64
SHOWN_MESSAGE = 300


class Worst:
    """The `size` worst examples: those that disagree before those that do not, then by their difference."""

    def __init__(self, size: int = KEPT_EXAMPLES) -> None:
        self._size = size
        self._heap: list[tuple[tuple[bool, float], int, dict[str, Any]]] = []
        self._order = count()

    def takes(self, *, disagrees: bool, difference: float) -> bool:
        """Whether it would be kept now. Of equal ones the first are."""
        if not disagrees and not difference:
            return False
        return len(self._heap) < self._size or (disagrees, difference) > self._heap[0][0]

    def put(self, example: dict[str, Any]) -> None:
        """Keeps `example`, as `example_of` makes it, and drops the least of those that are too many."""
        difference = example["difference"]
        rank = (example["disagrees"], float("inf") if difference is None else difference)
        item = (rank, -next(self._order), example)
        if len(self._heap) < self._size:
            heappush(self._heap, item)
        else:
            heappushpop(self._heap, item)

    def to_document(self) -> list[dict[str, Any]]:
        """The worst first."""
        return [example for _, _, example in sorted(self._heap, key=_by_rank, reverse=True)]

    @classmethod
    def from_document(cls, document: Iterable[dict[str, Any]], size: int = KEPT_EXAMPLES) -> "Worst":
        worst = cls(size)
        for example in document:
            worst.put(example)
        return worst


def example_of(pair: Pair, *, disagrees: bool, difference: float, has_inputs: bool) -> dict[str, Any]:
    """Plain JSON types; an infinite difference is None."""
    example: dict[str, Any] = {
        "request_id": pair.request_id[:SHOWN_ID],
        "at_ns": pair.at_ns,
        "disagrees": disagrees,
        "difference": difference if isfinite(difference) else None,
        "live": _answer(pair.live),
        "shadow": _answer(pair.shadow),
    }
    if has_inputs and pair.inputs is not None:
        example["inputs"] = _tensors(pair.inputs, SHOWN_INPUT_ELEMENTS)
    return example


def error_example(pair: Pair, error: HeadraceError) -> dict[str, Any]:
    """Which request, when, and what was said."""
    return {
        "request_id": pair.request_id[:SHOWN_ID],
        "at_ns": pair.at_ns,
        "error": type(error).__name__,
        "message": str(error)[:SHOWN_MESSAGE],
    }


def _answer(answer: Answer) -> list[dict[str, Any]]:
    return _tensors(answer.outputs, SHOWN_ELEMENTS) if isinstance(answer, InferenceResponse) else []


def _tensors(tensors: Sequence[Tensor], element_limit: int) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor.name,
            "datatype": tensor.datatype.label,
            "shape": list(tensor.shape),
            "values": _values(tensor, element_limit),
        }
        for tensor in tensors[:SHOWN_TENSORS]
    ]


def _values(tensor: Tensor, limit: int) -> list[Any]:
    """The first elements; NaN and infinities, which JSON lacks, as texts."""
    if tensor.datatype is DataType.BYTES:
        elements = strings.unpack(tensor.data)[:limit]
        return [element[:SHOWN_CHARACTERS].decode(errors="replace") for element in elements]
    shown = min(limit, element_count(tensor.shape))
    array = np.frombuffer(tensor.data, tensor.datatype.numpy, shown)
    if tensor.datatype is DataType.BF16:
        array = from_bf16(array)
    values: list[Any] = array.tolist()
    return [str(value) if isinstance(value, float) and not isfinite(value) else value for value in values]


def _by_rank(item: tuple[tuple[bool, float], int, Mapping[str, Any]]) -> tuple[tuple[bool, float], int]:
    return item[0], item[1]
