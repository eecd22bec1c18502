"""Which time is written into packages."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from supply import release

ROOT = Path(__file__).resolve().parents[3]


def changelog(folder: Path, *headings: str) -> Path:
    path = folder / "CHANGELOG.md"
    path.write_text("# Changes\n\n" + "\n\n- Something.\n\n".join(headings) + "\n", encoding="utf-8")
    return path


def test_day_of_the_newest_release_counts(tmp_path: Path) -> None:
    path = changelog(tmp_path, "## 1.1.0 (2026-12-24)", "## 1.0.0 (2026-06-01)")

    assert datetime.fromtimestamp(release.epoch(path, {}), UTC) == datetime(2026, 12, 24, tzinfo=UTC)


def test_what_is_not_released_has_a_fixed_day(tmp_path: Path) -> None:
    path = changelog(tmp_path, "## 1.1.0 (unreleased)", "## 1.0.0 (2026-06-01)")

    assert datetime.fromtimestamp(release.epoch(path, {}), UTC) == datetime(1980, 1, 1, tzinfo=UTC)


def test_time_from_the_environment_comes_first(tmp_path: Path) -> None:
    path = changelog(tmp_path, "## 1.0.0 (2026-06-01)")

    assert release.epoch(path, {"SOURCE_DATE_EPOCH": "1700000000"}) == 1700000000


@pytest.mark.parametrize("heading", ["## 1.0.0", "## 1.0.0 (soon)"], ids=["none", "no day"])
def test_changelog_without_a_day_is_refused(tmp_path: Path, heading: str) -> None:
    with pytest.raises(ValueError):
        release.epoch(changelog(tmp_path, heading), {})


def test_this_changelog_has_one() -> None:
    assert release.epoch(ROOT / "CHANGELOG.md", {}) >= release.UNRELEASED
