"""Threads for calls that may hang: they keep neither the loop nor the end of the process waiting."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

T = TypeVar("T")


class Threads:
    """Each call gets a daemon thread of its own, at most `limit` at the same time.

    Whoever waits for a call may leave: its thread counts until it ends.
    """

    def __init__(self, name: str, limit: int = 1) -> None:
        self._name = name
        self._free = asyncio.Semaphore(limit)

    @property
    def are_busy(self) -> bool:
        """Whether another call would have to wait."""
        return self._free.locked()

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises; what is no Exception, and would end the loop, as a RuntimeError."""
        await self._free.acquire()
        work = _Work(call, asyncio.get_running_loop(), self._free.release)
        thread = threading.Thread(target=work.run, name=self._name, daemon=True)
        try:
            thread.start()
        except BaseException:
            self._free.release()
            raise
        return await work.result()


class _Work(Generic[T]):
    """One call, from the loop to a thread and back."""

    def __init__(
        self, call: Callable[[], T], loop: asyncio.AbstractEventLoop, ended: Callable[[], object]
    ) -> None:
        self._call = call
        self._loop = loop
        self._ended = ended
        self._done: asyncio.Future[None] = loop.create_future()
        self._error: BaseException | None = None

    def run(self) -> None:
        """In the thread."""
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error
        # The loop may be gone: then nobody waits any more.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._end)

    async def result(self) -> T:
        await self._done
        if self._error is None:
            return self._result
        if isinstance(self._error, Exception):
            raise self._error
        raise RuntimeError(f"{type(self._error).__name__}: {self._error}") from self._error

    def _end(self) -> None:
        self._ended()
        if not self._done.done():
            self._done.set_result(None)
