"""Which version answers a request: the one it names, the one its model's route means, or the newest."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from headrace.core.request import InferenceRequest, Reply
from headrace.core.route import STABLE, Route, Shadow
from headrace.model.model import Model
from headrace.model.registry import Registry
from headrace.router.active_route import ActiveRoute, Surroundings, standing
from headrace.router.breaker import Breaker, BreakerState
from headrace.router.target import Listener

NEWEST = {"headrace_route": "newest"}
NAMED = {"headrace_route": "version"}
LABEL = {"headrace_route": "label"}


class Destination(Protocol):
    """Who takes a request on."""

    def submit(self, request: InferenceRequest, reply: Reply) -> None:
        """Raises what is wrong with it at once; it is answered later."""
        ...


class Listeners(Protocol):
    """Where the shadows of a model's route are made."""

    def of(self, name: str, shadows: Sequence[Shadow]) -> Sequence[Listener]: ...


@dataclass(slots=True)
class _Routed:
    """A model that has a route."""

    route: Route
    active: ActiveRoute
    listeners: Sequence[Listener] = ()
    breakers: dict[int, "_Watched"] = field(default_factory=dict)
    met: tuple[dict[int, Model], Model | None] = field(default_factory=lambda: ({}, None))


@dataclass(frozen=True, slots=True)
class _Watched:
    """A breaker, the model that it watches, and what ends that."""

    model: Model
    breaker: Breaker
    unwatch: Callable[[], None]

    def end(self) -> None:
        self.unwatch()
        self.breaker.stop()


class Router:
    """Asked once per request, on the event loop. Every request sees a model's old route or its new one."""

    def __init__(
        self, registry: Registry, loop: asyncio.AbstractEventLoop, listeners: Listeners | None = None
    ) -> None:
        self._registry = registry
        self._loop = loop
        self._listeners = listeners
        self._routed: dict[str, _Routed] = {}
        self._counts: Counter[tuple[str, str, str]] = Counter()
        registry.listen(self._follow_registry)

    def knows(self, model_name: str) -> bool:
        """Whether a version of it is ready."""
        return self._registry.newest(model_name) is not None

    def route(self, request: InferenceRequest) -> Destination:
        """Who answers. NotFound, Unavailable or InvalidArgument where nobody does."""
        version = request.model_version
        if version:
            if request.wants_route:
                request.notes = NAMED if version.isdecimal() else LABEL
            return self.find(request.model_name, version)
        routed = self._routed.get(request.model_name)
        if routed is not None:
            return routed.active.choose(request)
        if request.wants_route:
            request.notes = NEWEST
        return self._registry.find(request.model_name, "")

    def find(self, name: str, version: str) -> Model:
        """The ready model of `version`, a number or a label, or with "" the one that stands for the model.

        NotFound, Unavailable or InvalidArgument where there is none.
        """
        return self._registry.find(name, version if version.isdecimal() else self._number(name, version))

    def default(self, name: str) -> Model | None:
        """The ready model that stands for `name` where no version is named."""
        routed = self._routed.get(name)
        if routed is None:
            return self._registry.newest(name)
        ready = self._registry.ready(name)
        version = standing(routed.route, ready)
        return None if version is None else ready[version]

    def route_of(self, name: str) -> Route | None:
        """The route of `name`, if it has one."""
        routed = self._routed.get(name)
        return routed.route if routed else None

    def needed(self, name: str) -> frozenset[int]:
        """The versions that the route of `name` sends requests to."""
        routed = self._routed.get(name)
        return routed.route.versions if routed else frozenset()

    def set_route(self, name: str, route: Route | None) -> None:
        """From the next request on `name` is routed so; None: the newest version answers.

        Where `route` cannot be followed, what this raises leaves the old one in force.
        """
        before = self._routed.get(name)
        after = self._tried(name, route, before) if route else None
        listeners = self._listeners.of(name, route.shadows if route else ()) if self._listeners else ()
        if before is not None:
            self._take_away(name, before, after)
        if after is not None:
            after.listeners = listeners
            self._routed[name] = after
            self._activate(name, after)
        self._follow_registry()

    def routed_names(self) -> Sequence[str]:
        """The models that have a route."""
        return list(self._routed)

    def breakers(self, name: str) -> Mapping[int, BreakerState]:
        """The state of each version that has a breaker."""
        routed = self._routed.get(name)
        return _states(routed.breakers) if routed else {}

    def counts(self) -> Iterator[tuple[str, str, str, int]]:
        """How many requests each version has got because of a route: model, version, why, count."""
        counts = Counter(self._counts)
        for routed in self._routed.values():
            for model, version, why, count in routed.active.counts():
                counts[model, version, why] += count
        for (model, version, why), count in counts.items():
            yield model, version, why, count

    def _tried(self, name: str, route: Route, before: _Routed | None) -> _Routed:
        """`route` with what it goes on with of the one `before`; changes nothing yet."""
        turn = before.active.turn if before and before.route.weights == route.weights else 0
        breakers = before.breakers if before and before.route.fallback == route.fallback else {}
        ready, other = self._meets(name, route)
        active = ActiveRoute(name, route, Surroundings(ready, _states(breakers), other), turn)
        return _Routed(route, active, breakers=breakers)

    def _take_away(self, name: str, before: _Routed, after: _Routed | None) -> None:
        """Ends what `after`, which comes next, does not go on with."""
        del self._routed[name]
        self._keep_counts(before)
        if after is None or after.breakers is not before.breakers:
            for watched in before.breakers.values():
                watched.end()

    def _number(self, name: str, label: str) -> str:
        """The version that `label` means, as text, or `label` itself where it is none."""
        routed = self._routed.get(name)
        if routed is None:
            return "" if label == STABLE else label
        if label:
            number = routed.route.number(label)
            return label if number is None else str(number)
        return str(standing(routed.route, self._registry.ready(name)) or routed.route.default)

    def _follow_registry(self) -> None:
        """Activates anew what meets other models than before."""
        for name, routed in self._routed.items():
            if routed.met != self._meets(name, routed.route):
                self._activate(name, routed)

    def _meets(self, name: str, route: Route) -> tuple[dict[int, Model], Model | None]:
        """The ready versions of `name`, and of a model that stands in for it the default one."""
        other = route.fallback.model if route.fallback else ""
        return dict(self._registry.ready(name)), self.default(other) if other else None

    def _activate(self, name: str, routed: _Routed) -> None:
        routed.met = self._meets(name, routed.route)
        ready, other = routed.met
        self._watch(name, routed, ready)
        around = Surroundings(ready, _states(routed.breakers), other, routed.listeners)
        active = ActiveRoute(name, routed.route, around, routed.active.turn)
        self._keep_counts(routed)
        routed.active = active

    def _watch(self, name: str, routed: _Routed, ready: Mapping[int, Model]) -> None:
        """Sees to it that each version has a breaker, where there is somebody to fall back to."""
        fallback, versions = routed.route.fallback, routed.route.versions
        for version, watched in list(routed.breakers.items()):
            if version not in versions or ready.get(version) is not watched.model:
                watched.end()
                del routed.breakers[version]
        for version, model in ready.items():
            if fallback and version in versions and version not in routed.breakers:
                # Knows no more than the name: models that retire must not wait for the garbage collector.
                changed = partial(self._breaker_changed, name)
                breaker = Breaker(fallback, changed, self._loop.call_later, time.monotonic)
                routed.breakers[version] = _Watched(model, breaker, model.watch(breaker))

    def _breaker_changed(self, name: str) -> None:
        routed = self._routed.get(name)
        if routed is not None:
            self._activate(name, routed)

    def _keep_counts(self, routed: _Routed) -> None:
        for model, version, why, count in routed.active.counts():
            self._counts[model, version, why] += count


def _states(breakers: Mapping[int, _Watched]) -> dict[int, BreakerState]:
    return {version: each.breaker.state for version, each in breakers.items()}
