"""Who is next by weight: exact over every thousand requests, or always the same for the same key."""

import random
from collections.abc import Sequence
from hashlib import blake2b
from itertools import chain

from headrace.core.route import PER_MILLE

# Any number would do, as long as every replica has the same.
_SEED = 20


def turns(per_mille: Sequence[int]) -> tuple[int, ...]:
    """A thousand indexes, each as often as its weight says; repeated, every window of a thousand has as many.

    A small share is spread over the whole: one in each of as many equal stretches as it has turns, at a place
    drawn by chance, so that callers who come in a rhythm do not always meet the same version.
    """
    largest = max(range(len(per_mille)), key=per_mille.__getitem__)
    drawn = random.Random(_SEED)
    places: list[int | None] = [None] * PER_MILLE
    by_share = sorted((share, index) for index, share in enumerate(per_mille) if index != largest)
    for share, index in by_share:
        for turn in range(share):
            first, past = turn * PER_MILLE // share, (turn + 1) * PER_MILLE // share
            places[_free(places, drawn.randrange(first, past))] = index
    return tuple(largest if place is None else place for place in places)


def buckets(per_mille: Sequence[int], main: int) -> tuple[int, ...]:
    """The index for each of a thousand buckets of keys.

    `main` has what the others leave. The last of these grows from the end downwards and the rest from the
    beginning upwards: with up to two besides `main`, raising one's weight moves keys from `main` to it
    only. No rule that looks at weights alone can do so for more (docs/rollouts.md).
    """
    others = [index for index in range(len(per_mille)) if index != main]
    owners = [main] * PER_MILLE
    first = 0
    for index in others[:-1]:
        owners[first : first + per_mille[index]] = [index] * per_mille[index]
        first += per_mille[index]
    for index in others[-1:]:
        past = PER_MILLE - per_mille[index]
        owners[past:] = [index] * per_mille[index]
    return tuple(owners)


class Hash:
    """Spreads keys over the buckets, everywhere and at any time alike; another `seed` spreads otherwise."""

    def __init__(self, seed: str) -> None:
        self._start = blake2b(blake2b(seed.encode("utf-8", "surrogatepass")).digest(), digest_size=8)

    def bucket(self, key: str) -> int:
        """0 to 999."""
        hashed = self._start.copy()
        hashed.update(key.encode("utf-8", "surrogatepass"))
        number: int = int.from_bytes(hashed.digest(), "little")
        return number % PER_MILLE


def _free(places: Sequence[int | None], wanted: int) -> int:
    """The first place that is not taken, from `wanted` on and then from the beginning."""
    for place in chain(range(wanted, PER_MILLE), range(wanted)):
        if places[place] is None:
            return place
    raise AssertionError("more turns than places: this is a bug")
