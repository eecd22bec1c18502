"""Runs the rollouts: takes up what the state database holds, looks often, and keeps it all at the end."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from headrace.errors import ConfigError, HeadraceError, Unavailable
from headrace.rollout.bringing import Bringing
from headrace.rollout.declarations import Declarations
from headrace.rollout.journal import Journal
from headrace.rollout.keeping import Keeping
from headrace.rollout.news import News
from headrace.rollout.outside_gates import OutsideGates
from headrace.rollout.route_book import RouteBook
from headrace.rollout.runs import Runs
from headrace.rollout.watch import Watch

logger = logging.getLogger(__name__)

# How often guard rails are looked at.
LOOK_INTERVAL_S = 0.25

# How often a server that does not decide looks whether it may, and which routes are in force.
FOLLOW_INTERVAL_S = 1.0

# How often a database that could not be written is tried again.
OPEN_INTERVAL_S = 5.0

# How long a stop waits for what was decided.
STOP_TIMEOUT_S = 5.0


class RolloutController:
    """Of servers with one state folder one decides; the others take the routes that it sets, and wait."""

    def __init__(
        self,
        journal: Journal,
        book: RouteBook,
        runs: Runs,
        watch: Watch,
        keeping: Keeping,
        bringing: Bringing,
        declarations: Declarations,
        outside: OutsideGates,
        news: News,
    ) -> None:
        self._journal = journal
        self._book = book
        self._runs = runs
        self._watch = watch
        self._keeping = keeping
        self._bringing = bringing
        self._declarations = declarations
        self._outside = outside
        self._news = news
        # Why nothing is known here, and why nothing is decided; "" where that is not so.
        self._unknown = "routes and rollouts are switched off (rollout.enabled)"
        self._undecided = ""
        self._running: asyncio.Task[None] | None = None
        self._seen: int | None = None

    def check_knows(self) -> None:
        """Unavailable where nothing is kept."""
        if self._unknown:
            raise Unavailable(self._unknown)

    def check_decides(self) -> None:
        """Unavailable where orders cannot be taken."""
        self.check_knows()
        if self._undecided:
            raise Unavailable(self._undecided)

    async def start(self) -> None:
        """The routes that are kept are in force from now on, before any model is loaded.

        ConfigError where there are some, and they cannot be read.
        """
        if not await self._open():
            for kept in await self._journal.read_routes():
                self._book.take(kept)

    def run(self) -> None:
        """Looks and decides from now on; the models of the start are loaded."""
        self._runs.begin()
        self._running = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """What was seen is kept; a next start goes on from there."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        self._declarations.stop()
        self._bringing.stop()
        await self._outside.stop()
        if self._unknown:
            return
        await self._watch.wait(STOP_TIMEOUT_S)
        self._watch.stop()
        if self._journal.has_lock:
            await _safely(self._keeping.save)
        self._runs.end()
        await self._news.stop()
        await _safely(self._journal.close)

    async def _run(self) -> None:
        while self._unknown:
            await asyncio.sleep(OPEN_INTERVAL_S)
            await _safely(self._open)
        while True:
            if self._journal.has_lock:
                await asyncio.sleep(LOOK_INTERVAL_S)
                await _safely(self.look)
            else:
                await asyncio.sleep(FOLLOW_INTERVAL_S)
                await _safely(self._decide_or_follow)

    async def look(self) -> None:
        """Once at everything; waits for nothing that is written, nor for any answer."""
        self._outside.look(self._runs.all(), self._runs.now_s())
        await self._watch.look()
        self._declarations.look()
        self._keeping.wake()
        self._news.wake()

    async def _open(self) -> bool:
        """Whether routes and rollouts can be kept from now on."""
        try:
            await self._journal.open()
        except (ConfigError, OSError) as error:
            why = f"routes and rollouts cannot be kept: {error}"
            if why != self._unknown:  # it is tried again and again
                logger.warning("%s", why)
            self._unknown = why
            return False
        self._unknown = ""
        await _safely(self._decide_or_follow)
        return True

    async def _decide_or_follow(self) -> None:
        """Takes the lock where nobody has it, and up what is kept; else follows who has it."""
        if not self._journal.take_lock():
            self._cannot_decide("another server with the same state folder decides on routes and rollouts")
            await self._follow_routes()
            return
        try:
            await self._take_up()
        except (ConfigError, OSError) as error:
            self._journal.give_lock_back()
            self._cannot_decide(f"routes and rollouts are not known yet: {error}")
            return
        except BaseException:
            self._journal.give_lock_back()
            raise
        if self._undecided:
            logger.warning("this server decides on routes and rollouts from now on")
        self._undecided = ""

    def _cannot_decide(self, why: str) -> None:
        """Once, as it is tried again and again."""
        if why != self._undecided:
            self._undecided = why
            logger.warning("%s", why)

    async def _take_up(self) -> None:
        """What is under way goes on; whatever else there is must not hold that up."""
        self._seen = None
        await self._follow_routes()
        records = await self._journal.ask(self._journal.store.last)
        declared = await self._journal.ask(self._journal.store.declared_routes)
        self._runs.resume(records)
        self._declarations.start(declared)
        await _safely(self._keeping.load)
        await _safely(lambda: self._news.start(self._journal))

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


async def _safely(step: Callable[[], Awaitable[object]]) -> None:
    """No failure of one step ends the others."""
    try:
        await step()
    except (HeadraceError, OSError) as error:
        logger.error("rollouts: %s", error)
    except Exception:
        logger.exception("a part of rollouts failed: this is a bug")
