"""The time that is written into what is built: the release's, not that of the build."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

UNRELEASED = 315532800
"""1980-01-01, the first day that a zip archive knows, in seconds since 1970."""


def epoch(changelog: Path, environment: Mapping[str, str]) -> int:
    """SOURCE_DATE_EPOCH (reproducible-builds.org), or the day of the newest release in `changelog`.

    In seconds since 1970; `UNRELEASED` while the newest heading has no date.
    """
    if given := environment.get("SOURCE_DATE_EPOCH"):
        return int(given)
    newest = re.search(r"^## \S+ \((.+)\)$", changelog.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if newest is None:
        raise ValueError(f"{changelog} has no heading like '## 1.2.3 (2026-01-31)'")
    if newest.group(1) == "unreleased":
        return UNRELEASED
    return int(datetime.strptime(newest.group(1), "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
