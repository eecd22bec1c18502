"""Plain text tables, aligned, for people."""

import unicodedata
from collections.abc import Iterable, Sequence

from headrace.logs.format import escape

GAP = "  "


class Table:
    """Columns under their titles; `numbers` names the titles whose cells stand at the right.

    A column widens with its cells and never narrows, so that lines of a later call stand below the first.
    """

    def __init__(self, titles: Sequence[str], numbers: Iterable[str] = ()) -> None:
        self._titles = titles
        self._is_number = [title in set(numbers) for title in titles]
        self._widths = [_width(title) for title in titles]

    def header(self) -> str:
        return self._line(self._titles)

    def lines(self, rows: Iterable[Sequence[object]]) -> list[str]:
        """One line a row."""
        texts = [[escape(str(cell)) for cell in row] for row in rows]
        for row in texts:
            self._widths = [max(width, _width(cell)) for width, cell in zip(self._widths, row, strict=True)]
        return [self._line(row) for row in texts]

    def format(self, rows: Iterable[Sequence[object]]) -> str:
        """The header and all rows."""
        lines = self.lines(rows)
        return "\n".join([self.header(), *lines])

    def _line(self, cells: Sequence[str]) -> str:
        parts = []
        for cell, width, is_number in zip(cells, self._widths, self._is_number, strict=True):
            padding = " " * (width - _width(cell))
            parts.append(padding + cell if is_number else cell + padding)
        return GAP.join(parts).rstrip()


def _width(text: str) -> int:
    """How many places `text` takes on a terminal: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )
