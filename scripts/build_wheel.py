"""Builds headrace's wheel and sdist, and tells their digests."""

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from supply import packages, release, source_tree

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 where it cannot be built."""
    options = _parser().parse_args(arguments)
    if stray := source_tree.untracked(ROOT, "server", "protos"):
        names = ", ".join(map(str, stray))
        print(f"git does not track these, so they would not be in the wheel: {names}", file=sys.stderr)
        return 1
    epoch = release.epoch(ROOT / "CHANGELOG.md", os.environ)
    try:
        built = packages.build(ROOT, options.folder, epoch, check_tools=not options.any_tools)
    except packages.BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for path in built:
        print(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Builds wheel and sdist from a clean copy of what git tracks. The same source and tools "
        "give the same bytes, whatever the folder, the user and the day. Needs no network.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path("dist"), metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--any-tools",
        action="store_true",
        help="with other tools than pyproject.toml names, for tests",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
