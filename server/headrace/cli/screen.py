"""A terminal that shows one picture after another in the same place."""

import shutil
import sys

# The terminal's second page, so that what stood on the first is there again afterwards.
_ENTER, _LEAVE = "\x1b[?1049h", "\x1b[?1049l"
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


class Screen:
    """Use it in a `with` statement, where standard output is a terminal."""

    def __enter__(self) -> "Screen":
        self._write(_ENTER)
        return self

    def __exit__(self, *_: object) -> None:
        self._write(_LEAVE)

    def draw(self, text: str) -> None:
        """Shows `text` in place of what was shown before; what does not fit is left out."""
        columns, rows = shutil.get_terminal_size()
        lines = [line[:columns] for line in text.split("\n")]
        if len(lines) >= rows:
            lines = [*lines[: max(1, rows - 2)], "…"]
        picture = "".join(f"{line}{_CLEAR_LINE}\n" for line in lines)
        self._write(_HOME + picture + _CLEAR_BELOW)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def is_terminal() -> bool:
    """Whether somebody looks at the standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


def shows(text: str) -> bool:
    """Whether the standard output's character set has all of `text`."""
    try:
        text.encode((sys.stdout and sys.stdout.encoding) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
