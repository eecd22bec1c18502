"""`make demo-rollout`: a rollout that goes well and others that do not, live."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from demo_rollout import report, server, story
from demo_rollout.report import Promise

LOG_LINES = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 where every promise was kept."""
    options = _parser().parse_args(arguments)
    started_s = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - started_s:6.1f} s  {text}" if text else "", flush=True)

    say("a server starts on a copy of the sample models")
    with server.running(story.DECLARED_PLAN) as running:
        say(f"it answers on {running.url}; callers send {options.rate:g} requests a second")
        told = asyncio.run(story.play(running, options.rate, say))
        bugs = running.bugs()
        log = running.log.read_text(errors="replace").splitlines()
    promises = [*told.promises, Promise("the server's log tells of no defect", not bugs)]
    is_kept = all(promise.is_kept for promise in promises)
    if not is_kept:
        print("the server's last lines:", *log[-LOG_LINES:], sep="\n    ")
    seconds = time.monotonic() - started_s
    print(report.table(told.findings), report.LEGEND, sep="\n\n", end="\n\n")
    for promise in promises:
        print(f"{'kept  ' if promise.is_kept else 'BROKEN'}  {promise.text}")
    print(f"\n{'every promise was kept' if is_kept else 'a promise was broken'}, in {seconds:.0f} s")
    if options.json:
        document = {
            "seconds": seconds,
            "requests_per_second": options.rate,
            "rollouts": [finding.to_document() for finding in told.findings],
            "promises": [{"text": each.text, "kept": each.is_kept} for each in promises],
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if is_kept else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo_rollout",
        description="Starts a server with the sample models on the loopback, sends it traffic, and rolls "
        "out a good version of `digits` and three that were broken on purpose.",
    )
    parser.add_argument(
        "--rate", type=float, default=300.0, metavar="N", help="requests a second (default: %(default)g)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
