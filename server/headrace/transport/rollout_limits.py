"""What a request about rollouts may hold, over any transport."""

from headrace.errors import InvalidArgument

# Versions of a model's folder are below it, and the state database holds what is.
MAX_NUMBER = 10**18 - 1
# No label of a route is longer.
MAX_VERSION_CHARACTERS = 256


def check_number(number: int, what: str) -> None:
    """InvalidArgument where `number` can be no version and no rollout's id; 0 leaves the choice."""
    if not 0 <= number <= MAX_NUMBER:
        raise InvalidArgument(f"{what} is {number}: expected an integer of 0 to {MAX_NUMBER}")


def check_version(text: str, what: str) -> None:
    """InvalidArgument where `text` can be neither a version's number nor a label."""
    if not text:
        raise InvalidArgument(f"{what} is not given: expected a version's number or label")
    if len(text) > MAX_VERSION_CHARACTERS:
        raise InvalidArgument(
            f"{what} has {len(text)} characters, but at most {MAX_VERSION_CHARACTERS} are allowed"
        )
