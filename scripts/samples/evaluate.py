"""Runs an exported model and measures it, as a server would run it."""

from collections.abc import Mapping

import numpy as np
import onnxruntime

from samples.sample import Rows

TOLERANCE = 1e-4
"""How far an exported model's numbers, in 32 bits, may be from scikit-learn's, in 64."""


def answers(model: bytes, inputs: Rows) -> dict[str, Rows]:
    """What the model answers to the rows, by output name."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    as_fed = inputs.astype(object) if inputs.dtype.kind == "U" else inputs
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: as_fed}), strict=True))


def accuracy(model: bytes, inputs: Rows, labels: Rows) -> float:
    """The share of rows whose `label` is the right one."""
    return float(np.mean(answers(model, inputs)["label"].ravel() == labels))


def check_agreement(answered: Mapping[str, Rows], expected: Mapping[str, Rows]) -> None:
    """Raises `ValueError` unless the exported model answers what scikit-learn answers."""
    if set(answered) != set(expected):
        raise ValueError(f"outputs are {sorted(answered)}, not {sorted(expected)}")
    for name, wanted in expected.items():
        _check_output(name, answered[name], wanted)


def _check_output(name: str, answered: Rows, wanted: Rows) -> None:
    if answered.shape != wanted.shape:
        raise ValueError(f"output {name!r} has shape {answered.shape}, not {wanted.shape}")
    if wanted.dtype.kind == "f":
        gap = float(np.abs(answered - wanted).max())
        if gap > TOLERANCE:
            raise ValueError(f"output {name!r} is up to {gap:.2g} away from scikit-learn's")
        return
    different = int(np.sum(answered != wanted))
    if different:
        raise ValueError(f"output {name!r} differs from scikit-learn's in {different} rows of {len(wanted)}")
