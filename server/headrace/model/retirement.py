"""The end of a version: it finishes what it took on, then gives back its threads and its memory."""

import asyncio
import ctypes
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Executor

from headrace.errors import Unavailable
from headrace.model.model import Model

logger = logging.getLogger(__name__)

# How long after an unload its memory goes back to the system, together with that of all others until then.
# Giving it back holds up whatever allocates meanwhile, and a version loaded next would need it again.
MEMORY_KEPT_S = 10.0


class Retirement:
    """Owns the models that no longer answer, until they are gone."""

    def __init__(self, executor: Executor, loop: asyncio.AbstractEventLoop) -> None:
        self._executor = executor
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()
        self._giving_back: asyncio.TimerHandle | None = None

    def take(self, model: Model, gone: Callable[[str, int], None]) -> None:
        """Retires `model`; `gone(name, version)` is called once it has answered everything and ended."""
        task = self._loop.create_task(self._retire(model, gone))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self, models: Iterable[Model], drain_timeout_s: float) -> bool:
        """Drains `models` and those retiring; True where all was answered in time, else the rest fails."""
        if self._giving_back is not None:
            self._giving_back.cancel()
        left = list(models)
        tasks = [*self._tasks, *(self._loop.create_task(model.drain()) for model in left)]
        _, late = await asyncio.wait(tasks, timeout=drain_timeout_s) if tasks else (set(), set())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        error = Unavailable("Server exiting")
        await asyncio.gather(*(model.abort(error) for model in left))
        return not late

    async def _retire(self, model: Model, gone: Callable[[str, int], None]) -> None:
        name, version = model.name, model.version
        await model.retire()
        del model
        gone(name, version)
        logger.info("unloaded '%s' version %d", name, version)
        if self._giving_back is None:
            self._giving_back = self._loop.call_later(MEMORY_KEPT_S, self._give_back)

    def _give_back(self) -> None:
        self._giving_back = None
        self._executor.submit(_give_memory_back)


def _give_memory_back() -> None:
    """Returns the allocator's free pages to the system.

    The garbage collector is not asked: it would hold up everything, and an ended model leaves no cycles.
    """
    if _LIBC is not None:
        _LIBC.malloc_trim(0)


def _libc_with_trim() -> ctypes.CDLL | None:
    """The C library, where it can give pages back (glibc)."""
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "malloc_trim") else None


_LIBC = _libc_with_trim()
