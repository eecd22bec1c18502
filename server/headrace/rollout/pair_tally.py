"""What became of the copies that a shadow has executed, beside the live requests they were made of."""

from headrace.errors import HeadraceError
from headrace.rollout.tally import Block, Incidents
from headrace.router.shadow.pair import EXECUTION_ERRORS, Pair


class PairTally:
    """Told of every pair, asked at every look.

    Only executions count: a copy that found a full queue says something of the load. Times are those of the
    executions, as a copy waits for capacity to spare.
    """

    def __init__(self) -> None:
        self._live_ns: list[int] = []
        self._copied_ns: list[int] = []
        self._live_incidents = Incidents()
        self._copied_incidents = Incidents()

    def add(self, pair: Pair) -> None:
        live, copied = pair.live, pair.shadow
        if isinstance(copied, HeadraceError) and not isinstance(copied, EXECUTION_ERRORS):
            return
        if isinstance(live, HeadraceError):
            self._live_incidents.add(live)
        elif pair.live_timings is not None:
            self._live_ns.append(pair.live_timings.executed_ns)
        if isinstance(copied, HeadraceError):
            self._copied_incidents.add(copied)
        elif pair.shadow_timings is not None:
            self._copied_ns.append(pair.shadow_timings.executed_ns)

    def take(self) -> tuple[Block, Block]:
        """The live version's and the shadow's since the last call."""
        live = Block(self._live_ns, *self._live_incidents.take())
        copied = Block(self._copied_ns, *self._copied_incidents.take())
        self._live_ns, self._copied_ns = [], []
        return live, copied
