"""The last attempt to load each version: from which files, and what went wrong, if anything."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from headrace.repository.files.fingerprint import Fingerprint
from headrace.repository.files.scan import ModelFolder

# How a version and its model's configuration looked on disk.
Seen: TypeAlias = tuple[Fingerprint, Fingerprint]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt; `reason` tells why it failed, or is None where the version was loaded.

    In words and not as an exception: that would keep what its traceback reaches, the model's bytes among it.
    """

    seen: Seen
    reason: str | None = None


class Attempts:
    """Tells which versions of a model have changed since they were last tried."""

    def __init__(self) -> None:
        self._by_model: dict[str, dict[int, Attempt]] = {}

    def names(self) -> list[str]:
        """The models of which any version was tried and not forgotten."""
        return list(self._by_model)

    def is_due(self, name: str, version: int, seen: Seen) -> bool:
        """True where the version was never tried from files that look like `seen`."""
        attempt = self._by_model.get(name, {}).get(version)
        return attempt is None or attempt.seen != seen

    def note(self, name: str, version: int, seen: Seen, reason: str | None) -> None:
        self._by_model.setdefault(name, {})[version] = Attempt(seen, reason)

    def failures(self, name: str) -> dict[int, str]:
        """What went wrong with which version, ascending."""
        attempts = sorted(self._by_model.get(name, {}).items())
        return {version: attempt.reason for version, attempt in attempts if attempt.reason is not None}

    def keep_only(self, name: str, versions: Iterable[int]) -> None:
        """Forgets the attempts at other versions: they are tried again should they come back."""
        attempts = self._by_model.get(name, {})
        for version in set(attempts) - set(versions):
            del attempts[version]

    def forget(self, name: str) -> None:
        self._by_model.pop(name, None)


def looks(folder: ModelFolder) -> dict[int, Seen]:
    """How each version of `folder` looks."""
    return {each.version: (each.fingerprint, folder.config_fingerprint) for each in folder.versions}
