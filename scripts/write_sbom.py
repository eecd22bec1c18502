"""Writes the SBOM of the wheel in dist/ beside it, or checks the one that is there."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from headrace.version import VERSION
from supply import differences, licences, lock, release, sbom, wheel
from supply.target import Target

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where SBOM, wheel and lock do not match."""
    options = _parser().parse_args(arguments)
    try:
        return _write_and_compare(options)
    except (lock.LockError, OSError) as error:
        print(f"{error} (`make wheel` builds the wheel)", file=sys.stderr)
        return 1


def _write_and_compare(options: argparse.Namespace) -> int:
    target = Target(options.extra, options.python)
    built = wheel.read(options.folder / f"headrace-{VERSION}-py3-none-any.whl")
    pins = lock.read(ROOT / "requirements" / f"{target.extra}.lock")
    path = options.folder / _file_name(target)
    if not options.check:
        created = datetime.fromtimestamp(release.epoch(ROOT / "CHANGELOG.md", os.environ), UTC)
        path.write_text(sbom.document(built, pins, target, created, licences.declared), encoding="utf-8")
    written = json.loads(path.read_text(encoding="utf-8"))
    found = differences.find(written, built, pins, target)
    for each in found:
        print(f"{path}: {each}", file=sys.stderr)
    if not found:
        print(f"{path}: {len(written['components'])} components, as in {built.file} and {target.extra}.lock")
    return 1 if found else 0


def _file_name(target: Target) -> str:
    suffix = "" if target == Target() else f"-{target.extra}-py{target.python}"
    return f"headrace-{VERSION}{suffix}.cdx.json"


def _parser() -> argparse.ArgumentParser:
    default = Target()
    parser = argparse.ArgumentParser(
        description="Writes what the wheel in FOLDER is installed with, as CycloneDX in JSON, and compares "
        "that with the wheel's metadata and the lock file. Needs no network.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("dist"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument("--extra", choices=("cpu", "gpu"), default=default.extra, help="default: %(default)s")
    parser.add_argument(
        "--python",
        default=default.python,
        metavar="X.Y",
        help="Python it is installed on (default: %(default)s)",
    )
    parser.add_argument("--check", action="store_true", help="write nothing, compare the SBOM that is there")
    return parser


if __name__ == "__main__":
    sys.exit(main())
