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
        count = arguments.count or RELOADS
        points = _watched(memory.reloads(count), every=max(1, count // 20), unit="loads and unloads")
    else:
        points = _watched(memory.requests(arguments.count or REQUESTS), every=1, unit="requests")
    return _judge(points)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("subject", choices=("reloads", "requests"))
    parser.add_argument("--count", type=int, help=f"how many; by default {RELOADS:,} and {REQUESTS:,}")
    return parser.parse_args()


def _watched(points: Iterator[Point], every: int, unit: str) -> list[Point]:
    """All of `points`; each `every`-th is printed as it comes."""
    seen = []
    for point in points:
        seen.append(point)
        if len(seen) % every == 0:
            print(f"{point.done:>9,} {unit}: {point.resident_bytes / 1e6:.1f} MB", flush=True)
    return seen


def _judge(points: list[Point]) -> int:
    start, growth = memory.after_warmup(points)[0], memory.growth(points)
    is_flat = growth <= GROWTH_LIMIT
    print(
        f"{'flat' if is_flat else 'NOT FLAT'}: {points[-1].resident_bytes / 1e6:.1f} MB at the end, "
        f"{growth:.3f} x what it was after {start.done:,} (limit {GROWTH_LIMIT:g}); "
        f"{memory.bytes_per_step(points):+,.1f} bytes each"
    )
    return 0 if is_flat else 1


if __name__ == "__main__":
    sys.exit(main())
