"""What an instance runs: a backend takes a batch's arrays in and gives the model's arrays out."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.generic]


class Backend(Protocol):
    """One copy of a model, ready to execute. Only its own worker calls `execute`."""

    def execute(self, inputs: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """Runs the model once; the arrays of `outputs`, in that order. Raises ExecutionFailed."""
        ...

    def interrupt(self) -> None:
        """Asks a running `execute` to give up as soon as it can; from any thread."""
        ...

    def close(self) -> None:
        """Gives back what the backend holds."""
        ...
