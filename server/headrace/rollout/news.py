"""Tells the webhooks of what happens to rollouts: put into their outbox where it is kept, then delivered."""

from concurrent.futures import Executor
from functools import partial

from headrace.rollout.journal import Journal
from headrace.rollout.outside.event import WebhookEvent, new_event_id
from headrace.rollout.outside.outbox import StoredOutbox
from headrace.rollout.outside.webhooks import Webhooks, check_secret
from headrace.rollout.record import Event, Record, RolloutState
from headrace.rollout.tasks import Tasks
from headrace.settings import RolloutSettings


class News:
    """What `announce` is told is delivered at least once, whatever happens in between."""

    def __init__(self, settings: RolloutSettings, server_name: str) -> None:
        self._settings = settings
        self._server_name = server_name
        self._outbox: StoredOutbox | None = None
        self._webhooks: Webhooks | None = None
        self._executor: Executor | None = None
        self._beginning = Tasks()
        self._is_new = False

    @property
    def counts(self) -> dict[str, int]:
        """Deliveries by what became of them."""
        hooks = self._webhooks
        if hooks is None:
            return {}
        return {
            "delivered": hooks.delivered_count,
            "failed": hooks.failed_count,
            "given_up": hooks.given_up_count,
        }

    def check(self) -> None:
        """ConfigError where the secret does not do; blocks."""
        check_secret(self._settings)

    async def start(self, journal: Journal) -> None:
        """ConfigError or OSError where the secret or the outbox do not do; what is announced waits then, and
        `wake` tries again.
        """
        if not self._settings.webhook_urls:
            return
        self._executor = journal.thread
        self._outbox = await journal.ask(lambda: StoredOutbox(journal.store.connection))
        await self._begin(self._outbox)

    def announce(self, record: Record, event: Event) -> None:
        """In the journal's thread, inside the transaction that keeps the event."""
        if self._outbox is None:
            return
        document = WebhookEvent(
            id=new_event_id(),
            kind=event.kind,
            model=record.model,
            rollout=record.id,
            version=record.canary,
            stable=record.stable,
            step=event.step,
            weight=_percent(record),
            state=record.state.value,
            reason=event.reason,
            by=event.by,
            at=event.at_s,
            server=self._server_name,
        )
        self._is_new = True
        self._outbox.add(document.id, event.kind, document.body(), self._settings.webhook_urls, event.at_s)

    def wake(self) -> None:
        """Delivers what was announced since the last call; on the event loop."""
        if self._webhooks is not None and self._is_new:
            self._is_new = False
            self._webhooks.wake()
        elif self._webhooks is None and self._outbox is not None and not self._beginning.is_busy:
            self._beginning.start(partial(self._begin, self._outbox))

    async def stop(self) -> None:
        self._beginning.cancel()
        if self._webhooks is not None:
            await self._webhooks.stop()

    async def _begin(self, outbox: StoredOutbox) -> None:
        assert self._executor is not None
        webhooks = Webhooks(self._settings, outbox, self._executor)
        await webhooks.start()
        self._webhooks = webhooks


def _percent(record: Record) -> float:
    """The canary's share of requests from now on."""
    match record.state:
        case RolloutState.DONE:
            return 100.0
        case RolloutState.ROLLED_BACK:
            return 0.0
        case _:
            return record.current.weight / 10
