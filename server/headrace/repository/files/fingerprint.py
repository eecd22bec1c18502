"""Fingerprints of folders: what `stat` tells of every file, enough to see that something changed."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, order=True)
class FileStamp:
    """One file of a folder; `path` is relative to it."""

    path: str
    size_bytes: int
    modified_ns: int
    inode: int


Fingerprint: TypeAlias = tuple[FileStamp, ...]
