"""Brings a model's versions up and takes them down: new ones are ready before old ones stop answering."""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from headrace.errors import HeadraceError, LoadError, NotFound
from headrace.model.attempts import Attempts, Seen, looks
from headrace.model.loader import Loader
from headrace.model.model import Model
from headrace.model.registry import Registry, VersionStatus
from headrace.model.retirement import Retirement
from headrace.model.state import ModelState
from headrace.repository.config import Serving
from headrace.repository.files.scan import ModelFolder, Scan
from headrace.repository.override import Override
from headrace.repository.repository import Repository
from headrace.repository.version_policy import select

logger = logging.getLogger(__name__)

T = TypeVar("T")

NO_OVERRIDE = Override()
NOT_ON_DISK: Seen = ((), ())


class Lifecycle:
    """Applies what the repository holds, or what callers order, to the registry; one model at a time.

    Order of events for one model: new versions are loaded and warmed up while the old ones answer; then the
    registry is switched in one step; then the old ones finish what they took on. A version that cannot be
    loaded takes nothing away: what served before goes on serving.

    Versions that are `needed(name)` are served whatever the model's version policy is. Before a model's
    versions change, `declared(name, serving)` is told what its configuration says of them; None: it is gone.
    """

    def __init__(
        self,
        repository: Repository,
        registry: Registry,
        loader: Loader,
        executor: Executor,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.load_counts: Counter[tuple[str, str]] = Counter()
        self.needed: Callable[[str], Set[int]] = _none_needed
        self.declared: Callable[[str, Serving | None], None] = _nobody
        self._repository = repository
        self._registry = registry
        self._loader = loader
        self._executor = executor
        self._loop = loop
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._attempts = Attempts()
        self._retirement = Retirement(executor, loop)
        self._orders: set[asyncio.Task[None]] = set()
        self._brought_along: set[str] = set()
        self._scan = Scan()

    @property
    def known_names(self) -> list[str]:
        """Models that are in the repository, as last seen, or in memory."""
        return sorted({*self._scan.models, *self._registry.names()})

    async def rescan(self) -> Scan:
        """Reads what the repository holds now; ConfigError where it is gone."""
        self._scan = await self._loop.run_in_executor(self._executor, self._repository.scan)
        return self._scan

    async def apply(self, scan: Scan) -> None:
        """Makes memory follow `scan`: loads what is new or changed, unloads what is gone.

        Failures are remembered per version and logged, and are tried again once the files change.
        """
        self._scan = scan
        names = sorted({*scan.models, *self._attempts.names()})
        await asyncio.gather(*(self._follow(name, scan.models.get(name)) for name in names))

    async def load(self, name: str, override: Override = NO_OVERRIDE) -> None:
        """Loads `name` anew, whatever is in memory; raises LoadError with each version's reason.

        A caller who leaves meanwhile does not stop it.
        """
        order = self._loop.create_task(self._load(name, override))
        self._orders.add(order)
        order.add_done_callback(self._forget_order)
        await asyncio.shield(order)

    async def follow(self, name: str) -> None:
        """Loads versions of `name` that are needed now, and unloads those that are not any more.

        Whatever else is new on disk waits for whoever decides on it. A model that is unloaded, or was loaded
        from what a call brought along, stays as it is. HeadraceError where its configuration is wrong.
        """
        async with self._lock(name):
            folder = (await self.rescan()).models.get(name)
            if folder is None or name in self._brought_along or not self._registry.ready(name):
                return
            serving = await self._off_loop(partial(self._repository.read_serving, name))
            ready, needed, seen = self._registry.ready(name), self.needed(name), looks(folder)
            there = [version for version in folder.numbers if version in ready or version in needed]
            selected = select(serving.version_policy, there, needed)
            due = {version: seen[version] for version in selected if version not in ready}
            wanted = {*selected, *(needed & ready.keys())}
            loaded = await self._load_versions(name, due, NO_OVERRIDE)
            self._switch(name, self._chosen(name, wanted, loaded))

    def loadable(self, name: str) -> Set[int]:
        """The versions of `name` that `follow` would load if they were needed, as far as is known."""
        folder = self._scan.models.get(name)
        failed = self._attempts.failures(name).keys()
        return (
            frozenset(folder.numbers) - failed if folder and name not in self._brought_along else frozenset()
        )

    async def unload(self, name: str) -> None:
        """Stops answering for `name` at once and finishes what was taken on; NotFound where it is unknown."""
        async with self._lock(name):
            if name not in self._attempts.names() and not self._registry.ready(name):
                raise NotFound(f"failed to unload '{name}': it is not loaded")
            self._attempts.forget(name)
            self._switch(name, {})

    async def stop(self, drain_timeout_s: float) -> bool:
        """Drains every model; True where all requests were answered in time, otherwise the rest is failed."""
        for order in self._orders:
            order.cancel()
        return await self._retirement.stop(self._registry.models(), drain_timeout_s)

    async def _follow(self, name: str, folder: ModelFolder | None) -> None:
        async with self._lock(name):
            if folder is None:
                self._attempts.forget(name)
                self.declared(name, None)
                self._switch(name, {})
            else:
                await self._bring_changes(name, folder)
            self._forget_absent(name)

    async def _bring_changes(self, name: str, folder: ModelFolder) -> None:
        """Loads those of the wanted versions that look new, then switches to the wanted ones."""
        seen = looks(folder)
        try:
            serving = await self._off_loop(partial(self._repository.read_serving, name))
        except HeadraceError as error:
            self._refuse(name, seen, error)
            return
        self.declared(name, serving)
        needed = self.needed(name)
        selected = select(serving.version_policy, folder.numbers, needed)
        # What requests go to stays, though its files be gone.
        wanted = sorted({*selected, *(needed & self._registry.ready(name).keys())})
        due = [version for version in selected if self._attempts.is_due(name, version, seen[version])]
        loaded = await self._load_versions(name, {version: seen[version] for version in due}, NO_OVERRIDE)
        self._settle(name, wanted, loaded)

    async def _load(self, name: str, override: Override) -> None:
        async with self._lock(name):
            folder = (await self.rescan()).models.get(name)
            if folder is None and not override.files:
                raise LoadError(f"failed to load '{name}', failed to poll from model repository")
            seen = looks(folder) if folder else {}
            try:
                serving = await self._off_loop(partial(self._repository.read_serving, name, override))
                self.declared(name, serving)
                also = self.needed(name)
                wanted = await self._off_loop(partial(self._repository.versions, name, override, also))
                if not wanted:
                    raise LoadError("there is no version to serve")
            except HeadraceError as error:
                self._refuse(name, {} if override.files else seen, error)
                raise LoadError(f"load failed for model '{name}': {error}") from error
            due = {version: seen.get(version, NOT_ON_DISK) for version in wanted}
            loaded = await self._load_versions(name, due, override)
            if override.files:
                self._brought_along.add(name)
            else:
                self._brought_along.discard(name)
            self._settle(name, wanted, loaded)
            self._raise_failures(name)

    async def _load_versions(
        self, name: str, due: Mapping[int, Seen], override: Override
    ) -> dict[int, Model]:
        """The versions of `due` that could be loaded; why the others could not is noted."""
        loaded: dict[int, Model] = {}
        for version, seen in due.items():
            before = self._registry.ready(name).get(version)
            if before is None:
                self._registry.note(name, VersionStatus(version, ModelState.LOADING))
            try:
                loaded[version] = await self._load_version(name, version, override, before)
                self._attempts.note(name, version, seen, None)
            except Exception as error:
                self._fail(name, version, seen, error)
        return loaded

    async def _load_version(self, name: str, version: int, override: Override, before: Model | None) -> Model:
        others = sum(model.cpu_instance_count for model in self._registry.models() if model.name != name)
        statistics = before.statistics if before else None
        model = await self._loader.load(name, version, override, others, statistics)
        self.load_counts[name, "success"] += 1
        logger.info("loaded '%s' version %d in %.0f ms", name, version, model.facts.load_duration_ns / 1e6)
        return model

    def _settle(self, name: str, wanted: Iterable[int], loaded: Mapping[int, Model]) -> None:
        """Ends bringing up a model: attempts at other versions than `wanted` are forgotten; then switches."""
        self._attempts.keep_only(name, wanted)
        self._switch(name, self._chosen(name, wanted, loaded))

    def _chosen(self, name: str, wanted: Iterable[int], loaded: Mapping[int, Model]) -> dict[int, Model]:
        """What is to answer: the wanted versions, and where one of them failed, all that answered before."""
        ready = self._registry.ready(name)
        if self._attempts.failures(name):
            return {**ready, **loaded}
        return {version: ready[version] for version in wanted if version in ready} | dict(loaded)

    def _refuse(self, name: str, seen: Mapping[int, Seen], error: HeadraceError) -> None:
        """The model as a whole cannot be loaded: notes it for every version that was not refused before."""
        for version, look in seen.items():
            if self._attempts.is_due(name, version, look):
                self._fail(name, version, look, error)

    def _fail(self, name: str, version: int, seen: Seen, error: Exception) -> None:
        """Notes why a version could not be loaded; one of its number that serves already goes on."""
        known = error if isinstance(error, HeadraceError) else LoadError(f"{type(error).__name__}: {error}")
        self._attempts.note(name, version, seen, str(known))
        self.load_counts[name, "failure"] += 1
        goes_on = version in self._registry.ready(name)
        reason = f"{known}; the version loaded before goes on serving" if goes_on else str(known)
        trace = None if known is error else error
        logger.error("cannot load '%s' version %d: %s", name, version, reason, exc_info=trace)
        state = ModelState.READY if goes_on else ModelState.UNAVAILABLE
        self._registry.note(name, VersionStatus(version, state, reason))

    def _raise_failures(self, name: str) -> None:
        reasons = [
            f"version {version} is at UNAVAILABLE state: {reason}"
            for version, reason in self._attempts.failures(name).items()
        ]
        if reasons:
            raise LoadError(f"load failed for model '{name}': {'; '.join(reasons)}")

    def _switch(self, name: str, ready: Mapping[int, Model]) -> None:
        """From now on exactly `ready` answers; what answered before is retired."""
        before = dict(self._registry.ready(name))
        self._registry.publish(name, ready)
        for version, model in before.items():
            if version not in ready:
                self._registry.note(name, VersionStatus(version, ModelState.UNLOADING))
            if ready.get(version) is not model:
                self._retirement.take(model, self._gone)

    def _gone(self, name: str, version: int) -> None:
        """A retired version has ended; unless it was replaced, that is what is known of it now."""
        if version not in self._registry.ready(name):
            self._registry.note(name, VersionStatus(version, ModelState.UNAVAILABLE, "unloaded"))
            self._forget_absent(name)

    def _forget_absent(self, name: str) -> None:
        """Drops what is known of versions that are neither on disk nor in memory any more."""
        folder = self._scan.models.get(name)
        present = folder.numbers if folder else ()
        for status in self._registry.statuses(name):
            if status.state is ModelState.UNAVAILABLE and status.version not in present:
                self._registry.forget(name, status.version)

    def _forget_order(self, order: asyncio.Task[None]) -> None:
        """Its error has gone to whoever gave it; asking for it here keeps asyncio from complaining."""
        self._orders.discard(order)
        if not order.cancelled():
            order.exception()

    def _lock(self, name: str) -> asyncio.Lock:
        """The lock of one model, for as long as anybody holds it or waits for it."""
        lock = self._locks.get(name)
        if lock is None:
            lock = self._locks[name] = asyncio.Lock()
        return lock

    async def _off_loop(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._executor, call)


def _none_needed(name: str) -> Set[int]:
    """Where nobody needs a version beside what is configured."""
    return frozenset()


def _nobody(name: str, serving: Serving | None) -> None:
    """Stands for whoever is told of configurations where nobody is."""
