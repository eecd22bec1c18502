"""What models' configurations declare of routes and rollouts, taken up as it changes."""

import asyncio
import logging
from concurrent.futures import Future

from headrace.core.plan import Plan
from headrace.errors import HeadraceError
from headrace.model.registry import Registry
from headrace.repository.config import Serving
from headrace.repository.routing.writing import route_json
from headrace.rollout import stages
from headrace.rollout.journal import Journal
from headrace.rollout.record import FROM_CONFIG, SERVER
from headrace.rollout.rollouts import SET_BY_ROLLOUT, Rollouts, digest_of
from headrace.rollout.route_book import RouteBook
from headrace.router.router import Router

logger = logging.getLogger(__name__)

SET_BY_CONFIG = "config"


class Declarations:
    """Told of every configuration before its model's versions change, and of every change of versions.

    A declared route is taken up once, when it is new. A declared plan pins a model to the version that
    answers, and rolls out each newer one that becomes ready, once.
    """

    def __init__(
        self, registry: Registry, router: Router, book: RouteBook, journal: Journal, rollouts: Rollouts
    ) -> None:
        self._registry = registry
        self._router = router
        self._book = book
        self._journal = journal
        self._rollouts = rollouts
        self._serving: dict[str, Serving] = {}
        self._taken_up: dict[str, str] = {}
        self._is_due = False
        self._examining: asyncio.Task[None] | None = None
        self._end = _nothing

    def start(self, taken_up: dict[str, str]) -> None:
        """`taken_up` has the declared routes (JSON) that were taken up before."""
        self._taken_up = taken_up
        for name, serving in list(self._serving.items()):
            self.take(name, serving)
        self._end = self._registry.listen(self._versions_changed)
        self._versions_changed()

    def stop(self) -> None:
        self._end()
        if self._examining is not None:
            self._examining.cancel()

    def serving(self, name: str) -> Serving | None:
        """What the configuration of `name` says, as last read."""
        return self._serving.get(name)

    def plan(self, name: str) -> Plan | None:
        serving = self._serving.get(name)
        return serving.plan if serving else None

    def take(self, name: str, serving: Serving | None) -> None:
        """What the configuration says now; None: the model is gone, and its route waits for it."""
        if serving is None:
            self._serving.pop(name, None)
            return
        self._serving[name] = serving
        if not self._journal.has_lock or self._rollouts.running(name):
            return
        if serving.route is not None:
            self._take_route(name, serving)
        elif name in self._taken_up:
            self._drop_route(name)
        if serving.plan is not None:
            self._pin(name)

    def _take_route(self, name: str, serving: Serving) -> None:
        assert serving.route is not None
        text = route_json(serving.route)
        if self._taken_up.get(name) == text:
            return
        self._taken_up[name] = text
        kept = self._book.following(name, serving.route, SET_BY_CONFIG)
        self._book.take(kept)
        _watched(self._journal.save_route(kept, text))

    def _drop_route(self, name: str) -> None:
        """The configuration declares no route any more."""
        del self._taken_up[name]
        _watched(self._journal.forget_declared(name))
        kept = self._book.get(name)
        if kept is not None and kept.set_by == SET_BY_CONFIG:
            cleared = self._book.following(name, None, SET_BY_CONFIG)
            self._book.take(cleared)
            _watched(self._journal.save_route(cleared))

    def _pin(self, name: str) -> None:
        """Whatever comes, the version that answers now goes on answering until it is rolled over."""
        newest = self._registry.newest(name)
        if newest is None or self._router.route_of(name) is not None:
            return
        kept = self._book.following(name, stages.pinned(newest.version), SET_BY_CONFIG)
        self._book.take(kept)
        _watched(self._journal.save_route(kept))

    def _versions_changed(self) -> None:
        """Looks at all models once this turn of the loop is over, however often it is called."""
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._examine)

    def _examine(self) -> None:
        self._is_due = False
        names = [name for name, serving in self._serving.items() if serving.plan is not None]
        for name in names:
            self._pin(name)
        if names and (self._examining is None or self._examining.done()):
            self._examining = asyncio.get_running_loop().create_task(self._start_due(names))

    async def _start_due(self, names: list[str]) -> None:
        for name in names:
            try:
                await self._start_if_due(name)
            except HeadraceError as error:
                logger.error("'%s' cannot be rolled out as its configuration says: %s", name, error)

    async def _start_if_due(self, name: str) -> None:
        kept, plan, newest = self._book.get(name), self.plan(name), self._registry.newest(name)
        default = self._router.default(name)
        if kept is None or plan is None or newest is None or default is None:
            return
        if self._rollouts.running(name) or kept.set_by not in (SET_BY_CONFIG, SET_BY_ROLLOUT):
            return
        if newest.version <= default.version:
            return
        digest, version = digest_of(newest), newest.version
        earlier = await self._journal.ask(lambda: self._journal.store.of_version(name, version, digest))
        if earlier is None:
            await self._rollouts.start(
                name, version, default.version, plan, SERVER, FROM_CONFIG, dry_run=False
            )


def _watched(keeping: "Future[None]") -> None:
    """What cannot be kept is told; it is in force all the same."""

    def look(done: "Future[None]") -> None:
        if not done.cancelled() and (error := done.exception()):
            logger.error("a route cannot be kept: %s", error)

    keeping.add_done_callback(look)


def _nothing() -> None:
    """Where there is nothing to end."""
