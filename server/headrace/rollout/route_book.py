"""The routes of all models as they are kept, and the router that follows them."""

from collections.abc import Sequence
from dataclasses import replace

from headrace.core.route import Route
from headrace.rollout.kept_route import KeptRoute, RouteOrigin
from headrace.router.breaker import BreakerState
from headrace.router.router import Router


class RouteBook:
    """What the router does is what is written here."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._kept: dict[str, KeptRoute] = {}
        self._revisions: dict[str, int] = {}

    def all(self) -> Sequence[KeptRoute]:
        return list(self._kept.values())

    def get(self, model: str) -> KeptRoute | None:
        return self._kept.get(model)

    def in_force(self, model: str) -> Route | None:
        """None where the newest version answers."""
        return self._router.route_of(model)

    def default(self, model: str) -> int | None:
        """The version that answers those who name none; None where it is not ready."""
        found = self._router.default(model)
        return found.version if found else None

    def is_broken(self, model: str, version: int) -> bool:
        """Whether the version's circuit breaker is open."""
        return self._router.breakers(model).get(version) is BreakerState.OPEN

    def following(
        self,
        model: str,
        route: Route | None,
        origin: RouteOrigin,
        set_by: str = "",
        previous_until_s: float = 0.0,
    ) -> KeptRoute:
        """The route that comes after the present one, and after all that were made but not taken yet."""
        before = self._kept.get(model)
        revision = max(before.revision if before else 0, self._revisions.get(model, 0)) + 1
        self._revisions[model] = revision
        marked = replace(route, revision=revision) if route else None
        return KeptRoute(model, marked, revision, origin, set_by or origin.value, previous_until_s)

    def take(self, kept: KeptRoute) -> None:
        """From the next request on `kept` is the model's route."""
        self._router.set_route(kept.model, kept.route)
        self._kept[kept.model] = kept
