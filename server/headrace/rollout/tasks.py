"""Work that goes on beside whoever began it, and tells of what goes wrong in it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from headrace.errors import HeadraceError

logger = logging.getLogger(__name__)


class Tasks:
    """Holds on to its tasks until they end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = ""

    @property
    def is_busy(self) -> bool:
        """Whether any has not ended."""
        return bool(self._tasks)

    def start(self, work: Callable[[], Awaitable[None]]) -> None:
        """Does `work` in a task of its own."""
        task = asyncio.get_running_loop().create_task(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def wait(self, timeout_s: float) -> None:
        """Until all that was started has ended, or the time is over."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=timeout_s)

    def cancel(self) -> None:
        """What has not ended is given up."""
        for task in list(self._tasks):
            task.cancel()

    async def _watched(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
            self._told = ""
        except (HeadraceError, OSError) as error:
            if self._told != str(error):  # the same is tried again and again
                self._told = str(error)
                logger.error("rollouts: %s", error)
        except Exception:
            logger.exception("a part of rollouts failed: this is a bug")
