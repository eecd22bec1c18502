"""How much one inference request may hold, whatever its size in bytes."""

from dataclasses import dataclass

from headrace.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts that are checked before any Python object is made of a request.

    `parameters` bounds those of the request, and those of each of its inputs and outputs. `json_values`
    bounds the values in a request's JSON.
    """

    inputs: int = 256
    outputs: int = 256
    parameters: int = 256
    json_values: int = 4_000_000


DEFAULT_LIMITS = Limits()


def check_count(count: int, limit: int, what: str) -> None:
    """InvalidArgument where a request has more of something than it may."""
    if count > limit:
        raise InvalidArgument(f"the request has {count} {what}, but at most {limit} are allowed")
