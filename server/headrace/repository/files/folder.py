"""A folder of the repository, on disk or in memory: files are read from within it and from nowhere else."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from enum import Enum
from typing import Protocol

from headrace.errors import LoadError
from headrace.repository.files.fingerprint import Fingerprint


class EntryKind(Enum):
    """What an entry of a folder is; only files and folders are ever opened."""

    FILE = "a file"
    FOLDER = "a folder"
    LINK = "a symbolic link"
    OTHER = "a special file"


class FileRefused(LoadError):
    """A file or folder that is missing, not regular, linked, too large or unreadable."""


class Folder(Protocol):
    """Where a model's files come from. `place` names the folder in messages: `digits/1`."""

    @property
    def place(self) -> str: ...

    def entries(self) -> Mapping[str, EntryKind]:
        """What lies directly in the folder, by name; FileRefused where it cannot be listed."""
        ...

    def enter(self, name: str) -> "AbstractContextManager[Folder]":
        """The folder `name` in this one; FileRefused where it is not there or a link."""
        ...

    def read(self, path: str, limit_bytes: int) -> bytes:
        """The whole file at the relative `path`; FileRefused, or PathRefused where the path leads out."""
        ...

    def fingerprint(self, without: frozenset[str] = frozenset()) -> Fingerprint:
        """The stamps of all files below, leftovers and the entries `without` excepted."""
        ...
