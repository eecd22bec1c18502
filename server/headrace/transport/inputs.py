"""Inputs as callers send them: which shapes a tensor can have at all, and that no name comes twice."""

from collections.abc import Iterable

from headrace.core.tensor import Shape, Tensor, element_count
from headrace.errors import InvalidArgument
from headrace.transport.limits import Limits

# No message is longer in bytes, so no dimension of a tensor that has elements can be larger.
LARGEST_DIMENSION = 2**31 - 1
MAX_RANK = 32
MAX_SOUND_SHAPES = 4096

# Shapes that passed the check: callers send few, and looking one up takes a tenth of the check's time.
_sound_shapes: set[Shape] = set()


def check_shape(name: str, shape: Shape) -> None:
    """InvalidArgument where `shape`, of integers, cannot be that of input `name`."""
    if shape not in _sound_shapes:
        _check_closely(name, shape)
        if len(_sound_shapes) >= MAX_SOUND_SHAPES:
            _sound_shapes.clear()
        _sound_shapes.add(shape)


def check_text_elements(name: str, shape: Shape, limits: Limits) -> None:
    """InvalidArgument where input `name`, of texts, has more of them than it may."""
    count = element_count(shape)
    if count > limits.text_elements:
        raise InvalidArgument(
            f"input '{name}' has {count} BYTES elements, but at most {limits.text_elements} are allowed "
            "(limits.max_text_elements)"
        )


def check_names_differ(inputs: Iterable[Tensor]) -> None:
    """InvalidArgument where a name comes twice."""
    seen: set[str] = set()
    for tensor in inputs:
        if tensor.name in seen:
            raise InvalidArgument(f"input '{tensor.name}' already exists in request")
        seen.add(tensor.name)


def _check_closely(name: str, shape: Shape) -> None:
    """Sizes of 0 are allowed; they must not hide others that overflow what counts elements."""
    if len(shape) > MAX_RANK:
        raise InvalidArgument(
            f"input '{name}' has {len(shape)} dimensions, but at most {MAX_RANK} are allowed"
        )
    for size in shape:
        if not 0 <= size <= LARGEST_DIMENSION:
            raise InvalidArgument(
                f"input '{name}' has a dimension of {size}, expected 0 to {LARGEST_DIMENSION}"
            )
    elements = 1
    for size in shape:
        elements *= size or 1
    if elements > LARGEST_DIMENSION:
        raise InvalidArgument(f"input '{name}' has a shape that no message can hold")
