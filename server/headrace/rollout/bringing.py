"""Brings versions into memory for an order, while what answers goes on answering, and lets others go."""

from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from functools import partial

from headrace.core.route import Fallback
from headrace.errors import FailedPrecondition, InvalidArgument
from headrace.model.lifecycle import Lifecycle
from headrace.model.registry import Registry
from headrace.rollout import stages
from headrace.rollout.tasks import Tasks
from headrace.router.router import Router


class Bringing:
    """Knows the versions that orders under way need; one order per model at a time."""

    def __init__(self, registry: Registry, router: Router, lifecycle: Lifecycle) -> None:
        self._registry = registry
        self._router = router
        self._lifecycle = lifecycle
        self._reserved: dict[str, Set[int]] = {}
        self._settling = Tasks()

    def needed(self, model: str) -> Set[int]:
        """The versions that routes and orders under way need."""
        return self._router.needed(model) | self._reserved.get(model, frozenset())

    def settle(self, model: str) -> None:
        """Loads and unloads, in time, what routes need or need no more."""
        self._settling.start(partial(self._lifecycle.follow, model))

    def stop(self) -> None:
        """Nothing is settled any more."""
        self._settling.cancel()

    @asynccontextmanager
    async def brought(self, model: str, versions: Set[int]) -> AsyncIterator[None]:
        """Sees to it that `versions` are ready; FailedPrecondition says which one is not, and why.

        Meanwhile, and if the block fails, the version that answers goes on, though a newer one comes.
        """
        newest = self._registry.find(model, "")
        missing = versions - self._registry.ready(model).keys()
        is_pinned = bool(missing) and self._router.route_of(model) is None
        if is_pinned:
            self._router.set_route(model, stages.pinned(newest.version))
        self._reserved[model] = frozenset(versions)
        try:
            if missing:
                await self._lifecycle.follow(model)
            self.check_ready(model, versions)
            yield
        except BaseException:
            self._reserved.pop(model, None)
            if is_pinned:
                await self._lifecycle.follow(model)
                self._router.set_route(model, None)
            else:
                self.settle(model)
            raise
        finally:
            self._reserved.pop(model, None)

    def check_stand_in(self, model: str, fallback: Fallback | None) -> None:
        """InvalidArgument where another model is to stand in for versions of `model` that there is not."""
        if fallback is None or not fallback.model:
            return
        if fallback.model == model:
            raise InvalidArgument(
                f"fallback.model: '{model}' cannot stand in for itself: expected another one"
            )
        if fallback.model not in self._lifecycle.known_names:
            raise InvalidArgument(
                f"fallback.model: there is no model '{fallback.model}': expected one of the repository"
            )

    def check(self, model: str, versions: Set[int]) -> None:
        """As `brought` would, as far as can be said without loading anything."""
        self._registry.find(model, "")
        self.check_ready(model, versions - self._lifecycle.loadable(model))

    def check_ready(self, model: str, versions: Set[int]) -> None:
        """FailedPrecondition says which of `versions` is not ready, and why."""
        for version in sorted(versions - self._registry.ready(model).keys()):
            raise FailedPrecondition(
                f"version {version} of '{model}' is not ready: {self._why_not(model, version)}"
            )

    def _why_not(self, model: str, version: int) -> str:
        for status in self._registry.statuses(model):
            if status.version == version:
                return status.reason or f"it is {status.state.value}"
        return "it is not in the repository"
