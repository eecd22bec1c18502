"""The instances of one model's version: acquired, watched while they execute, replaced when they are lost."""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from headrace.backend.base import Backend
from headrace.errors import WorkerLost
from headrace.instance.inline import InlineInstance
from headrace.instance.thread import ThreadInstance
from headrace.instance.work import Instance, Work

logger = logging.getLogger(__name__)

W = TypeVar("W", bound=Work)

# An inline instance whose executions take longer than this on average moves to a thread.
SLOW_INLINE_NS = 2_000_000

STOP_TIMEOUT_S = 5.0
ABORT_TIMEOUT_S = 0.5

RESTART_DELAYS_S = (0.0, 0.1, 0.5, 2.0, 10.0)


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one instance: its name, its device in words, and how its backend is made (blocking).

    With `is_inline` it executes on the event loop until that turns out to take too long.
    """

    name: str
    device: str
    threads: int
    make_backend: Callable[[], Backend]
    is_inline: bool = False


@dataclass(slots=True)
class _Running:
    """Who waits for what an instance executes now, and the timer of its watchdog."""

    answer: Callable[[BaseException | None], None]
    watchdog: asyncio.TimerHandle | None


class InstanceGroup:
    """Hands out idle instances, the most recently used first.

    Called on the event loop only. `available` is called whenever an instance became idle, `alive_changed`
    whenever one was lost or replaced.
    """

    def __init__(
        self,
        slots: list[Slot],
        executor: Executor,
        execution_timeout_s: float,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.slots = slots
        self.restart_count = 0
        self.available: Callable[[], None] = _nobody
        self.alive_changed: Callable[[], None] = _nobody
        self._executor = executor
        self._execution_timeout_s = execution_timeout_s
        self._loop = loop
        self._idle: list[Instance] = []
        self._running: dict[Instance, _Running] = {}
        self._slot_of: dict[Instance, Slot] = {}
        self._losses: dict[str, int] = {}
        self._restarts: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    @property
    def has_idle(self) -> bool:
        return bool(self._idle)

    @property
    def alive_count(self) -> int:
        """How many instances there are, idle or executing; fewer than slots while one is being replaced."""
        return len(self._slot_of)

    def start(self, backends: list[Backend]) -> None:
        """Starts one instance a slot, around backends that were made by the slots."""
        for slot, backend in zip(self.slots, backends, strict=True):
            self._add(slot, backend)

    def acquire(self) -> Instance:
        """An idle instance; only where `has_idle`."""
        return self._idle.pop()

    def execute(
        self, instance: Instance, work: W, finished: Callable[[W, BaseException | None], None]
    ) -> None:
        """Runs `work` on an acquired instance; `finished(work, error)` is called on the loop, once."""
        watchdog = None
        if self._execution_timeout_s and not isinstance(instance, InlineInstance):
            watchdog = self._loop.call_later(self._execution_timeout_s, self._hung, instance)
        self._running[instance] = _Running(partial(finished, work), watchdog)
        instance.execute(work)

    async def abort(self) -> None:
        """Ends every instance, telling those that execute to give up."""
        for instance in self._running:
            instance.backend.interrupt()
        await self.stop(ABORT_TIMEOUT_S)

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Ends every instance; those that execute finish first, those that hang are left behind."""
        self._is_stopped = True
        for task in self._restarts:
            task.cancel()
        instances = list(self._slot_of)
        for instance in instances:
            instance.stop()
        self._idle.clear()
        self._slot_of.clear()
        self.slots = []
        self.available = self.alive_changed = _nobody
        await self._loop.run_in_executor(None, _join, instances, timeout_s)

    def _add(self, slot: Slot, backend: Backend) -> None:
        instance: Instance
        if slot.is_inline:
            instance = InlineInstance(slot.name, backend, self._loop, self._finished, SLOW_INLINE_NS)
        else:
            instance = ThreadInstance(slot.name, backend, self._loop, self._finished)
        self._slot_of[instance] = slot
        instance.start()
        self._idle.append(instance)

    def _finished(self, instance: Instance, work: Work, error: BaseException | None) -> None:
        running = self._running.pop(instance, None)
        if running is None:
            return  # it had been given up; its batch is answered already
        if running.watchdog is not None:
            running.watchdog.cancel()
        if error is not None and not isinstance(error, Exception):
            self._replace(instance, f"{type(error).__name__} ended it")
            error = WorkerLost(f"instance '{instance.name}' was lost while it executed the request's batch")
        else:
            self._losses.pop(instance.name, None)
            self._release(instance)
        running.answer(error)

    def _release(self, instance: Instance) -> None:
        slot = self._slot_of.get(instance)
        if slot is None:
            return  # the group was stopped meanwhile
        if isinstance(instance, InlineInstance) and instance.is_slow:
            self._move_to_thread(instance, slot)
        else:
            self._idle.append(instance)
        self.available()

    def _move_to_thread(self, instance: Instance, slot: Slot) -> None:
        limit_ms = SLOW_INLINE_NS / 1e6
        logger.warning("instance '%s' moves to a thread: it takes more than %g ms", slot.name, limit_ms)
        del self._slot_of[instance]
        self._add(replace(slot, is_inline=False), instance.backend)

    def _hung(self, instance: Instance) -> None:
        running = self._running.pop(instance)
        timeout_s = self._execution_timeout_s
        self._replace(instance, f"its execution took longer than {timeout_s:g} s")
        instance.backend.interrupt()
        instance.stop()
        message = f"instance '{instance.name}' did not finish the request's batch within {timeout_s:g} s"
        running.answer(WorkerLost(message))

    def _replace(self, instance: Instance, reason: str) -> None:
        slot = self._slot_of.pop(instance)
        losses = self._losses.get(slot.name, 0)
        self._losses[slot.name] = losses + 1
        delay_s = RESTART_DELAYS_S[min(losses, len(RESTART_DELAYS_S) - 1)]
        logger.error("instance '%s' is replaced in %g s: %s", slot.name, delay_s, reason)
        if not self._is_stopped:
            task = self._loop.create_task(self._restart(slot, delay_s))
            self._restarts.add(task)
            task.add_done_callback(self._restarts.discard)
        self.alive_changed()

    async def _restart(self, slot: Slot, delay_s: float) -> None:
        while True:
            await asyncio.sleep(delay_s)
            try:
                backend = await self._loop.run_in_executor(self._executor, slot.make_backend)
                break
            except Exception as error:
                delay_s = RESTART_DELAYS_S[-1]
                logger.error(
                    "instance '%s' does not start again (next try in %g s): %s", slot.name, delay_s, error
                )
        self.restart_count += 1
        self._add(slot, backend)
        self.available()
        self.alive_changed()


def _nobody() -> None:
    """Stands for a callback where nobody listens."""


def _join(instances: list[Instance], timeout_s: float) -> None:
    """Waits for all `instances` together no longer than `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    for instance in instances:
        instance.join(max(0.0, deadline_s - time.monotonic()))
