"""Asks a vulnerability service about everything that the lock files pin."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from supply import lock
from supply.audit import Report, audit

ROOT = Path(__file__).resolve().parent.parent

NOTHING_KNOWN, KNOWN, NO_VERDICT = range(3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where something is known, 2 where not every package was answered for."""
    options, words = _parser().parse_known_args(arguments)
    locks = options.lock or sorted((ROOT / "requirements").glob("*.lock"))
    reports = []
    for path in locks:
        reports.append(_report(path, words))
        _print_report(path.name, reports[-1])
    if any(report.known for report in reports):
        return KNOWN
    if not reports or any(report.unanswered for report in reports):
        print("no verdict: this needs a network, and a service that knows these packages", file=sys.stderr)
        return NO_VERDICT
    return NOTHING_KNOWN


def _report(path: Path, words: Sequence[str]) -> Report:
    try:
        return audit(path, lock.read(path), words)
    except (lock.LockError, OSError) as error:
        return Report(0, (), (str(error),))


def _print_report(name: str, report: Report) -> None:
    if not report.known and not report.unanswered:
        print(f"{name}: {report.packages} packages, nothing known", flush=True)
        return
    for line in report.known:
        print(f"{name}: {line}", flush=True)
    if report.unanswered:
        first, others = report.unanswered[0], len(report.unanswered) - 1
        more = f", and {others} more like it" if others else ""
        print(f"{name}: no verdict: {first}{more}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Asks a vulnerability service, with pip-audit, about the packages that lock files pin "
        "for this machine. Exit status: 0 nothing is known, 1 something is, 2 no verdict.",
        epilog="Further options go to pip-audit, as --vulnerability-service osv or --ignore-vuln ID.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--lock",
        type=Path,
        action="append",
        metavar="FILE",
        help="ask about this lock file only; may be given more than once (default: all of requirements/)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
