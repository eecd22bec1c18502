"""Brings a model's versions up and takes them down: new ones are ready before old ones stop answering."""

import asyncio
import ctypes
import gc
import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial

from headrace.errors import HeadraceError, LoadError, NotFound, Unavailable
from headrace.model.loader import Loader
from headrace.model.model import Model
from headrace.model.registry import Registry, VersionStatus
from headrace.model.state import ModelState
from headrace.repository.files.fingerprint import Fingerprint
from headrace.repository.files.scan import ModelFolder, Scan
from headrace.repository.override import Override
from headrace.repository.repository import Repository

logger = logging.getLogger(__name__)

NO_OVERRIDE = Override()

Seen = tuple[Fingerprint, Fingerprint]


@dataclass(slots=True)
class _Attempt:
    """The last time a version was loaded: from which files, and what went wrong, if anything."""

    seen: Seen
    error: HeadraceError | None = None


class Lifecycle:
    """Applies what the repository holds, or what callers order, to the registry; one model at a time.

    Order of events for one model: new versions are loaded and warmed up while the old ones answer; then the
    registry is switched in one step; then the old ones finish what they took on. A version that cannot be
    loaded takes nothing away: what served before goes on serving.
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
        self._repository = repository
        self._registry = registry
        self._loader = loader
        self._executor = executor
        self._loop = loop
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._attempts: dict[str, dict[int, _Attempt]] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._orders: set[asyncio.Task[None]] = set()
        self._scan = Scan()

    @property
    def known_names(self) -> list[str]:
        """Models that are in the repository, as last seen, or in memory."""
        return sorted({*self._scan.models, *self._registry.names()})

    async def rescan(self) -> Scan:
        """Reads what the repository holds now; ConfigError where it is gone."""
        self._scan = await self._loop.run_in_executor(self._executor, self._repository.scan)
        return self._scan

    async def apply(self, scan: Scan, names: Iterable[str] | None = None) -> None:
        """Makes memory follow the repository: loads what is new or changed, unloads what is gone.

        Only the models `names`, where they are given. Failures are remembered per version and logged, and are
        tried again once the files change.
        """
        self._scan = scan
        wanted = set(names) if names is not None else {*scan.models, *self._attempts}
        await asyncio.gather(*(self._follow(name, scan.models.get(name)) for name in sorted(wanted)))

    async def load(self, name: str, override: Override = NO_OVERRIDE) -> None:
        """Loads `name` anew, whatever is in memory; raises LoadError with each version's reason.

        A caller who leaves meanwhile does not stop it.
        """
        order = self._loop.create_task(self._load(name, override))
        self._orders.add(order)
        order.add_done_callback(self._forget_order)
        await asyncio.shield(order)

    async def _load(self, name: str, override: Override) -> None:
        async with self._locks[name]:
            folder = (await self.rescan()).models.get(name)
            if folder is None and not override.files:
                raise LoadError(f"failed to load '{name}', failed to poll from model repository")
            await self._bring(name, folder or ModelFolder(name), override, is_forced=True)
            self._raise_failures(name)

    async def unload(self, name: str) -> None:
        """Stops answering for `name` at once and finishes what was taken on; NotFound where it is unknown."""
        async with self._locks[name]:
            if name not in self._attempts and not self._registry.ready(name):
                raise NotFound(f"failed to unload '{name}': it is not loaded")
            self._attempts.pop(name, None)
            self._switch(name, {})

    async def stop(self, drain_timeout_s: float) -> bool:
        """Drains every model; True where all requests were answered in time, otherwise the rest is failed."""
        for order in self._orders:
            order.cancel()
        models = list(self._registry.models())
        tasks = [*self._retiring, *(self._loop.create_task(model.drain()) for model in models)]
        _, late = await asyncio.wait(tasks, timeout=drain_timeout_s) if tasks else (set(), set())
        for task in late:
            task.cancel()
        error = Unavailable("Server exiting")
        await asyncio.gather(*(model.abort(error) for model in models))
        return not late

    async def _follow(self, name: str, folder: ModelFolder | None) -> None:
        async with self._locks[name]:
            if folder is None:
                self._attempts.pop(name, None)
                self._switch(name, {})
                for status in self._registry.statuses(name):
                    if status.state is ModelState.UNAVAILABLE:
                        self._registry.forget(name, status.version)
            else:
                await self._bring(name, folder, NO_OVERRIDE, is_forced=False)

    async def _bring(self, name: str, folder: ModelFolder, override: Override, *, is_forced: bool) -> None:
        """Loads the versions that are wanted and new, then switches to them."""
        try:
            find = partial(self._repository.versions, name, override)
            wanted = await self._loop.run_in_executor(self._executor, find)
        except HeadraceError as error:
            self._refuse_model(name, folder, error)
            return
        seen = {
            version.version: (version.fingerprint, folder.config_fingerprint) for version in folder.versions
        }
        attempts = self._attempts.setdefault(name, {})
        ready = dict(self._registry.ready(name))
        due = [
            version
            for version in wanted
            if is_forced or version not in attempts or attempts[version].seen != seen.get(version, ((), ()))
        ]
        loaded: dict[int, Model] = {}
        for version in due:
            attempts[version] = _Attempt(seen.get(version, ((), ())))
            model = await self._try_load(name, version, override, attempts[version])
            if model is not None:
                loaded[version] = model
        failed = [version for version in wanted if attempts[version].error is not None]
        keep = ready if failed else {version: ready[version] for version in wanted if version in ready}
        for version in set(attempts) - set(wanted):
            del attempts[version]
        self._switch(name, {**keep, **loaded})

    async def _try_load(self, name: str, version: int, override: Override, attempt: _Attempt) -> Model | None:
        before = self._registry.ready(name).get(version)
        if before is None:
            self._registry.note(name, VersionStatus(version, ModelState.LOADING))
        others = self._cpu_instances_besides(name)
        statistics = before.statistics if before else None
        try:
            model = await self._loader.load(name, version, override, others, statistics)
        except Exception as error:
            attempt.error = self._failed(name, version, before is not None, error)
            return None
        self.load_counts[name, "success"] += 1
        logger.info("loaded '%s' version %d in %.0f ms", name, version, model.facts.load_duration_ns / 1e6)
        return model

    def _failed(self, name: str, version: int, has_predecessor: bool, error: Exception) -> HeadraceError:
        """Notes why a version could not be loaded; one that serves already goes on."""
        known = error if isinstance(error, HeadraceError) else LoadError(f"{type(error).__name__}: {error}")
        self.load_counts[name, "failure"] += 1
        goes_on = "; the version loaded before goes on serving" if has_predecessor else ""
        is_ours = isinstance(error, HeadraceError)
        logger.error(
            "cannot load '%s' version %d: %s%s",
            name,
            version,
            known,
            goes_on,
            exc_info=None if is_ours else error,
        )
        state = ModelState.READY if has_predecessor else ModelState.UNAVAILABLE
        self._registry.note(name, VersionStatus(version, state, f"{known}{goes_on}"))
        return known

    def _refuse_model(self, name: str, folder: ModelFolder, error: HeadraceError) -> None:
        """The model's configuration is wrong: every version that is not serving is unavailable."""
        attempts = self._attempts.setdefault(name, {})
        ready = self._registry.ready(name)
        for version in folder.versions:
            seen = (version.fingerprint, folder.config_fingerprint)
            attempt = attempts.get(version.version)
            if attempt is None or attempt.seen != seen:
                is_ready = version.version in ready
                attempts[version.version] = _Attempt(
                    seen, self._failed(name, version.version, is_ready, error)
                )

    def _raise_failures(self, name: str) -> None:
        failures = {
            version: attempt.error
            for version, attempt in self._attempts.get(name, {}).items()
            if attempt.error
        }
        if failures:
            reasons = "; ".join(
                f"version {version} is at UNAVAILABLE state: {error}"
                for version, error in sorted(failures.items())
            )
            raise LoadError(f"load failed for model '{name}': {reasons}")
        if not self._registry.ready(name):
            raise LoadError(f"load failed for model '{name}': no version in the repository is to be served")

    def _switch(self, name: str, ready: Mapping[int, Model]) -> None:
        """From now on exactly `ready` answers; what answered before is retired."""
        before = dict(self._registry.ready(name))
        retired = [model for version, model in before.items() if ready.get(version) is not model]
        self._registry.publish(name, ready)
        for model in retired:
            is_replaced = model.version in ready
            if not is_replaced:
                self._registry.note(name, VersionStatus(model.version, ModelState.UNLOADING))
            task = self._loop.create_task(self._retire(model, is_replaced=is_replaced))
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)

    async def _retire(self, model: Model, *, is_replaced: bool) -> None:
        name, version = model.name, model.version
        await model.retire()
        del model
        if not is_replaced and version not in self._registry.ready(name):
            self._registry.note(name, VersionStatus(version, ModelState.UNAVAILABLE, "unloaded"))
        logger.info("unloaded '%s' version %d", name, version)
        await self._loop.run_in_executor(self._executor, _give_memory_back)

    def _forget_order(self, order: asyncio.Task[None]) -> None:
        """Its error has gone to whoever gave it; asking for it here keeps asyncio from complaining."""
        self._orders.discard(order)
        if not order.cancelled():
            order.exception()

    def _cpu_instances_besides(self, name: str) -> int:
        return sum(model.cpu_instance_count for model in self._registry.models() if model.name != name)


def _give_memory_back() -> None:
    """Frees what the unloaded model held in cycles, and returns the allocator's free pages to the system."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
