"""Writes a request and its answer as a golden request, which docs/models.md describes."""

import json
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from headrace.cli.requests import PreparedInput
from headrace.cli.results import Result
from headrace.cli.tensors import Array

# Numbers that JSON does not have.
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def to_golden(result: Result, settings: Mapping[str, object], best_of: Collection[str], rows: int) -> str:
    """The text of a golden request for an answered `result`.

    `settings` are members of the whole: a description, tolerances. Outputs in `best_of` are asked for their
    largest element only, of each of `rows` rows.
    """
    response, outputs = result.response, result.outputs or {}
    answered = response.outputs if response is not None else ()
    members = [f" {json.dumps(name)}: {json.dumps(value)}" for name, value in settings.items()]
    members.append(_listed("inputs", [_input(item) for item in result.request.inputs]))
    members.append(
        _listed(
            "outputs",
            [
                _best(output.name, outputs[output.name], rows)
                if output.name in best_of
                else _tensor(output.name, output.datatype, outputs[output.name])
                for output in answered
            ],
        )
    )
    return "{\n" + ",\n".join(members) + "\n}\n"


def _listed(name: str, tensors: list[dict[str, object]]) -> str:
    """A member that has a tensor a line."""
    lines = ",\n".join(f"  {json.dumps(tensor, ensure_ascii=False)}" for tensor in tensors)
    return f' "{name}": [\n{lines}\n ]'


def _input(item: PreparedInput) -> dict[str, object]:
    return _tensor(item.name, item.datatype.value, item.array)


def _tensor(name: str, datatype: str, array: Array) -> dict[str, object]:
    return {"name": name, "datatype": datatype, "shape": list(array.shape), "data": _plain(array)}


def _best(name: str, array: Array, rows: int) -> dict[str, object]:
    return {"name": name, "argmax": array.reshape(rows, -1).argmax(axis=1).tolist()}


def _plain(array: Array) -> list[Any]:
    """The elements, flat; a float with the fewest digits that give back its bits."""
    flat = array.ravel()
    if flat.dtype.kind != "f":
        return flat.tolist()
    return [_NOT_FINITE[str(value)] if not np.isfinite(value) else float(str(value)) for value in flat]
