"""The files of a version's folder `golden`, read within limits."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from headrace.errors import LoadError
from headrace.repository.files.folder import FileRefused, Folder
from headrace.repository.files.names import is_leftover
from headrace.repository.problems import Problem

FOLDER = "golden"
SUFFIX = ".json"
MAX_FILES = 256
# Of all files together.
MAX_BYTES = 16 << 20


@dataclass(slots=True)
class GoldenFiles:
    """The contents by path in the version's folder, which is `place`; what could not be read is a problem.

    `notes` tell of what lies there and is not read.
    """

    place: str
    data: dict[str, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def sha256(self) -> Mapping[str, str]:
        """The digests of what was read, by path."""
        return {path: sha256(data).hexdigest() for path, data in self.data.items()}


def read_files(version: Folder) -> GoldenFiles:
    """All golden requests of `version`; none where it has no folder for them."""
    files = GoldenFiles(version.place)
    if FOLDER in version.entries():
        try:
            with version.enter(FOLDER) as folder:
                _read_folder(folder, files)
        except LoadError as error:
            files.problems.append(_problem(f"{version.place}/{FOLDER}", error))
    return files


def _read_folder(folder: Folder, files: GoldenFiles) -> None:
    names = [name for name in folder.entries() if not is_leftover(name)]
    wanted = [name for name in names if name.endswith(SUFFIX)]
    files.notes += [
        f"{folder.place}/{name} is not read: golden requests are *{SUFFIX} files"
        for name in names
        if not name.endswith(SUFFIX)
    ]
    if len(wanted) > MAX_FILES:
        raise FileRefused(f"{folder.place} holds {len(wanted)} golden requests; at most {MAX_FILES} are read")
    size = 0
    for name in wanted:
        try:
            data = folder.read(name, MAX_BYTES)
        except LoadError as error:
            files.problems.append(_problem(f"{folder.place}/{name}", error))
            continue
        size += len(data)
        if size > MAX_BYTES:
            raise FileRefused(f"{folder.place} holds more than {MAX_BYTES} bytes of golden requests")
        files.data[f"{FOLDER}/{name}"] = data


def _problem(place: str, error: LoadError) -> Problem:
    return Problem(place, "", str(error).removeprefix(f"{place} "))
