"""Runs the rollouts: takes up what the state database holds, looks often, and keeps it all at the end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from headrace.errors import ConfigError, HeadraceError, Unavailable
from headrace.rollout.bringing import Bringing
from headrace.rollout.comparison_keeper import ComparisonKeeper
from headrace.rollout.declarations import Declarations
from headrace.rollout.journal import Journal
from headrace.rollout.news import News
from headrace.rollout.outside_gates import OutsideGates
from headrace.rollout.route_book import RouteBook
from headrace.rollout.runs import Runs
from headrace.rollout.watch import LOOK_INTERVAL_S, Watch

logger = logging.getLogger(__name__)

# How often a server that does not decide looks whether it may, and which routes are in force.
FOLLOW_INTERVAL_S = 1.0


class RolloutController:
    """Of servers with one state folder one decides; the others take the routes that it sets, and wait."""

    def __init__(
        self,
        journal: Journal,
        book: RouteBook,
        runs: Runs,
        watch: Watch,
        bringing: Bringing,
        declarations: Declarations,
        outside: OutsideGates,
        news: News,
        comparisons: ComparisonKeeper,
    ) -> None:
        self._journal = journal
        self._book = book
        self._runs = runs
        self._watch = watch
        self._bringing = bringing
        self._declarations = declarations
        self._outside = outside
        self._news = news
        self._comparisons = comparisons
        self._trouble = "routes and rollouts are switched off (rollout.enabled)"
        self._running: asyncio.Task[None] | None = None
        self._seen: int | None = None

    def check_knows(self) -> None:
        """Unavailable where nothing is kept."""
        if self._trouble:
            raise Unavailable(self._trouble)

    def check_decides(self) -> None:
        """Unavailable where orders cannot be taken."""
        self.check_knows()
        if not self._journal.has_lock:
            raise Unavailable("another server with the same state folder decides on its routes and rollouts")

    async def start(self) -> None:
        """The routes that are kept are in force from now on, before any model is loaded."""
        try:
            await self._journal.open()
        except (ConfigError, OSError) as error:
            self._trouble = f"routes and rollouts cannot be kept: {error}"
            logger.warning("%s", self._trouble)
            return
        self._trouble = ""
        try:
            if self._journal.take_lock():
                await self._take_up()
            else:
                logger.warning(
                    "another server with the same state folder decides on rollouts; this one follows"
                )
                await self._follow_routes()
        except (ConfigError, OSError) as error:
            self._journal.give_lock_back()
            logger.error("routes and rollouts are not known yet: %s", error)

    def run(self) -> None:
        """Looks and decides from now on; the models of the start are loaded."""
        self._runs.begin()
        if not self._trouble:
            self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """What was seen is kept; a next start goes on from there."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        self._declarations.stop()
        self._bringing.stop()
        await self._outside.stop()
        if self._trouble:
            return
        await _safely(self._watch.stop)
        if self._journal.has_lock:
            await _safely(self._comparisons.save)
        await self._news.stop()
        await _safely(self._journal.close)

    async def _take_up(self) -> None:
        self._seen = None
        await self._follow_routes()
        records = await self._journal.ask(self._journal.store.last)
        taken_up = await self._journal.ask(self._journal.store.declared_routes)
        await self._news.start(self._journal)
        await self._comparisons.load()
        self._runs.resume(records)
        self._declarations.start(taken_up)

    async def _follow_routes(self) -> None:
        """Takes what another server has written since the last call."""
        seen = await self._journal.ask(self._journal.store.version)
        if seen == self._seen:
            return
        for kept in await self._journal.ask(self._journal.store.routes):
            known = self._book.get(kept.model)
            if known is None or known.revision != kept.revision:
                self._book.take(kept)
                self._bringing.settle(kept.model)
        self._runs.remember(await self._journal.ask(self._journal.store.last))
        self._seen = seen

    async def _run(self) -> None:
        while True:
            decides = self._journal.has_lock
            await asyncio.sleep(LOOK_INTERVAL_S if decides else FOLLOW_INTERVAL_S)
            await _safely(self._look if decides else self._try_to_decide)

    async def _look(self) -> None:
        self._outside.look(self._runs.all(), self._runs.now_s())
        await self._watch.look()
        self._declarations.look()
        self._news.wake()
        await self._comparisons.save_if_due(self._runs.now_s())

    async def _try_to_decide(self) -> None:
        if self._journal.take_lock():
            try:
                await self._take_up()
            except BaseException:
                self._journal.give_lock_back()
                raise
            logger.warning("this server decides on routes and rollouts from now on")
        else:
            await self._follow_routes()


async def _safely(step: Callable[[], Awaitable[None]]) -> None:
    """No failure of one look ends the looking."""
    try:
        await step()
    except (HeadraceError, OSError) as error:
        logger.error("rollouts: %s", error)
    except Exception:
        logger.exception("a look at the rollouts failed: this is a bug")
