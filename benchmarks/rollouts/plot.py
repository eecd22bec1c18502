"""`python -m benchmarks.rollouts.plot`: draws docs/images/rollout-evidence.svg (needs matplotlib)."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "results" / "rollouts.json"
IMAGE = Path(__file__).parents[2] / "docs" / "images" / "rollout-evidence.svg"
ALPHA = 0.01
SCENARIO = "errors 1.0%"
# Where none is drawn on a logarithmic axis.
LEAST = 4e-4
BLUE, RED, GREY = "#35607a", "#b5522b", "#8a949b"
BLUES = ("#9cc3da", "#5b93b3", BLUE)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts.plot", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, default=IMAGE)
    arguments = parser.parse_args()
    draw(json.loads(arguments.results.read_text()), arguments.output)
    return 0


def draw(results: Mapping[str, Any], path: Path) -> None:
    import matplotlib
    import matplotlib.pyplot as pyplot

    matplotlib.use("svg")
    # Text as text, and nothing that changes from one drawing to the next.
    pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "headrace", "font.size": 9})
    figure, (over_time, alarms, power) = pyplot.subplots(
        1, 3, figsize=(13, 4.2), width_ratios=(1, 0.8, 1), layout="constrained"
    )
    _draw_over_time(over_time, results)
    _draw_false_alarms(alarms, results["rows"])
    _draw_power(power, results["rows"])
    for axes in (over_time, alarms, power):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})


def _draw_over_time(axes: Any, results: Mapping[str, Any]) -> None:
    by_second = results["by_second"]
    naive = by_second[f"{SCENARIO}, naive z-test, {ALPHA:g}"]
    sequential = by_second[f"{SCENARIO}, HarmTest(), {ALPHA:g}"]
    seconds = range(1, len(naive) + 1)
    axes.plot(seconds, naive, color=RED, label="z-test, asked every 250 ms")
    axes.plot(seconds, sequential, color=BLUE, label="HarmTest, asked every 250 ms")
    axes.axhline(ALPHA, color=GREY, linestyle=":", label=f"stated: {ALPHA:g}")
    end_s = 0
    for share, duration_s in results["traffic"]["steps"]:
        axes.text(end_s + duration_s / 2, 0.285, f"{share:.0%}", ha="center", color=GREY)
        end_s += duration_s
        axes.axvline(end_s, ymin=0.92, color=GREY, linewidth=0.4)
    axes.set(xlim=(0, end_s), ylim=(-0.003, 0.3), xlabel="seconds of the rollout (above: the canary's share)")
    axes.set_title(f"Rolled back, though alike (both fail {0.01:.0%})", loc="left")
    axes.legend(frameon=False, loc="center right", bbox_to_anchor=(1.0, 0.22))


def _draw_false_alarms(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    shown = (
        ("errors 0.1%", "HarmTest()", "errors 0.1 %"),
        ("errors 1.0%", "HarmTest()", "errors 1 %"),
        ("errors 5.0%", "HarmTest()", "errors 5 %"),
        ("errors 0.2%, in both 10% for 5 s a minute", "HarmTest()", "bursts in both"),
        ("errors 1.0%, by batches of up to 8", "HarmTest()", "failing batches"),
        ("errors 1.0%, by batches of up to 8", "HarmTest(), burst measured", "failing batches, measured"),
        (
            "errors 0.5%, by batches of up to 32, of the canary 4",
            "HarmTest(), burst measured",
            "batches of 32 and of 4, measured",
        ),
        ("latencies, independent", "SlownessTest(0.95, 1)", "latencies, ratio 1"),
        ("latencies, load of 2 s, each its own", "SlownessTest(0.95, 1)", "latencies, ratio 1, load of 2 s"),
        (
            "latencies, load of 10 s, each its own",
            "SlownessTest(0.95, 1.25)",
            "latencies, ratio 1.25, load of 10 s",
        ),
    )
    for place, (scenario, test, label) in enumerate(reversed(shown)):
        row = _row(rows, scenario, test)
        color = RED if row["share"] > ALPHA else BLUE
        axes.plot([max(row["share"], LEAST)], [place], "o", color=color)
        axes.text(LEAST * 0.7, place, label, ha="right", va="center")
    axes.axvline(ALPHA, color=GREY, linestyle=":")
    axes.set(xscale="log", xlim=(LEAST * 0.8, 1.3), yticks=[])
    axes.set(xticks=[0.001, 0.01, 0.1, 1], xticklabels=["0.1 %", "1 %", "10 %", "100 %"])
    axes.set_xlabel("of 1,000 rollouts (red: more than stated)")
    axes.set_title(f"False alarms at alpha = {ALPHA:g}", loc="left")


def _draw_power(axes: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    increases = (0.005, 0.01, 0.02, 0.05, 0.2)
    for rate, color in zip((0.001, 0.01, 0.05), BLUES):
        found = [_row(rows, f"errors {rate:.1%} + {increase:.1%}", "HarmTest()") for increase in increases]
        reliable = [(x, row) for x, row in zip(increases, found) if row["share"] >= 0.9]
        axes.plot(
            [x * 100 for x, _ in reliable],
            [row["median_requests"] for _, row in reliable],
            "o-",
            color=color,
            label=f"both fail {rate:.1%}, the canary more",
        )
    axes.set(xscale="log", yscale="log", xticks=[0.5, 1, 2, 5, 20], xticklabels=["0.5", "1", "2", "5", "20"])
    axes.set(xlabel="percentage points more", ylabel="requests of the canary (median)", ylim=(2, 15_000))
    axes.minorticks_off()
    axes.set_title(f"Until it is found, alpha = {ALPHA:g}", loc="left")
    axes.legend(frameon=False, loc="lower left")


def _row(rows: Sequence[Mapping[str, Any]], scenario: str, test: str) -> Mapping[str, Any]:
    (row,) = [
        row
        for row in rows
        if (row["scenario"], row["test"], row["alpha"], row["group"] == "proof")
        == (scenario, test, ALPHA, False)
    ]
    return row


if __name__ == "__main__":
    sys.exit(main())
