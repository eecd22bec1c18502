"""A folder whose files came with a request: the same answers as a folder on disk, from memory."""

from collections.abc import Mapping
from types import TracebackType

from headrace.repository.files.fingerprint import Fingerprint
from headrace.repository.files.folder import EntryKind, FileRefused
from headrace.repository.files.names import components


class MemoryFolder:
    """The `files` by their path below the folder; PathRefused or FileRefused where paths are not sound."""

    def __init__(self, place: str, files: Mapping[str, bytes]) -> None:
        self.place = place
        self._files = {"/".join(components(path)): data for path, data in files.items()}
        self._check_paths(len(files))

    def __enter__(self) -> "MemoryFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def entries(self) -> dict[str, EntryKind]:
        return {
            path.split("/")[0]: EntryKind.FOLDER if "/" in path else EntryKind.FILE
            for path in sorted(self._files)
        }

    def enter(self, name: str) -> "MemoryFolder":
        prefix = f"{name}/"
        inner = {
            path.removeprefix(prefix): data for path, data in self._files.items() if path.startswith(prefix)
        }
        if not inner:
            raise FileRefused(f"{self.place}/{name} is not among the files of the request")
        return MemoryFolder(f"{self.place}/{name}", inner)

    def read(self, path: str, limit_bytes: int) -> bytes:
        name = "/".join(components(path))
        data = self._files.get(name)
        if data is None:
            raise FileRefused(f"{self.place}/{name} is not among the files of the request")
        if len(data) > limit_bytes:
            raise FileRefused(f"{self.place}/{name} holds {len(data)} bytes; at most {limit_bytes} are read")
        return data

    def fingerprint(self, without: frozenset[str] = frozenset()) -> Fingerprint:
        """Empty: what is in memory does not change."""
        return ()

    def _check_paths(self, given: int) -> None:
        if len(self._files) != given:
            raise FileRefused(f"{self.place}: the request names a file twice")
        for path in self._files:
            for end in (at for at, character in enumerate(path) if character == "/"):
                if path[:end] in self._files:
                    raise FileRefused(f"{self.place}: {path[:end]!r} is both a file and a folder")
