"""What came back: as a table for people, or as a file."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headrace.cli.requests import PreparedRequest
from headrace.cli.tensors import Array
from headrace.errors import ConfigError
from headrace.logs.table import Table
from headrace.pb.inference.grpc_service_pb2 import ModelInferResponse

SUFFIXES = (".json", ".npz", ".csv")
SHOWN_ROWS = 20
SHOWN_ELEMENTS = 8
TIMINGS_PREFIX = "headrace_"


@dataclass(frozen=True, slots=True)
class Result:
    """One request and its answer; `error` is empty where there is one."""

    request: PreparedRequest
    elapsed_s: float
    error: str = ""
    response: ModelInferResponse | None = None
    outputs: Mapping[str, Array] | None = None


def check_output(path: Path) -> None:
    """ConfigError where results could not be written to `path`; asked before anything is sent."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"--output: {path} has an unknown format: expected {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise ConfigError(f"--output: {path.parent} is no folder")


def write(path: Path, results: Sequence[Result]) -> None:
    """Writes the answers in the order of the requests; failed ones are only told of in JSON."""
    writers = {".json": _write_json, ".npz": _write_npz, ".csv": _write_csv}
    try:
        writers[path.suffix.lower()](path, results)
    except OSError as error:
        raise ConfigError(f"--output: {path} cannot be written: {error.strerror}") from error


def show(results: Sequence[Result]) -> str:
    """A line a row, at most SHOWN_ROWS of them."""
    rows = list(_rows(results))
    if not rows:
        return ""
    names = list(rows[0])
    shown = [(number, *map(cell, row.values())) for number, row in enumerate(rows[:SHOWN_ROWS])]
    text = Table(("ROW", *names), ("ROW",)).format(shown)
    more = len(rows) - SHOWN_ROWS
    return text + (f"\n... {more} rows more; --output FILE writes all" if more > 0 else "")


def show_timings(results: Iterable[Result]) -> str:
    """The `headrace_` parameters of the first answers; empty where no answer has any."""
    lines = [
        {name: _value(parameter) for name, parameter in sorted(result.response.parameters.items())}
        for result in results
        if result.response is not None
    ][:SHOWN_ROWS]
    names = sorted({name for line in lines for name in line if name.startswith(TIMINGS_PREFIX)})
    if not names:
        return ""
    titles = [name.removeprefix(TIMINGS_PREFIX) for name in names]
    rows = [(number, *(line.get(name, "") for name in names)) for number, line in enumerate(lines)]
    return Table(("REQUEST", *titles), ("REQUEST", *titles)).format(rows)


def cell(array: Array) -> str:
    """The elements of one row's output, the first few where there are many; classes as `label (value)`."""
    elements = array.ravel()
    shown = [_element(element) for element in elements[:SHOWN_ELEMENTS].tolist()]
    if elements.size > SHOWN_ELEMENTS:
        shown.append(f"... {elements.size} in all")
    return shown[0] if elements.size == 1 else "[" + ", ".join(shown) + "]"


def _element(element: object) -> str:
    return f"{element:.6g}" if isinstance(element, float) else str(element)


def readable_classes(outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of classification, elements `value:index[:label]`, as `label (value)`."""
    return {
        name: np.vectorize(_class, otypes=[object])(array) if array.dtype == object and array.size else array
        for name, array in outputs.items()
    }


def _class(element: str) -> str:
    value, _, rest = element.partition(":")
    index, _, label = rest.partition(":")
    return f"{label or index} ({value})" if index else element


def _rows(results: Iterable[Result]) -> Iterator[Mapping[str, Array]]:
    """The outputs by name for each row; for a whole request where its outputs have no row for each."""
    for result in results:
        if result.outputs is None:
            continue
        rows = result.request.rows
        if all(array.shape[:1] == (rows,) for array in result.outputs.values()):
            yield from ({name: array[at] for name, array in result.outputs.items()} for at in range(rows))
        else:
            yield result.outputs


def _write_json(path: Path, results: Sequence[Result]) -> None:
    path.write_text(json.dumps([_to_json(result) for result in results], indent=1) + "\n")


def _to_json(result: Result) -> dict[str, object]:
    """An answer in the shape that the V2 protocol gives it over REST."""
    if result.response is None or result.outputs is None:
        return {"id": result.request.id, "error": result.error}
    response = result.response
    return {
        "model_name": response.model_name,
        "model_version": response.model_version,
        "id": response.id,
        "parameters": {name: _value(parameter) for name, parameter in response.parameters.items()},
        "outputs": [
            {
                "name": output.name,
                "datatype": output.datatype,
                "shape": list(output.shape),
                "data": result.outputs[output.name].ravel().tolist(),
            }
            for output in response.outputs
        ],
    }


def _write_npz(path: Path, results: Sequence[Result]) -> None:
    answered = [result.outputs for result in results if result.outputs is not None]
    arrays = {}
    for name in answered[0] if answered else ():
        parts = [outputs[name] for outputs in answered]
        try:
            joined = np.concatenate(parts) if parts[0].ndim else np.stack(parts)
        except ValueError as error:
            raise ConfigError(f"--output: {name!r} differs in shape: expected a .json file") from error
        arrays[name] = joined.astype(str) if joined.dtype == object else joined
    np.savez(path, allow_pickle=False, **arrays)


def _write_csv(path: Path, results: Sequence[Result]) -> None:
    rows = list(_rows(results))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        if rows:
            writer.writerow([title for name, array in rows[0].items() for title in _titles(name, array)])
        for row in rows:
            writer.writerow([element for array in row.values() for element in array.ravel().tolist()])


def _titles(name: str, array: Array) -> list[str]:
    return [name] if array.size == 1 else [f"{name}[{at}]" for at in range(array.size)]


def _value(parameter: object) -> object:
    kind = parameter.WhichOneof("parameter_choice")  # type: ignore[attr-defined]
    return getattr(parameter, kind) if kind else None
