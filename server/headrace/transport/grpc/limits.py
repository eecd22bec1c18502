"""How much one inference request may hold, whatever its size in bytes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts that are checked before any Python object is made of a request.

    `parameters` bounds those of the request, and those of each of its inputs and outputs.
    """

    inputs: int = 256
    outputs: int = 256
    parameters: int = 256


DEFAULT_LIMITS = Limits()
