"""Keeps what is due to be kept: ways back, how far rollouts are, comparisons; lets go what is over."""

from dataclasses import replace
from functools import partial

from headrace.core.route import PREVIOUS
from headrace.rollout import stages
from headrace.rollout.comparison_keeper import ComparisonKeeper
from headrace.rollout.kept_route import KeptRoute
from headrace.rollout.ledger import Ledger
from headrace.rollout.route_book import RouteBook
from headrace.rollout.runs import Runs
from headrace.rollout.tasks import Tasks
from headrace.rollout.transitions import Transitions

# How often what was seen is kept.
SAVE_INTERVAL_S = 1.0

# How long a stop waits for what is being written.
STOP_TIMEOUT_S = 5.0


class Keeping:
    """Writes beside the looks, one thing after the other: no look waits for the disk."""

    def __init__(
        self,
        runs: Runs,
        book: RouteBook,
        ledger: Ledger,
        transitions: Transitions,
        comparisons: ComparisonKeeper,
    ) -> None:
        self._runs = runs
        self._book = book
        self._ledger = ledger
        self._transitions = transitions
        self._comparisons = comparisons
        self._work = Tasks()
        self._saved_at_s = 0.0

    def wake(self) -> None:
        """Writes what is due, unless that is being done."""
        if not self._work.is_busy:
            self._work.start(partial(self._keep, self._runs.now_s()))

    async def wait(self, timeout_s: float) -> None:
        """Until what is being written is, or the time is over."""
        await self._work.wait(timeout_s)

    async def load(self) -> None:
        """Goes on with the comparisons that are kept."""
        await self._comparisons.load()

    async def save(self) -> None:
        """Keeps all that there is; ConfigError or OSError where that cannot be."""
        await self._work.wait(STOP_TIMEOUT_S)
        self._work.cancel()
        await self._ledger.save_unsaved()
        await self._save_progress()
        await self._comparisons.save()

    async def _keep(self, now_s: float) -> None:
        await self._ledger.save_unsaved()
        for kept in self._book.all():
            await self._let_previous_go(kept)
        if now_s - self._saved_at_s >= SAVE_INTERVAL_S:
            self._saved_at_s = now_s
            await self._save_progress()
        await self._comparisons.save_if_due(now_s)

    async def _save_progress(self) -> None:
        await self._ledger.save_progress(
            [replace(run.record, progress=run.progress()) for run in self._runs.all()]
        )

    async def _let_previous_go(self, kept: KeptRoute) -> None:
        """The version before is kept until its time is over."""
        if not self._is_previous_over(kept) or self._runs.lock(kept.model).locked():
            return
        async with self._runs.lock(kept.model):
            present = self._book.get(kept.model)
            if present is kept and kept.route is not None:
                bare = stages.without_previous(kept.route)
                await self._transitions.set_route(
                    self._book.following(kept.model, bare, kept.origin, kept.set_by)
                )

    def _is_previous_over(self, kept: KeptRoute) -> bool:
        has_previous = kept.route is not None and PREVIOUS in kept.route.labels
        return has_previous and 0 < kept.previous_until_s <= self._ledger.now_s()
