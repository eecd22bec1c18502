"""Keeps what was learned of versions' answers over restarts."""

import logging

from headrace.rollout.comparison.comparer import Comparer
from headrace.rollout.comparison.comparison import Comparison
from headrace.rollout.journal import Journal

logger = logging.getLogger(__name__)

SAVE_INTERVAL_S = 10.0


class ComparisonKeeper:
    """Writes the comparisons that have changed, now and then; they are worth less than decisions are."""

    def __init__(self, comparer: Comparer, journal: Journal) -> None:
        self._comparer = comparer
        self._journal = journal
        self._saved_pairs: dict[tuple[str, int, int], int] = {}
        self._saved_at_s = 0.0

    async def load(self) -> None:
        """Goes on with what is kept; what another release has written in its own way is begun anew."""
        for document in await self._journal.ask(self._journal.store.comparisons):
            try:
                comparison = Comparison.from_document(document)
            except (KeyError, TypeError, ValueError) as error:
                logger.warning("a comparison that was kept cannot be read, and begins anew: %s", error)
                continue
            self._comparer.resume(comparison)
            self._saved_pairs[_key(comparison)] = comparison.pairs

    async def save_if_due(self, now_s: float) -> None:
        if now_s - self._saved_at_s >= SAVE_INTERVAL_S:
            self._saved_at_s = now_s
            await self.save()

    async def save(self) -> None:
        """ConfigError or OSError where it cannot be kept."""
        present = {_key(each): each for each in self._comparer.all()}
        changed = [each for key, each in present.items() if self._saved_pairs.get(key) != each.pairs]
        gone = [key for key in self._saved_pairs if key not in present]
        if not changed and not gone:
            return
        documents = [(_key(each), each.to_document()) for each in changed]
        await self._journal.ask(lambda: self._journal.store.save_comparisons(documents, gone))
        self._saved_pairs = {key: each.pairs for key, each in present.items()}


def _key(comparison: Comparison) -> tuple[str, int, int]:
    return comparison.model, comparison.live_version, comparison.shadow_version
