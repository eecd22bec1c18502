"""How much one inference request may hold, whatever its size in bytes."""

from dataclasses import dataclass

from headrace.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class Limits:
    """Counts that are checked before any Python object is made of a request.

    `parameters` bounds those of the request, and those of each of its inputs and outputs. `json_values`
    bounds the values in a request's JSON, `text_characters` the length of its id, of a name in it, and of a
    parameter that is a text; elements of BYTES tensors may be longer. `text_elements` bounds how many of
    those an input has.
    """

    inputs: int = 256
    outputs: int = 256
    parameters: int = 256
    json_values: int = 2_000_000
    text_characters: int = 65_536
    text_elements: int = 1_000_000


DEFAULT_LIMITS = Limits()

# What is larger is not read for callers who may do nothing at all.
UNASKED_BYTES = 64 * 1024
# What is larger is no question or order, but for files that are to be loaded.
MAX_CONTROL_BYTES = 1024 * 1024


def check_count(count: int, limit: int, what: str) -> None:
    """InvalidArgument where a request has more of something than it may."""
    if count > limit:
        raise InvalidArgument(f"the request has {count} {what}, but at most {limit} are allowed")


def check_text(text: str, limits: Limits, what: str) -> None:
    """InvalidArgument where a text in a request is longer than it may be."""
    if len(text) > limits.text_characters:
        raise InvalidArgument(
            f"{what} has {len(text)} characters, but at most {limits.text_characters} are allowed "
            "(limits.max_text_characters)"
        )
