"""Poll mode: tells when the repository has changed and settled."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Protocol

from headrace.errors import HeadraceError
from headrace.repository.files.fingerprint import Fingerprint
from headrace.repository.files.scan import Scan, VersionFolder
from headrace.repository.settling import Settling

_LOGGER = logging.getLogger(__name__)
_SHORTEST_WAIT_S = 0.05


class Scans(Protocol):
    """What is watched; `Repository` is one."""

    def scan(self) -> Scan: ...


class Changes(Protocol):
    """What wakes the watcher; `FileChanges` is one."""

    async def wait(self, timeout_s: float) -> None: ...


class Watcher:
    """Scans the repository when files change, and every `interval_s` seconds in any case.

    A repository that is gone for a while (a network share) is not taken for an empty one: what was settled
    stays so until the repository is back. Whoever iterates owns the watcher; it ends when they do.
    """

    def __init__(
        self,
        repository: Scans,
        changes: Changes,
        settling: Settling,
        *,
        interval_s: float = 15.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._repository = repository
        self._changes = changes
        self._settling = settling
        self._interval_s = interval_s
        self._clock = clock
        self._is_reachable = True

    async def settled(self, known: Scan | None = None) -> AsyncIterator[Scan]:
        """Yields each settled scan whose models differ from the one before, first from `known`."""
        reported = _contents(known) if known is not None else {}
        while True:
            scan = await self._scan()
            next_check_s: float | None = None
            if scan is not None:
                settled, next_check_s = self._settling.observe(scan, self._clock())
                if _contents(settled) != reported:
                    reported = _contents(settled)
                    yield settled
            await self._changes.wait(self._wait_s(next_check_s))

    def _wait_s(self, next_check_s: float | None) -> float:
        if next_check_s is None:
            return self._interval_s
        return min(self._interval_s, max(_SHORTEST_WAIT_S, next_check_s - self._clock()))

    async def _scan(self) -> Scan | None:
        """The repository now, or None while it cannot be read."""
        try:
            scan = await asyncio.to_thread(self._repository.scan)
        except HeadraceError as error:
            if self._is_reachable:
                _LOGGER.warning("%s; what is loaded stays loaded", error)
            self._is_reachable = False
            return None
        if not self._is_reachable:
            _LOGGER.warning("the model repository is back")
        self._is_reachable = True
        return scan


def _contents(scan: Scan) -> dict[str, tuple[Fingerprint, tuple[VersionFolder, ...]]]:
    """What a change is judged by: the settled parts, not the remarks on what is ignored or waiting."""
    return {name: (model.config_fingerprint, model.versions) for name, model in scan.models.items()}
