"""Which version answers a request: the one it names, the one its model's route means, or the newest."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from headrace.core.request import InferenceRequest, Reply
from headrace.core.route import STABLE, Route, Shadow
from headrace.model.model import Model
from headrace.model.registry import Registry
from headrace.router.active_route import ActiveRoute, Surroundings
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
    listeners: Sequence[Listener]
    breakers: dict[int, "_Watched"] = field(default_factory=dict)
    met: tuple[dict[int, Model], Model | None] = field(default_factory=lambda: ({}, None))


@dataclass(frozen=True, slots=True)
class _Watched:
    """A breaker, the model that it watches, and what ends that."""

    model: Model
    breaker: Breaker
    end: Callable[[], None]


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
        return self._registry.ready(name).get(routed.route.default)

    def route_of(self, name: str) -> Route | None:
        """The route of `name`, if it has one."""
        routed = self._routed.get(name)
        return routed.route if routed else None

    def needed(self, name: str) -> frozenset[int]:
        """The versions that the route of `name` sends requests to."""
        routed = self._routed.get(name)
        return routed.route.versions if routed else frozenset()

    def set_route(self, name: str, route: Route | None) -> None:
        """From the next request on `name` is routed so; None: the newest version answers."""
        before = self._routed.pop(name, None)
        if before is not None:
            self._keep_counts(before)
            for watched in before.breakers.values():
                watched.end()
        listeners = self._listeners.of(name, route.shadows if route else ()) if self._listeners else ()
        if route is not None:
            self._set(name, route, listeners, before)
        self._follow_registry()

    def routed_names(self) -> Sequence[str]:
        """The models that have a route."""
        return list(self._routed)

    def breakers(self, name: str) -> Mapping[int, BreakerState]:
        """The state of each version that has a breaker."""
        routed = self._routed.get(name)
        return {version: each.breaker.state for version, each in routed.breakers.items()} if routed else {}

    def counts(self) -> Iterator[tuple[str, str, str, int]]:
        """How many requests each version has got because of a route: model, version, why, count."""
        counts = Counter(self._counts)
        for routed in self._routed.values():
            for model, version, why, count in routed.active.counts():
                counts[model, version, why] += count
        for (model, version, why), count in counts.items():
            yield model, version, why, count

    def _set(self, name: str, route: Route, listeners: Sequence[Listener], before: "_Routed | None") -> None:
        turn = before.active.turn if before and before.route.weights == route.weights else 0
        routed = _Routed(route, ActiveRoute(name, route, _nothing(), turn), listeners)
        self._routed[name] = routed
        self._activate(name, routed)

    def _number(self, name: str, label: str) -> str:
        """The version that `label` means, as text, or `label` itself where it is none."""
        routed = self._routed.get(name)
        if routed is None:
            return "" if label == STABLE else label
        number = routed.route.number(label) if label else routed.route.default
        return label if number is None else str(number)

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
        states = {version: each.breaker.state for version, each in routed.breakers.items()}
        around = Surroundings(ready, states, other, routed.listeners)
        self._keep_counts(routed)
        routed.active = ActiveRoute(name, routed.route, around, routed.active.turn)

    def _watch(self, name: str, routed: _Routed, ready: Mapping[int, Model]) -> None:
        """Sees to it that each version has a breaker, where there is somebody to fall back to."""
        fallback = routed.route.fallback
        for version, watched in list(routed.breakers.items()):
            if ready.get(version) is not watched.model:
                watched.end()
                del routed.breakers[version]
        for version, model in ready.items():
            if fallback and version in routed.route.versions and version not in routed.breakers:
                breaker = Breaker(
                    fallback,
                    lambda: self._breaker_changed(name, routed),
                    self._loop.call_later,
                    time.monotonic,
                )
                routed.breakers[version] = _Watched(model, breaker, model.watch(breaker))

    def _breaker_changed(self, name: str, routed: _Routed) -> None:
        if self._routed.get(name) is routed:
            self._activate(name, routed)

    def _keep_counts(self, routed: _Routed) -> None:
        for model, version, why, count in routed.active.counts():
            self._counts[model, version, why] += count


def _nothing() -> Surroundings:
    return Surroundings({}, {}, None)
