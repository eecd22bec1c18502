"""How often the tests of a rollout are wrong, and how long they take to be right (simulated, no server)."""

import math
from collections.abc import Iterator

from benchmarks.effort import Effort
from benchmarks.report import Figure, Report, at_most
from benchmarks.rollouts.outcome import ALPHAS, Row
from benchmarks.rollouts.scenarios import MEASURED, Results, measure

# Simulated rollouts of each scenario.
RUNS = 1000


def run(effort: Effort) -> Report:
    results = Results()
    for _ in measure(effort.count(RUNS), results):
        pass
    return report(results)


def report(results: Results) -> Report:
    """The figures that must hold; all of them are in docs/rollout-statistics.md."""
    return Report(
        (
            *_false_alarms("errors", "HarmTest()", "errors", results),
            *_false_alarms("errors by batches", MEASURED, "errors", results),
            *_false_alarms("slowness", "SlownessTest(0.95, 1.25)", "latencies", results),
            *_false_alarms("other answers", "LimitTest(0.05)", "disagreement", results),
            *_until("errors 1.0% + 5.0%", "HarmTest()", results),
            *_until("errors 1.0% + 1.0%", "HarmTest()", results),
            *_until("latencies × 2, independent", "SlownessTest(0.95, 1.25)", results),
            *_until("disagreement 20%", "LimitTest(0.05)", results),
        ),
        ("alarms: the worst scenario that the test is made for; the goal is alpha and 3 standard errors",),
    )


def _false_alarms(name: str, test: str, scenarios: str, results: Results) -> Iterator[Figure]:
    for alpha in ALPHAS:
        rows = [row for row in _rows(test, alpha, results) if row.is_null and _is_meant(row, scenarios)]
        worst = max(rows, key=lambda row: row.share)
        goal = at_most(round(alpha + 3 * math.sqrt(alpha * (1 - alpha) / worst.runs), 4))
        yield Figure(f"false alarms, {name}, alpha {alpha:g}", (worst.share,), goal=goal)


def _until(scenario: str, test: str, results: Results) -> Iterator[Figure]:
    """Every figure is of alpha 0.01."""
    (row,) = [row for row in _rows(test, 0.01, results) if row.scenario == scenario]
    yield Figure(f"found, {scenario}", (row.share,))
    if row.median_requests is not None and row.median_s is not None:
        yield Figure(f"until found, {scenario}", (row.median_requests,), "requests of the canary")
        yield Figure(f"until found, {scenario}", (row.median_s,), "s")


def _is_meant(row: Row, scenarios: str) -> bool:
    """Not one that shows what breaks a test."""
    return row.scenario.startswith(scenarios) and not row.breaks


def _rows(test: str, alpha: float, results: Results) -> list[Row]:
    return [row for row in results.rows if row.test == test and row.alpha == alpha]
