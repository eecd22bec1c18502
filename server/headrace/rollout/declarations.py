"""What models' configurations declare of routes and rollouts, taken up as it changes."""

import asyncio
import logging
from collections.abc import Callable, Set
from functools import partial

from headrace.core.plan import Plan
from headrace.errors import HeadraceError
from headrace.model.registry import Registry
from headrace.repository.config import Serving
from headrace.repository.routing.writing import route_json
from headrace.rollout.journal import Journal
from headrace.rollout.kept_route import RouteOrigin
from headrace.rollout.rollouts import Rollouts
from headrace.rollout.route_book import RouteBook
from headrace.rollout.runs import Runs
from headrace.rollout.transitions import Transitions

logger = logging.getLogger(__name__)

# How long what could not be taken up waits for the next try.
RETRY_INTERVAL_S = 5.0


class Declarations:
    """Told of every configuration before its model's versions change, and asked to look at every look.

    A declared route is taken up once, when it is new and its versions are ready. A declared plan pins a model
    to the version that answers, and rolls out each newer one that becomes ready, once. `check_gates` raises
    InvalidArgument where a plan wants a gate that there is not.
    """

    def __init__(
        self,
        registry: Registry,
        book: RouteBook,
        journal: Journal,
        runs: Runs,
        rollouts: Rollouts,
        transitions: Transitions,
        check_gates: Callable[[Plan], None],
    ) -> None:
        self._registry = registry
        self._book = book
        self._journal = journal
        self._runs = runs
        self._rollouts = rollouts
        self._transitions = transitions
        self._check_gates = check_gates
        self._serving: dict[str, Serving] = {}
        # The declared routes, as JSON: those of now, and those that were taken up last.
        self._declared: dict[str, str] = {}
        self._taken_up: dict[str, str] = {}
        self._tried: set[tuple[str, int, str]] = set()
        self._told: dict[str, str] = {}
        self._retry_at_s: dict[str, float] = {}
        self._working: dict[str, asyncio.Task[None]] = {}
        self._is_deciding = False

    def start(self, taken_up: dict[str, str]) -> None:
        """This server decides; `taken_up` has the declared routes (JSON) that were taken up before."""
        self._taken_up = taken_up
        self._is_deciding = True
        for name, serving in list(self._serving.items()):
            self.take(name, serving)

    def stop(self) -> None:
        self._is_deciding = False
        for task in list(self._working.values()):
            task.cancel()

    def serving(self, name: str) -> Serving | None:
        """What the configuration of `name` says, as last read."""
        return self._serving.get(name)

    def plan(self, name: str) -> Plan | None:
        serving = self._serving.get(name)
        return serving.plan if serving else None

    def trouble(self, name: str) -> str:
        """Why what the configuration declares is not taken up, "" where it is."""
        return self._told.get(name, "")

    def needed(self, name: str) -> Set[int]:
        """The versions of a declared route that waits for them."""
        serving = self._serving.get(name)
        is_waiting = self._is_deciding and self._is_new(name)
        return serving.route.versions if is_waiting and serving and serving.route else frozenset()

    def take(self, name: str, serving: Serving | None) -> None:
        """What the configuration says now; None: the model is gone, and its route waits for it."""
        self._declared.pop(name, None)
        if serving is None:
            self._forget(name)
            return
        self._serving[name] = serving
        self._told.pop(name, None)
        if serving.route is not None:
            self._declared[name] = route_json(serving.route)
        self._retry_at_s.pop(name, None)
        if not self._is_deciding:
            if serving.route is not None or serving.plan is not None:
                self._tell(
                    name, "its sections 'route' and 'rollout' have no effect: this server does not decide"
                )
        elif serving.plan is not None:
            self._pin(name)
            self._check_plan(name, serving.plan)

    def look(self) -> None:
        """Sees to it that what is declared and due is taken up, one thing per model at a time."""
        if not self._is_deciding:
            return
        now_s = self._runs.now_s()
        for name, serving in list(self._serving.items()):
            if serving.plan is not None:
                self._pin(name)
            is_waiting = name in self._working or now_s < self._retry_at_s.get(name, 0.0)
            is_changing = self._runs.running(name) is not None or self._runs.lock(name).locked()
            if not (is_waiting or is_changing) and self._is_due(name, serving):
                task = asyncio.get_running_loop().create_task(self._work(name, now_s))
                self._working[name] = task
                task.add_done_callback(partial(self._worked, name))

    def _worked(self, name: str, task: asyncio.Task[None]) -> None:
        del self._working[name]

    def _is_new(self, name: str) -> bool:
        return self._declared.get(name) != self._taken_up.get(name)

    def _is_due(self, name: str, serving: Serving) -> bool:
        if self._is_new(name):
            return True
        return serving.plan is not None and self._due_version(name) is not None

    def _due_version(self, name: str) -> int | None:
        """A newer version than the one that answers, which was not rolled out yet as far as is known."""
        kept, newest, default = self._book.get(name), self._registry.newest(name), self._book.default(name)
        if kept is None or newest is None or default is None or newest.version <= default:
            return None
        if kept.origin is RouteOrigin.ORDER:
            return None
        return None if (name, newest.version, newest.digest) in self._tried else newest.version

    async def _work(self, name: str, now_s: float) -> None:
        serving = self._serving.get(name)
        if serving is None:
            return
        self._retry_at_s[name] = now_s + RETRY_INTERVAL_S
        try:
            if self._is_new(name):
                await self._take_route(name, serving)
            elif serving.plan is not None:
                await self._start(name, serving.plan)
            self._retry_at_s.pop(name, None)
            self._told.pop(name, None)
        except (HeadraceError, OSError) as error:
            self._tell(name, f"what it declares of routes or rollouts cannot be taken up yet: {error}")
        except Exception:
            logger.exception("taking up what '%s' declares failed: this is a bug", name)

    async def _take_route(self, name: str, serving: Serving) -> None:
        if serving.route is not None:
            text = self._declared[name]
            await self._rollouts.take_declared_route(name, serving.route, text)
            self._taken_up[name] = text
        else:
            await self._rollouts.forget_declared_route(name, has_plan=serving.plan is not None)
            self._taken_up.pop(name, None)

    async def _start(self, name: str, plan: Plan) -> None:
        newest = self._registry.newest(name)
        if newest is None:
            return
        self._check_gates(plan)
        version, digest = newest.version, newest.digest
        store = self._journal.store
        if not await self._journal.ask(lambda: store.has_tried(name, version, digest)):
            await self._rollouts.start_declared(name, plan, partial(self._due_version, name))
        if self._due_version(name) in (None, version):
            self._tried.add((name, version, digest))

    def _pin(self, name: str) -> None:
        """Whatever comes, the version that answers now goes on answering until it is rolled over."""
        newest = self._registry.newest(name)
        has_route = self._book.in_force(name) is not None
        if newest is not None and not has_route and not self._runs.lock(name).locked():
            self._transitions.pin(name, newest.version)

    def _check_plan(self, name: str, plan: Plan) -> None:
        """Not only once a version is to be rolled out by it."""
        try:
            self._check_gates(plan)
        except HeadraceError as error:
            self._tell(name, f"no version can be rolled out by its plan: {error}")

    def _forget(self, name: str) -> None:
        """The model is gone; should it come again, it is as new."""
        for known in (self._serving, self._told, self._retry_at_s):
            known.pop(name, None)
        self._tried = {each for each in self._tried if each[0] != name}

    def _tell(self, name: str, text: str) -> None:
        """Once, as the same is tried again and again."""
        if self._told.get(name) != text:
            self._told[name] = text
            logger.warning("'%s': %s", name, text)
