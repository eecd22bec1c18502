"""A scan: which models and versions the repository holds, told by `stat` alone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from headrace.repository.files.disk import DiskFolder
from headrace.repository.files.fingerprint import Fingerprint
from headrace.repository.files.folder import EntryKind, FileRefused
from headrace.repository.files.names import is_leftover, is_model_name, version_number


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """A version on disk; another fingerprint means that a file of it changed."""

    version: int
    fingerprint: Fingerprint


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model on disk, its versions in ascending order.

    `config_fingerprint` covers everything in the model's folder but the versions. `waiting` are versions
    that lack the ready marker; `ignored` tells of every other entry why it is not a version.
    """

    name: str
    versions: tuple[VersionFolder, ...] = ()
    config_fingerprint: Fingerprint = ()
    waiting: tuple[int, ...] = ()
    ignored: Mapping[str, str] = field(default_factory=dict)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version numbers, ascending."""
        return tuple(folder.version for folder in self.versions)


@dataclass(frozen=True, slots=True)
class Scan:
    """What the repository holds; `ignored` tells of every other entry why it is not a model."""

    models: Mapping[str, ModelFolder] = field(default_factory=dict)
    ignored: Mapping[str, str] = field(default_factory=dict)


def scan_folder(repository: DiskFolder, ready_marker: str | None) -> Scan:
    """What is in `repository` now; what cannot be read is ignored, with the reason."""
    models: dict[str, ModelFolder] = {}
    ignored: dict[str, str] = {}
    for name, kind in repository.entries().items():
        reason = _why_no_model(name, kind)
        if reason:
            ignored[name] = reason
            continue
        try:
            with repository.enter(name) as folder:
                models[name] = scan_model(folder, name, ready_marker)
        except FileRefused as error:
            ignored[name] = str(error)
    return Scan(models, ignored)


def scan_model(folder: DiskFolder, name: str, ready_marker: str | None) -> ModelFolder:
    """What is in a model's folder now; FileRefused where it cannot be listed."""
    versions: list[VersionFolder] = []
    waiting: list[int] = []
    ignored: dict[str, str] = {}
    entries = folder.entries()
    numbers = {entry: number for entry in entries if (number := version_number(entry)) is not None}
    for entry, number in numbers.items():
        try:
            with folder.enter(entry) as version:
                if ready_marker is not None and ready_marker not in version.entries():
                    waiting.append(number)
                else:
                    versions.append(VersionFolder(number, version.fingerprint()))
        except FileRefused as error:
            ignored[entry] = str(error)
    for entry, kind in entries.items():
        if kind in (EntryKind.FOLDER, EntryKind.LINK) and entry.isdecimal() and entry not in numbers:
            ignored[entry] = "is not a version; expected a number of 1 or more without leading zeros"
    return ModelFolder(
        name,
        tuple(sorted(versions, key=lambda found: found.version)),
        folder.fingerprint(without=frozenset(numbers)),
        tuple(sorted(waiting)),
        ignored,
    )


def _why_no_model(name: str, kind: EntryKind) -> str:
    """Why the entry is not a model, or ""."""
    if is_leftover(name):
        return "is a hidden or temporary name"
    if kind is not EntryKind.FOLDER:
        return f"is {kind.value}; expected a folder"
    if not is_model_name(name):
        return "is not a model's name; expected 1 to 128 of A-Z a-z 0-9 . _ - without a leading dot"
    return ""
