"""What became of the copies that a shadow has executed, beside the live requests they were made of."""

from collections.abc import Sequence

from headrace.errors import HeadraceError
from headrace.rollout.tally import Block, Incidents
from headrace.router.shadow.pair import EXECUTION_ERRORS, Pair


class PairTally:
    """Told of all pairs, those of one batch at once, and asked at every look.

    Only executions count: a copy that found a full queue says something of the load. Times are those of the
    executions, as a copy waits for capacity to spare.
    """

    def __init__(self) -> None:
        self._live_ns: list[int] = []
        self._copied_ns: list[int] = []
        self._live_incidents = Incidents()
        self._copied_incidents = Incidents()

    def add(self, pairs: Sequence[Pair]) -> None:
        executed = [pair for pair in pairs if _is_executed(pair)]
        self._live_incidents.add([pair.live for pair in executed if isinstance(pair.live, HeadraceError)])
        self._copied_incidents.add(
            [pair.shadow for pair in executed if isinstance(pair.shadow, HeadraceError)]
        )
        self._live_ns += [pair.live_timings.executed_ns for pair in executed if pair.live_timings]
        self._copied_ns += [pair.shadow_timings.executed_ns for pair in executed if pair.shadow_timings]

    def take(self) -> tuple[Block, Block]:
        """The live version's and the shadow's since the last call."""
        live = Block(self._live_ns, *self._live_incidents.take())
        copied = Block(self._copied_ns, *self._copied_incidents.take())
        self._live_ns, self._copied_ns = [], []
        return live, copied


def _is_executed(pair: Pair) -> bool:
    return not isinstance(pair.shadow, HeadraceError) or isinstance(pair.shadow, EXECUTION_ERRORS)
