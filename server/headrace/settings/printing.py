"""The effective settings as YAML that can be given back with --config."""

from enum import StrEnum
from math import inf
from pathlib import Path

import yaml

from headrace.settings.given import OPTIONS
from headrace.settings.reading import EffectiveSettings

# Stands for what is not printed; given back as it is, it is refused.
HIDDEN = "[hidden]"


def to_yaml(effective: EffectiveSettings) -> str:
    """One line a setting; a comment says where a value came from that is not the default."""
    lines = []
    for group, options in OPTIONS.items():
        lines.append(f"{group}:")
        for option in options:
            value = getattr(getattr(effective.settings, group), option.name)
            origin = effective.origins.get(option.key)
            shown = HIDDEN if option.is_secret and value else _plain(value)
            lines.append(f"  {option.name}: {shown}" + (f"  # {origin}" if origin else ""))
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    """`value` as YAML writes it within a list, where it takes one line."""
    if isinstance(value, Path | StrEnum):
        value = str(value)
    plain = list(value) if isinstance(value, tuple) else value
    written = yaml.safe_dump([plain], default_flow_style=True, width=inf, allow_unicode=True)
    return written.rstrip("\n").removeprefix("[").removesuffix("]")
