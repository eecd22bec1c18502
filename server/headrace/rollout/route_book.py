"""The routes of all models as they are kept, and the router that follows them."""

from collections.abc import Iterator
from dataclasses import replace

from headrace.core.route import Route
from headrace.rollout.store import KeptRoute
from headrace.router.router import Router


class RouteBook:
    """What the router does is what is written here."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._kept: dict[str, KeptRoute] = {}
        self._revisions: dict[str, int] = {}

    def __iter__(self) -> Iterator[KeptRoute]:
        return iter(list(self._kept.values()))

    def get(self, model: str) -> KeptRoute | None:
        return self._kept.get(model)

    def following(
        self, model: str, route: Route | None, set_by: str, previous_until_s: float = 0.0
    ) -> KeptRoute:
        """The route that comes after the present one, and after all that were made but not taken yet."""
        before = self._kept.get(model)
        revision = max(before.revision if before else 0, self._revisions.get(model, 0)) + 1
        self._revisions[model] = revision
        marked = replace(route, revision=revision) if route else None
        return KeptRoute(model, marked, revision, set_by, previous_until_s)

    def take(self, kept: KeptRoute) -> None:
        """From the next request on `kept` is the model's route."""
        self._kept[kept.model] = kept
        self._router.set_route(kept.model, kept.route)
