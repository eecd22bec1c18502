"""CPU time and memory of a process and its children, from /proc (proc(5))."""

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Places in /proc/PID/stat, counted from the field after the command's name.
_PARENT, _USER_TICKS, _SYSTEM_TICKS = 1, 11, 12


def cpu_seconds(pid: int) -> float:
    """CPU time that the process tree under `pid` has used so far."""
    return sum(_ticks(each) for each in tree_of(pid)) / _TICKS_PER_S


def resident_bytes(pid: int) -> int:
    """Resident memory of the process tree under `pid`."""
    return sum(_resident_bytes(each) for each in tree_of(pid))


def tree_of(pid: int) -> list[int]:
    """`pid` and its descendants, parents before their children."""
    parents = {int(path.name): _parent(int(path.name)) for path in Path("/proc").glob("[0-9]*")}
    tree = [pid]
    for member in tree:
        tree += [child for child, parent in parents.items() if parent == member]
    return tree


def _parent(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[_PARENT]) if fields else None


def _ticks(pid: int) -> int:
    fields = _stat(pid)
    return int(fields[_USER_TICKS]) + int(fields[_SYSTEM_TICKS]) if fields else 0


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except (FileNotFoundError, ProcessLookupError):
        return 0


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may itself hold spaces; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []
