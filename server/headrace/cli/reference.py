"""The server's options as a page of documentation, from the same source as `headrace serve --help`.

`python -m headrace.cli.reference docs/configuration.md` brings the page up to date.
"""

import sys
from enum import StrEnum
from pathlib import Path

from headrace.settings.given import GROUPS, OPTIONS
from headrace.settings.option import Option

BEGIN = "<!-- server options: begin (written by python -m headrace.cli.reference) -->\n"
END = "<!-- server options: end -->\n"


def default_of(option: Option) -> str:
    """The default as one would write it, in words where it is nothing."""
    default = option.default
    if isinstance(default, bool):
        return str(default).lower()
    if default is None or default == ():
        return "none"
    return f"{default:g}" if isinstance(default, float) else str(default)


def updated(page: str) -> str:
    """`page` with its part on the server's options written anew."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + markdown() + "\n" + END + after


def markdown() -> str:
    """A table for each group of settings."""
    return "\n".join(_section(name, options) for name, options in OPTIONS.items())


def _section(name: str, options: tuple[Option, ...]) -> str:
    lines = [
        f"### `{name}`",
        "",
        str(GROUPS[name].__doc__),
        "",
        "| Setting | Flag | Default | Meaning |",
        "|---|---|---|---|",
        *(_row(option) for option in options),
    ]
    return "\n".join(lines) + "\n"


def _row(option: Option) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (option.flag, *option.aliases))
    default = default_of(option)
    unit = f" {option.unit}" if option.unit and default != "none" else ""
    choices = f" ({option.expectation})" if issubclass(option.kind, StrEnum) else ""
    return f"| `{option.key}` | {flags} | {default}{unit} | {option.help}{choices} |".replace("*", r"\*")


if __name__ == "__main__":
    page_path = Path(sys.argv[1])
    page_path.write_text(updated(page_path.read_text()))
