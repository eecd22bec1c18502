"""`python -m benchmarks [NAME ...]`: measures, prints and keeps what was found."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from benchmarks import (
    batching,
    codec,
    compute,
    gateway,
    latency,
    machine,
    memory,
    overhead,
    overload,
    reload,
    rollouts,
    shadow,
    start,
)
from benchmarks.effort import FULL, QUICK, Effort
from benchmarks.report import Report, to_markdown, to_text

MODULES = (
    overhead,
    compute,
    batching,
    latency,
    start,
    reload,
    memory,
    overload,
    codec,
    shadow,
    rollouts,
    gateway,
)
SUBJECTS = {module.__name__.rpartition(".")[2]: module for module in MODULES}
RESULTS = Path(__file__).parent / "results"


def main() -> int:
    arguments = _parse()
    if arguments.list:
        for name in SUBJECTS:
            print(f"{name:9} {_title(name)}")
        return 0
    if arguments.read:
        facts, reports = _read(arguments.read)
    else:
        if not shutil.which("h2load"):
            print("h2load is missing: apt-get install nghttp2-client", file=sys.stderr)
            return 1
        facts = machine.facts()
        reports = _measure(arguments.name or list(SUBJECTS), QUICK if arguments.quick else FULL)
        _write(_file_in(arguments.output), facts, reports)
    _show(facts, reports, as_markdown=arguments.markdown)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", nargs="*", metavar="NAME", help="see --list; all by default")
    parser.add_argument("--list", action="store_true", help="name the benchmarks and end")
    parser.add_argument("--quick", action="store_true", help="few and short rounds, to see that it works")
    parser.add_argument("--output", type=Path, default=RESULTS, help="file or folder [benchmarks/results/]")
    parser.add_argument("--read", type=Path, metavar="FILE", help="print earlier results, measure nothing")
    parser.add_argument("--markdown", action="store_true", help="print a table for the README")
    arguments = parser.parse_args()
    if unknown := set(arguments.name) - set(SUBJECTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; expected some of {', '.join(SUBJECTS)}")
    return arguments


def _file_in(path: Path) -> Path:
    """`path`, or where that is a folder, a file in it that is called by the time."""
    is_folder = path.is_dir() or path == RESULTS
    return path / f"{datetime.now():%Y-%m-%d-%H%M%S}.json" if is_folder else path


def _title(name: str) -> str:
    return (SUBJECTS[name].__doc__ or "").partition("\n")[0]


def _measure(names: Sequence[str], effort: Effort) -> dict[str, Report]:
    """A report for each name; progress goes to standard error."""
    reports = {}
    for name in names:
        print(f"{name}: {_title(name)}", file=sys.stderr, flush=True)
        start_s = time.monotonic()
        reports[name] = SUBJECTS[name].run(effort)
        print(f"  took {time.monotonic() - start_s:.0f} s", file=sys.stderr, flush=True)
    return reports


def _show(facts: Mapping[str, str], reports: Mapping[str, Report], *, as_markdown: bool) -> None:
    if as_markdown:
        print(to_markdown(reports))
        return
    for name, fact in facts.items():
        print(f"{name:12} {fact}")
    for subject, report in reports.items():
        print(to_text(subject, report))


def _write(path: Path, facts: Mapping[str, str], reports: Mapping[str, Report]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"machine": facts, "reports": {name: asdict(report) for name, report in reports.items()}}
    path.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    print(f"kept in {path}", file=sys.stderr)


def _read(path: Path) -> tuple[dict[str, str], dict[str, Report]]:
    plain = json.loads(path.read_text())
    return plain["machine"], {name: Report.read(report) for name, report in plain["reports"].items()}


if __name__ == "__main__":
    sys.exit(main())
