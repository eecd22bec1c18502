"""When what is on disk has settled: nobody is still writing, removing or swapping it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from headrace.repository.files.fingerprint import Fingerprint
from headrace.repository.files.scan import ModelFolder, Scan, VersionFolder

# A model's version, or its configuration where the version is 0.
_Part: TypeAlias = tuple[str, int]
_CONFIG = 0


@dataclass(frozen=True, slots=True)
class _Sighting:
    """How a part looked, and since when it looks so; a fingerprint of None means that it is not there."""

    fingerprint: Fingerprint | None
    since_s: float


class Settling:
    """Turns scans into settled scans: each part keeps its settled look until another one has lasted.

    A part is a version or the rest of a model's folder. A change of it (a removal is one, too) counts once
    the part has looked the same for `settle_s` seconds. With `has_marker` a version counts as soon as its
    ready marker is there, which a scan tells by listing it under `versions` and not under `waiting`; a
    version in `waiting` keeps its settled look for as long as it waits.
    """

    def __init__(self, settle_s: float, *, has_marker: bool = False, settled: Scan | None = None) -> None:
        self._settle_s = settle_s
        self._has_marker = has_marker
        self._settled: dict[_Part, Fingerprint] = _parts(settled) if settled is not None else {}
        self._sightings: dict[_Part, _Sighting] = {}

    def observe(self, scan: Scan, now_s: float) -> tuple[Scan, float | None]:
        """The settled scan, and when to look again: the earliest time a change may have settled, or None."""
        seen = _parts(scan)
        waiting = {(model.name, version) for model in scan.models.values() for version in model.waiting}
        due: list[float] = []
        for part in sorted({*seen, *self._settled}):
            if part in waiting:
                self._sightings.pop(part, None)
                continue
            settles_at = self._settles_at(part, seen.get(part), now_s)
            if settles_at is None:
                continue
            if settles_at <= now_s:
                self._settle(part, seen.get(part))
            else:
                due.append(settles_at)
        self._forget({*seen, *self._settled})
        return self._settled_scan(scan), min(due, default=None)

    def _settles_at(self, part: _Part, fingerprint: Fingerprint | None, now_s: float) -> float | None:
        """When the look of `part` counts, or None where it is the settled one already."""
        if fingerprint == self._settled.get(part):
            self._sightings.pop(part, None)
            return None
        sighting = self._sightings.get(part)
        if sighting is None or sighting.fingerprint != fingerprint:
            sighting = self._sightings[part] = _Sighting(fingerprint, now_s)
        is_marked = self._has_marker and part[1] != _CONFIG and fingerprint is not None
        return sighting.since_s if is_marked else sighting.since_s + self._settle_s

    def _settle(self, part: _Part, fingerprint: Fingerprint | None) -> None:
        del self._sightings[part]
        if fingerprint is None:
            del self._settled[part]
        else:
            self._settled[part] = fingerprint

    def _forget(self, parts: Iterable[_Part]) -> None:
        """Drops sightings of parts that came and went before they settled."""
        for part in self._sightings.keys() - set(parts):
            del self._sightings[part]

    def _settled_scan(self, scan: Scan) -> Scan:
        names = sorted({name for name, version in self._settled if version == _CONFIG})
        return Scan({name: self._settled_model(name, scan.models) for name in names}, scan.ignored)

    def _settled_model(self, name: str, found: Mapping[str, ModelFolder]) -> ModelFolder:
        numbers = sorted(version for model, version in self._settled if model == name and version != _CONFIG)
        return replace(
            found.get(name, ModelFolder(name)),
            versions=tuple(VersionFolder(number, self._settled[name, number]) for number in numbers),
            config_fingerprint=self._settled[name, _CONFIG],
        )


def youngest_age_s(scan: Scan, now_ns: int) -> float:
    """How long ago, in seconds, the file that was written last was written; `now_ns` is on time.time_ns."""
    stamps = [stamp.modified_ns for fingerprint in _parts(scan).values() for stamp in fingerprint]
    return (now_ns - max(stamps)) / 1e9 if stamps else float("inf")


def _parts(scan: Scan) -> dict[_Part, Fingerprint]:
    """The fingerprint of every part of `scan`."""
    parts: dict[_Part, Fingerprint] = {}
    for name, model in scan.models.items():
        parts[name, _CONFIG] = model.config_fingerprint
        parts.update({(name, folder.version): folder.fingerprint for folder in model.versions})
    return parts
