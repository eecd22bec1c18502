"""Long runs that break when memory does not stay flat: `python -m benchmarks.soak reloads|requests`."""

import argparse
import sys
from collections.abc import Iterator

from benchmarks import memory
from benchmarks.memory import GROWTH_LIMIT, Point

RELOADS = 500
REQUESTS = 1_000_000


def main() -> int:
    """0 where memory stayed flat, 1 where it did not."""
    arguments = _parse()
    if arguments.subject == "reloads":
        points = memory.reloads(arguments.count or RELOADS)
    else:
        points = memory.requests(arguments.count or REQUESTS)
    return _judge(_watched(points, arguments.subject))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("subject", choices=("reloads", "requests"))
    parser.add_argument("--count", type=int, help=f"how many; by default {RELOADS:,} and {REQUESTS:,}")
    return parser.parse_args()


def _watched(points: Iterator[Point], subject: str) -> list[Point]:
    """All of `points`, each printed as it comes."""
    seen = []
    for point in points:
        seen.append(point)
        print(f"{point.done:>9,} {subject}: {point.resident_bytes / 1e6:.1f} MB", flush=True)
    return seen


def _judge(points: list[Point]) -> int:
    growth = memory.growth(points)
    is_flat = growth <= GROWTH_LIMIT
    print(
        f"{'flat' if is_flat else 'NOT FLAT'}: {growth:.3f} x (limit {GROWTH_LIMIT:g}) from the second tenth "
        f"to the last; {memory.bytes_each(points):+,.1f} bytes each"
    )
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
