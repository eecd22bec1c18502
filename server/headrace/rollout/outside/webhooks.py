"""Tells receivers outside of every event of a rollout, at least once and in order."""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from urllib.parse import urlsplit

from headrace.rollout.outside.delivery import Outbox
from headrace.rollout.outside.poster import Poster
from headrace.rollout.outside.receiver import Receiver, delay_s
from headrace.rollout.outside.secret_file import SecretFile
from headrace.settings import RolloutSettings

_log = logging.getLogger(__name__)

MIN_SECRET_BYTES = 16
# Of a receiver's answer, of which only the status counts.
MAX_ANSWER_BYTES = 65_536


class Webhooks:
    """One task a URL: a receiver that is slow or gone delays no other.

    Every method of `outbox` is called in `executor`, which has to have one thread where the outbox is on a
    connection that others use in it. Of servers that share an outbox only one may be started.
    """

    def __init__(
        self,
        settings: RolloutSettings,
        outbox: Outbox,
        executor: Executor,
        *,
        now: Callable[[], float] = time.time,
        delay_s: Callable[[int], float] = delay_s,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._urls = settings.webhook_urls
        self._outbox = outbox
        self._executor = executor
        self._now = now
        self._secret = _secret_of(settings)
        self._receivers: Sequence[Receiver] = [
            Receiver(
                _name(number, url),
                url,
                Poster(url, settings.webhook_timeout_s, MAX_ANSWER_BYTES, tls=tls),
                self._secret,
                outbox,
                executor,
                settings.webhook_max_age_s,
                now,
                delay_s,
            )
            for number, url in enumerate(self._urls, 1)
        ]
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def delivered_count(self) -> int:
        """Deliveries that have arrived, since the start."""
        return sum(each.delivered_count for each in self._receivers)

    @property
    def failed_count(self) -> int:
        """Attempts that failed."""
        return sum(each.failed_count for each in self._receivers)

    @property
    def given_up_count(self) -> int:
        """Deliveries that were given up, for their age or because the receiver wants no more (410)."""
        return sum(each.given_up_count for each in self._receivers)

    async def start(self) -> None:
        """Takes up what an earlier run left, too. ConfigError or OSError where secret or outbox do not do."""
        loop = asyncio.get_running_loop()
        if self._secret is not None:
            await loop.run_in_executor(self._executor, self._secret.read)
        elif self._urls:
            _log.warning("webhooks are not signed: rollout.webhook_secret_file names no secret")
        await loop.run_in_executor(self._executor, self._outbox.keep_only, self._urls, self._now())
        self._tasks = [loop.create_task(each.run()) for each in self._receivers]

    def wake(self) -> None:
        """There is a new event; called on the loop."""
        for receiver in self._receivers:
            receiver.wake()

    async def stop(self, timeout_s: float = 1.0) -> None:
        """Attempts under way get so long to finish; what has not arrived waits for the next start."""
        for receiver in self._receivers:
            receiver.end()
        if not self._tasks:
            return
        _, left = await asyncio.wait(self._tasks, timeout=timeout_s)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)


def check_secret(settings: RolloutSettings) -> None:
    """ConfigError where there is to be a secret, and it does not do; blocks."""
    secret = _secret_of(settings)
    if secret is not None:
        secret.read()


def _secret_of(settings: RolloutSettings) -> SecretFile | None:
    path = settings.webhook_secret_file
    return SecretFile(path, "rollout.webhook_secret_file", MIN_SECRET_BYTES) if path else None


def _name(number: int, url: str) -> str:
    """For the log: paths and queries may be secrets."""
    parts = urlsplit(url)
    return f"webhook {number} ({parts.scheme}://{parts.netloc})"
