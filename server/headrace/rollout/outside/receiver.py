"""One receiver of webhooks: it gets its events one after the other, until each has arrived or is too old."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import TypeVar

from headrace.errors import HeadraceError
from headrace.rollout.outside import signature
from headrace.rollout.outside.delivery import Delivery, Outbox
from headrace.rollout.outside.poster import Poster
from headrace.rollout.outside.secret_file import SecretFile

_log = logging.getLogger(__name__)

T = TypeVar("T")

MIN_DELAY_S = 1.0
MAX_DELAY_S = 300.0
# How often it is looked whether anything waits, though nobody said so.
IDLE_S = 60.0
# Where the outbox fails, as on a full disk.
OUTBOX_RETRY_S = 10.0
GONE = 410


def delay_s(failures: int) -> float:
    """How long to wait after so many failures in a row: twice as long each time, and less by up to a half."""
    most_s = min(MAX_DELAY_S, 2 * MIN_DELAY_S * 2.0 ** min(failures - 1, 30))
    return random.uniform(most_s / 2, most_s)


class Receiver:
    """`name` is the receiver's in the log; its URL may be a secret.

    Every method of the outbox is called in `executor`, and `delay_s` with the number of failures in a row.
    """

    def __init__(
        self,
        name: str,
        url: str,
        poster: Poster,
        secret: SecretFile | None,
        outbox: Outbox,
        executor: Executor,
        max_age_s: float,
        now: Callable[[], float],
        delay_s: Callable[[int], float] = delay_s,
    ) -> None:
        self._name = name
        self._url = url
        self._poster = poster
        self._secret = secret
        self._outbox = outbox
        self._executor = executor
        self._max_age_s = max_age_s
        self._now = now
        self._delay_s = delay_s
        self._woken = asyncio.Event()
        self._is_ending = False
        self._failures = 0
        self.delivered_count = 0
        self.failed_count = 0
        self.given_up_count = 0

    def wake(self) -> None:
        """There may be something to deliver."""
        self._woken.set()

    def end(self) -> None:
        """`run` returns once the attempt under way is over."""
        self._is_ending = True
        self.wake()

    async def run(self) -> None:
        """Delivers what there is, until `end`."""
        while not self._is_ending:
            self._woken.clear()
            try:
                wait_s = await self._deliver_next()
            except OSError as error:
                _log.warning("%s: %s", self._name, error)
                wait_s = OUTBOX_RETRY_S
            except Exception:
                # Whatever it was must not end what tells of rollouts.
                _log.exception(
                    "%s: an event was not delivered, and is tried again: this is a bug", self._name
                )
                wait_s = MAX_DELAY_S
            if wait_s > 0:
                await self._rest(wait_s)

    async def _deliver_next(self) -> float:
        """Seconds after which there may be something to do, unless it is woken."""
        delivery = await self._ask(self._outbox.pending, self._url)
        if delivery is None:
            return IDLE_S
        now_s = self._now()
        if now_s - delivery.created_at_s >= self._max_age_s:
            await self._give_up(delivery, f"it did not arrive within {self._max_age_s:g} s")
            return 0
        if now_s < delivery.next_at_s:
            # The clock may have been put back meanwhile.
            return min(delivery.next_at_s - now_s, MAX_DELAY_S)
        await self._attempt(delivery)
        return 0

    async def _attempt(self, delivery: Delivery) -> None:
        body = delivery.body.encode()
        try:
            answer = await self._poster.post(body, lambda: self._headers(delivery, body))
        except HeadraceError as error:
            await self._put_off(delivery, str(error))
            return
        if 200 <= answer.status < 300:
            await self._count_delivered(delivery)
        elif answer.status == GONE:
            await self._give_up(delivery, f"it answered with status {GONE}")
        else:
            await self._put_off(delivery, f"it answered with status {answer.status}")

    async def _count_delivered(self, delivery: Delivery) -> None:
        self.delivered_count += 1
        if self._failures:
            _log.info("%s: takes events again", self._name)
        self._failures = 0
        await self._ask(self._outbox.delivered, delivery.event_id, delivery.url, self._now())

    async def _put_off(self, delivery: Delivery, reason: str) -> None:
        # After a restart it goes on where it was.
        self._failures = max(self._failures, delivery.attempts) + 1
        self.failed_count += 1
        wait_s = self._delay_s(self._failures)
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        _log.log(level, "%s: does not take event %s: %s", self._name, delivery.event_id, reason)
        next_at_s = self._now() + wait_s
        await self._ask(self._outbox.failed, delivery.event_id, delivery.url, next_at_s, reason)

    async def _give_up(self, delivery: Delivery, reason: str) -> None:
        self.given_up_count += 1
        _log.warning("%s: event %s is given up: %s", self._name, delivery.event_id, reason)
        await self._ask(self._outbox.given_up, delivery.event_id, delivery.url, reason, self._now())

    def _headers(self, delivery: Delivery, body: bytes) -> Mapping[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Headrace-Event": delivery.kind,
            "Headrace-Event-Id": delivery.event_id,
        }
        if self._secret is not None:
            headers[signature.HEADER] = signature.sign(self._secret.read(), body, int(self._now()))
        return headers

    async def _ask(self, method: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, method, *arguments)

    async def _rest(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
