"""What the command line says of a command or an argument that it does not know, and of errors."""

import sys
from collections.abc import Iterable, Iterator, Sequence

from headrace.errors import ConfigError
from headrace.logs import escape
from headrace.settings.suggestion import did_you_mean


def unknown_command(word: str, commands: Iterable[str]) -> ConfigError:
    return ConfigError(f"{word!r} is not a command{did_you_mean(word, commands)}")


def unknown_arguments(words: Sequence[str], flags: Sequence[str]) -> ConfigError:
    return ConfigError("\n".join(_refusals(words, flags)))


def complain(message: str) -> None:
    """`message` to standard error, each of its lines as a line of this command."""
    for line in message.split("\n"):
        print(f"headrace: {escape(line)}", file=sys.stderr)


def _refusals(words: Sequence[str], flags: Sequence[str]) -> Iterator[str]:
    """A line for each unknown flag, none for the value behind it."""
    previous = ""
    for word in words:
        if word.startswith("-"):
            yield f"{word}: is not an option{did_you_mean(word.partition('=')[0], flags)}"
        elif not previous.startswith("-"):
            yield f"{word!r} is one argument too many"
        previous = word
