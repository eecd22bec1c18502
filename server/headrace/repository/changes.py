"""Wakes a waiter when files below a folder change, as far as the file system tells."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from watchfiles import awatch

_LOGGER = logging.getLogger(__name__)
_GROUPING_MS = 200
_RETRY_S = 5.0


class FileChanges:
    """Notifications for the folder `path`; network file systems send none, hence `wait` has a timeout."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._changed = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to listen; needs a running loop."""
        self._task = asyncio.create_task(self._listen(), name="repository changes")

    async def stop(self) -> None:
        """Ends listening."""
        self._stopping.set()
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def wait(self, timeout_s: float) -> None:
        """Returns after `timeout_s` seconds, or as soon as something changed since the last call."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        self._changed.clear()

    async def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                changes = awatch(
                    self._path, watch_filter=None, debounce=_GROUPING_MS, stop_event=self._stopping
                )
                async for _ in changes:
                    self._changed.set()
            except OSError as error:
                _LOGGER.debug("no notifications for the model repository: %s", error)
            await asyncio.sleep(_RETRY_S)
