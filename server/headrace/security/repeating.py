"""A step that is taken again and again while the server runs."""

import asyncio
import logging
from collections.abc import Callable

_log = logging.getLogger(__name__)


class Repeating:
    """Takes `step` on the loop every `interval_s` seconds."""

    def __init__(self, interval_s: float, step: Callable[[], object]) -> None:
        self._interval_s = interval_s
        self._step = step
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._repeat())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                self._step()
            except Exception:
                # Whatever it was must not end what keys and certificates are taken back by.
                _log.exception("following a file failed, and is tried again: this is a bug")
