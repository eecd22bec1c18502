"""The models in memory: which versions there are, in which state, and which one answers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from headrace.core.route import version_number
from headrace.errors import InvalidArgument, NotFound, Unavailable
from headrace.model.model import Model
from headrace.model.state import ModelState


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version's place in its life, with the reason where it is not ready."""

    version: int
    state: ModelState
    reason: str = ""


class Registry:
    """Read on every request, written when a model is loaded or unloaded; event loop only.

    What a reader sees of one model changes in one step (`publish`).
    """

    def __init__(self) -> None:
        self._newest: dict[str, Model] = {}
        self._ready: dict[str, dict[int, Model]] = {}
        self._statuses: dict[str, dict[int, VersionStatus]] = {}
        self._listeners: list[Callable[[], None]] = []

    def find(self, name: str, version: str) -> Model:
        """The ready model of `version`, "" for the newest; NotFound, Unavailable or InvalidArgument."""
        if not version:
            model = self._newest.get(name)
            if model is None:
                raise self._none_ready(name)
            return model
        number = parse_version(version)
        model = self._ready.get(name, {}).get(number)
        if model is None:
            raise self._not_ready(name, number)
        return model

    def newest(self, name: str) -> Model | None:
        return self._newest.get(name)

    def ready(self, name: str) -> Mapping[int, Model]:
        """The ready versions of `name`, ascending."""
        return self._ready.get(name, {})

    def models(self) -> Iterator[Model]:
        """Every ready version of every model."""
        for versions in list(self._ready.values()):
            yield from list(versions.values())

    def names(self) -> list[str]:
        """The models that are, or once were, loaded or tried."""
        return sorted(self._statuses)

    def statuses(self, name: str) -> list[VersionStatus]:
        """The versions of `name` that were ever tried, ascending."""
        return [status for _, status in sorted(self._statuses.get(name, {}).items())]

    def publish(self, name: str, ready: Mapping[int, Model]) -> None:
        """From now on exactly the versions `ready` of `name` answer."""
        versions = dict(sorted(ready.items()))
        before = self._ready.get(name, {})
        if versions:
            self._ready[name] = versions
            self._newest[name] = versions[max(versions)]
        else:
            self._ready.pop(name, None)
            self._newest.pop(name, None)
        for version, model in versions.items():
            if before.get(version) is not model:
                model.watch_ability(self._changed)
                self._note(name, VersionStatus(version, ModelState.READY))
        self._changed()

    def note(self, name: str, status: VersionStatus) -> None:
        """Remembers what became of a version that is not (or not yet) ready."""
        self._note(name, status)
        self._changed()

    def forget(self, name: str, version: int) -> None:
        """Drops a version that is neither ready nor in the repository any more."""
        statuses = self._statuses.get(name, {})
        statuses.pop(version, None)
        if not statuses:
            self._statuses.pop(name, None)
        self._changed()

    def listen(self, changed: Callable[[], None]) -> Callable[[], None]:
        """`changed` is called after every change; returns what ends that."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def _note(self, name: str, status: VersionStatus) -> None:
        self._statuses.setdefault(name, {})[status.version] = status

    def _changed(self) -> None:
        for changed in list(self._listeners):
            changed()

    def _none_ready(self, name: str) -> NotFound:
        if name in self._statuses:
            return NotFound(f"Request for unknown model: '{name}' has no available versions")
        return NotFound(f"Request for unknown model: '{name}' is not found")

    def _not_ready(self, name: str, version: int) -> NotFound | Unavailable:
        status = self._statuses.get(name, {}).get(version)
        if name not in self._statuses:
            return NotFound(f"Request for unknown model: '{name}' is not found")
        if status is None:
            return NotFound(f"Request for unknown model: '{name}' version {version} is not found")
        return Unavailable(f"Request for unknown model: '{name}' version {version} is not at ready state")


def parse_version(version: str) -> int:
    """The number that a caller's version string means; InvalidArgument where it means none."""
    number = version_number(version)
    if number is not None:
        return number
    raise InvalidArgument(
        f"failed to get model version from specified version string '{version[:64]}' "
        "(details: not a decimal number), version should be an integral value > 0, or a label that the "
        "model's route has now"
    )
