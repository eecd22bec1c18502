"""What is wrong with a model's files: problems and notes, each one line with file, line, field and reason."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from headrace.errors import ConfigError, LoadError

_SHOWN_CHARACTERS = 80
_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to put right; `line` is 0 where the file has no lines or they are not known."""

    file: str
    field: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return printable(": ".join(part for part in (place, self.field, self.message) if part))


class InvalidConfig(ConfigError):
    """A model's configuration is wrong; `problems` has every reason, `str()` one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class InvalidModel(LoadError):
    """A version's files are refused; `problems` has every reason, `str()` one line for each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(slots=True)
class Findings:
    """Collects the problems and notes of one file; `lines` tells the line of a field, where that is known."""

    file: str
    lines: Mapping[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)

    def refuse(self, path: str, message: str) -> None:
        """Adds a problem of the field `path`."""
        self.problems.append(Problem(self.file, path, message, self._line(path)))

    def note(self, path: str, message: str) -> None:
        """Adds a remark on the field `path`, which is accepted."""
        self.notes.append(Problem(self.file, path, message, self._line(path)))

    def raise_problems(self) -> None:
        """Raises InvalidConfig with all problems, if there are any."""
        if self.problems:
            raise InvalidConfig(sorted(self.problems, key=lambda problem: problem.line))

    def _line(self, path: str) -> int:
        """The line of `path`, or of the nearest field around it that has one."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 0)


def printable(text: str) -> str:
    """`text` in one line that is safe to print and to log: whatever is not printable is escaped."""
    if len(text) > _LONGEST_LINE:
        text = f"{text[:_LONGEST_LINE]}..."
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def shown(text: object) -> str:
    """`text` quoted for a message: control characters escaped, cut where it is long."""
    quoted = repr(str(text)) if not isinstance(text, int | float) else str(text)
    return quoted if len(quoted) <= _SHOWN_CHARACTERS else quoted[: _SHOWN_CHARACTERS - 3] + "..."
