"""What pip-audit's answers come to."""

from typing import Any

import pytest

from supply.audit import report
from supply.lock import Pin

ASKED = [Pin("one", "1.0", None, (), ()), Pin("two-parts", "2.0", None, (), ())]
WELL = {"name": "one", "version": "1.0", "vulns": []}
ALSO_WELL = {"name": "Two.Parts", "version": "2.0", "vulns": []}


def test_all_is_well_where_every_package_was_answered_for() -> None:
    made = report(ASKED, [WELL, ALSO_WELL])

    assert (made.packages, made.known, made.unanswered) == (2, (), ())


@pytest.mark.parametrize(("fixed", "text"), [(["1.1", "2.0"], "1.1, 2.0"), ([], "no version yet")])
def test_what_is_known_is_named(fixed: list[str], text: str) -> None:
    vulnerability = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": fixed}

    made = report(ASKED, [{**WELL, "vulns": [vulnerability]}, ALSO_WELL])

    assert made.known == (f"one 1.0: PYSEC-1 CVE-1, fixed in {text}",)
    assert made.unanswered == ()


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ([WELL, {"name": "two-parts", "skip_reason": "not found"}], "two-parts 2.0: not found"),
        ([WELL], "two-parts 2.0: pip-audit did not ask about it"),
        ([WELL, {**ALSO_WELL, "version": "1.0"}], "two-parts 2.0: pip-audit did not ask about it"),
    ],
    ids=["passed over", "not asked", "another version"],
)
def test_package_without_an_answer_is_no_good_news(answers: list[dict[str, Any]], sentence: str) -> None:
    assert report(ASKED, answers).unanswered == (sentence,)
