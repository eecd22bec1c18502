"""`python -m benchmarks.rollouts`: simulates all scenarios, keeps what was found, prints it."""

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.report import to_text
from benchmarks.rollouts import RUNS, report
from benchmarks.rollouts.scenarios import Results, measure
from benchmarks.rollouts.traffic import LOOKS_A_SECOND, REQUESTS_A_LOOK, STEPS

RESULTS = Path(__file__).parents[1] / "results" / "rollouts.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rollouts", description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=RUNS, help=f"simulated rollouts of each scenario [{RUNS}]"
    )
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="file [benchmarks/results/rollouts.json]"
    )
    arguments = parser.parse_args()
    results = Results()
    start_s, printed = time.monotonic(), 0
    for name in measure(arguments.runs, results):
        print(f"{name} ({time.monotonic() - start_s:.0f} s)", file=sys.stderr, flush=True)
        for row in results.rows[printed:]:
            needed = f"{row.median_requests} ({row.late_requests}) requests {row.median_s} ({row.late_s}) s"
            found = needed if row.share else ""
            print(
                f"  {row.group}: {row.scenario}; {row.test}, {row.alpha}: {row.share:.3f} {found}", flush=True
            )
        printed = len(results.rows)
    _write(arguments.output, arguments.runs, results)
    print(to_text("rollouts", report(results)))
    return 0


def _write(path: Path, runs: int, results: Results) -> None:
    traffic = {"steps": STEPS, "requests_a_look": REQUESTS_A_LOOK, "looks_a_second": LOOKS_A_SECOND}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"runs": runs, "traffic": traffic, **asdict(results)}, indent=1) + "\n")
    print(f"kept in {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
