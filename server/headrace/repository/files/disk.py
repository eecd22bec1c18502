"""A folder on disk, held by its descriptor: whatever is renamed meanwhile, nothing outside it is read."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path
from types import TracebackType

from headrace.repository.files.fingerprint import FileStamp, Fingerprint
from headrace.repository.files.folder import EntryKind, FileRefused
from headrace.repository.files.names import components, is_leftover
from headrace.repository.files.pieces import InPieces

_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# A named pipe opened without O_NONBLOCK would wait for its writer for ever.
_OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH = 8
_MAX_FILES = 10_000


class DiskFolder:
    """One folder; every step below it is opened relative to it, and symbolic links are never followed."""

    def __init__(self, descriptor: int, place: str) -> None:
        self._descriptor = descriptor
        self.place = place

    @classmethod
    def open(cls, path: Path, place: str) -> "DiskFolder":
        """The folder at `path`, which the operator named and which may be a link."""
        try:
            return cls(os.open(path, _OPEN_FOLDER), place)
        except OSError as error:
            raise FileRefused(f"{place} {_reason(error)}") from error

    def __enter__(self) -> "DiskFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def entries(self) -> dict[str, EntryKind]:
        try:
            with os.scandir(self._descriptor) as found:
                return {entry.name: _kind(entry) for entry in sorted(found, key=lambda entry: entry.name)}
        except OSError as error:
            raise FileRefused(f"{self.place} {_reason(error)}") from error

    def enter(self, name: str) -> "DiskFolder":
        place = f"{self.place}/{name}" if self.place else name
        try:
            descriptor = os.open(name, _OPEN_FOLDER | os.O_NOFOLLOW, dir_fd=self._descriptor)
        except OSError as error:
            raise FileRefused(f"{place} {self._why(name, error)}") from error
        return DiskFolder(descriptor, place)

    def read(self, path: str, limit_bytes: int) -> bytes:
        *folders, name = components(path)
        with ExitStack() as opened:
            folder = self
            for step in folders:
                folder = opened.enter_context(folder.enter(step))
            return folder._read_here(name, limit_bytes)

    def fingerprint(self, without: frozenset[str] = frozenset()) -> Fingerprint:
        stamps: list[FileStamp] = []
        for stamp in self._stamps("", without, _MAX_DEPTH):
            stamps.append(stamp)
            if len(stamps) > _MAX_FILES:
                raise FileRefused(f"{self.place} holds more than {_MAX_FILES} files")
        return tuple(sorted(stamps))

    def _read_here(self, name: str, limit_bytes: int) -> bytes:
        place = f"{self.place}/{name}" if self.place else name
        try:
            descriptor = os.open(name, _OPEN_FILE, dir_fd=self._descriptor)
            with BufferedReader(InPieces(descriptor)) as file:
                before = os.fstat(descriptor)
                _check_file(before, place, limit_bytes)
                data = file.read(before.st_size)
                after = os.fstat(descriptor)
        except OSError as error:
            raise FileRefused(f"{place} {self._why(name, error)}") from error
        if len(data) != before.st_size or _version(before) != _version(after):
            raise FileRefused(f"{place} changed while it was read; try again once it is written")
        return data

    def _why(self, name: str, error: OSError) -> str:
        """The reason that `name` could not be opened, in words."""
        try:
            mode = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False).st_mode
        except (OSError, ValueError):
            return _reason(error)
        return "is a symbolic link, which is never followed" if stat.S_ISLNK(mode) else _reason(error)

    def _stamps(self, prefix: str, without: frozenset[str], depth: int) -> Iterator[FileStamp]:
        for name, kind in self.entries().items():
            if is_leftover(name) or name in without:
                continue
            if kind is not EntryKind.FOLDER:
                yield self._stamp(name, prefix + name)
            elif depth:
                with self.enter(name) as folder:
                    yield from folder._stamps(f"{prefix}{name}/", frozenset(), depth - 1)
            else:
                raise FileRefused(f"{self.place}/{name} is nested more than {_MAX_DEPTH} folders deep")

    def _stamp(self, name: str, path: str) -> FileStamp:
        try:
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except OSError as error:
            raise FileRefused(f"{self.place}/{name} {_reason(error)}") from error
        return FileStamp(path, found.st_size, found.st_mtime_ns, found.st_ino)


def _check_file(found: os.stat_result, place: str, limit_bytes: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(f"{place} is not a regular file")
    if found.st_nlink != 1:
        # A second name may lie anywhere: CVE-2026-34447 reads /etc/shadow through one.
        raise FileRefused(f"{place} has {found.st_nlink} hard links; expected a file of its own")
    if found.st_size > limit_bytes:
        raise FileRefused(f"{place} holds {found.st_size} bytes; at most {limit_bytes} are read")


def _version(found: os.stat_result) -> tuple[int, int, int]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _kind(entry: "os.DirEntry[str]") -> EntryKind:
    if entry.is_symlink():
        return EntryKind.LINK
    if entry.is_dir(follow_symlinks=False):
        return EntryKind.FOLDER
    return EntryKind.FILE if entry.is_file(follow_symlinks=False) else EntryKind.OTHER


def _reason(error: OSError) -> str:
    """Why the system refuses, without the path that Python adds."""
    match error.errno:
        case errno.ENOENT:
            return "does not exist"
        case errno.ENOTDIR:
            return "is not a folder"
        case errno.ELOOP:
            return "is a symbolic link, which is never followed"
        case errno.EACCES | errno.EPERM:
            return "may not be read by this user"
        case errno.EISDIR:
            return "is a folder, not a file"
        case _:
            return f"cannot be read: {error.strerror}"
