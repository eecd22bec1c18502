"""Standard output that may be full, closed, or read by nobody any more."""

import os
import sys


def open_closed_streams() -> None:
    """Gives the standard descriptors that are closed to the null device.

    Otherwise the next file or socket would get their numbers, and whoever writes to standard error would
    write into it.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def discard() -> None:
    """From now on what is written to standard output goes nowhere, what it still holds included."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(text: str) -> None:
    """Prints `text` for whoever may be reading; that nobody can is no reason to end."""
    try:
        print(text, flush=True)
    except OSError:
        discard()
