"""What somebody may have meant by a word that is not known."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where one of `known` resembles `word` in upper or lower case, else nothing."""
    by_lower_case = {candidate.lower(): candidate for candidate in sorted(known)}
    close = get_close_matches(word.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean {by_lower_case[close[0]]!r}?" if close else ""
