"""What somebody may have meant by a word that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of `known` resembles `word`, else nothing."""
    closest = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {closest[0]!r}?" if closest else ""
