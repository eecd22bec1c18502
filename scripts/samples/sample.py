"""What a sample model consists of, as plain data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Rows = NDArray[Any]
"""An array whose first dimension counts rows, each of which a request may carry alone."""


@dataclass(frozen=True, slots=True)
class Split:
    """The rows a model learns from and the rows it is judged by, both in the data's own order.

    Inputs have the shape of the model's input, labels have shape [rows] and the values of its label output.
    """

    train_inputs: Rows
    train_labels: Rows
    heldout_inputs: Rows
    heldout_labels: Rows


@dataclass(frozen=True, slots=True)
class TrainedVersion:
    """One exported version, with scikit-learn's own answers to the held-out rows by output name."""

    number: int
    graph: onnx.ModelProto
    expected: Mapping[str, Rows]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample model, ready to be written.

    `class_names` are in the order of the columns of `probabilities`. `write_rows` writes example rows once
    more in a form that is natural for the data, into the folder it is given.
    """

    name: str
    input_name: str
    class_names: tuple[str, ...]
    split: Split
    versions: tuple[TrainedVersion, ...]
    training_data: str
    write_rows: Callable[[Path, Rows], None]
    examples_per_class: int = 1


def progress(message: str) -> None:
    """Prints one line on what is being done, at once."""
    print(f"  {message}", flush=True)


def as_column(values: Rows) -> Rows:
    """Values of shape [rows] as [rows, 1], the shape of every label output."""
    return np.asarray(values).reshape(-1, 1)
