"""The store, asked from the event loop: by a thread of its own, so that what comes first is kept first."""

import asyncio
import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from headrace.errors import ConfigError, NotFound, Unavailable
from headrace.rollout.kept_route import KeptRoute
from headrace.rollout.record import Event, Record
from headrace.rollout.store import Store
from headrace.state.database import failures_named

T = TypeVar("T")

LOCK_FILE = "rollouts.lock"

# Told of what is kept, inside the transaction.
Announce = Callable[[Record, Event], None]


class Journal:
    """Keeps routes and rollouts. Of servers with the same state folder only the one with its lock writes.

    `keep_rollouts` as for the store. ConfigError or OSError where the database refuses what is asked.
    """

    def __init__(self, folder: Path, announce: Announce, keep_rollouts: int) -> None:
        self._folder = folder
        self._keep_rollouts = keep_rollouts
        self._announce = announce
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="headrace rollouts")
        self._store: Store | None = None
        self._lock: int | None = None

    @property
    def has_lock(self) -> bool:
        """Whether this server decides."""
        return self._lock is not None

    @property
    def store(self) -> Store:
        """For calls in the journal's thread."""
        assert self._store is not None
        return self._store

    async def open(self) -> None:
        """ConfigError or OSError where the folder cannot be used."""
        self._store = await self.ask(lambda: Store(self._folder, self._keep_rollouts))

    async def read_routes(self) -> list[KeptRoute]:
        """Those that are kept where `open` has failed; none where nothing was ever kept.

        ConfigError where they cannot be read, so that nobody knows which version is to answer.
        """
        try:
            return await self.ask(lambda: Store.read_routes(self._folder))
        except NotFound:
            return []
        except Unavailable as error:
            raise ConfigError(f"server.state_dir: {error}: expected the routes of this server") from error

    def take_lock(self) -> bool:
        """Whether this server decides from now on; the lock is gone with the process, however that ends."""
        if self._lock is None:
            descriptor = os.open(self._folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            self._lock = descriptor
        return True

    def give_lock_back(self) -> None:
        """Another server may decide from now on."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def ask(self, call: Callable[[], T]) -> T:
        """What `call` gives, in the journal's thread."""

        def named() -> T:
            with failures_named(self._folder):
                return call()

        return await asyncio.wrap_future(self.thread.submit(named))

    async def commit(
        self, record: Record, event: Event, route: KeptRoute | None, is_wanted: Callable[[], bool]
    ) -> Record | None:
        """See `Store.commit`; `is_wanted` is called in the journal's thread."""
        return await self.ask(lambda: self.store.commit(record, event, route, self._announce, is_wanted))

    async def close(self) -> None:
        """Keeps what is under way, then gives the lock back."""
        try:
            if self._store is not None:
                await self.ask(self._store.close)
        finally:
            self.thread.shutdown(wait=False)
            self.give_lock_back()
