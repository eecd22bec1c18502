"""Figures with their units, for people."""

from datetime import datetime


def duration(microseconds: float) -> str:
    """In the unit that leaves one to four digits before the point."""
    if microseconds < 1000:
        return f"{microseconds:.0f} µs"
    if microseconds < 1_000_000:
        return f"{microseconds / 1000:.1f} ms"
    return f"{microseconds / 1_000_000:.2f} s"


def moment(epoch_ns: int) -> str:
    """Local date and time, to the millisecond."""
    at = datetime.fromtimestamp(epoch_ns / 1e9)
    return at.isoformat(sep=" ", timespec="milliseconds")
