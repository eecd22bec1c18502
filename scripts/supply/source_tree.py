"""The files that a build may see: what git tracks, with modes and times that are the same everywhere."""

import os
import shutil
import stat
import subprocess
from pathlib import Path


def tracked(root: Path) -> list[Path]:
    """Relative to `root`; without those that were deleted."""
    return [path for path in _listed(root, "--cached") if (root / path).is_file()]


def untracked(root: Path, *folders: str) -> list[Path]:
    """Files below `folders` that git neither tracks nor ignores, relative to `root`."""
    return _listed(root, "--others", "--exclude-standard", "--", *folders)


def copy(root: Path, target: Path, epoch: int) -> None:
    """Copies what is tracked to `target`: modes 644 and 755, each file's time `epoch`."""
    for path in tracked(root):
        source, copied = root / path, target / path
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copied)
        copied.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)
        os.utime(copied, (epoch, epoch))


def _listed(root: Path, *words: str) -> list[Path]:
    command = ["git", "-C", str(root), "ls-files", "-z", *words]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return sorted(Path(name) for name in listed.split("\0") if name)
