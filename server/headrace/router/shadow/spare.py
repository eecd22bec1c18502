"""Whether there is capacity to spare for copies now, and how much."""

from collections.abc import Callable

from headrace.router.shadow.meter import Reading

# How often is looked while copies wait.
INTERVAL_S = 0.1

# The part of all cores that must stay idle, and what must be idle for copies to get more.
HEADROOM = 0.1
AMPLE_HEADROOM = 0.15
# The same for the event loop, which is one thread however many cores there are.
LOOP_LIMIT = 0.85
AMPLE_LOOP_LIMIT = 0.75

# What an interval adds to the copies' share, as a part of all cores, and what a busy one leaves of it; less
# than LEAST_SHARE of a core is none.
INCREASE = 0.05
DECREASE = 0.5
LEAST_SHARE = 0.01

# What is saved up of the share, in intervals, and the most that is owed, in seconds.
SAVED_INTERVALS = 2
MOST_OWED_S = 10.0


class SpareCapacity:
    """The share of the cores that copies may execute on: additive increase, multiplicative decrease (RFC 5681
    does so for senders who cannot see what is left of a line).

    `read` is asked once per interval. Queues alone would not do: with as many callers as instances, each with
    one request at a time, no request ever waits in one, and yet nothing is to spare.
    """

    def __init__(self, read: Callable[[], Reading], cores: float) -> None:
        self.share = 0.0
        self.is_busy = False
        self._read = read
        self._cores = cores
        self._before: Reading | None = None
        self._saved_s = 0.0
        self._spent_s = 0.0

    @property
    def has_any(self) -> bool:
        """Whether a copy may execute now."""
        return self._saved_s > 0

    def begin(self) -> None:
        """From now on it is looked at; what was known before is too old."""
        self.rest()
        self._before = self._read()

    def rest(self) -> None:
        """Nobody looks any more: there is no share, and nothing is known to be busy."""
        self.share = 0.0
        self.is_busy = False
        self._saved_s = min(0.0, self._saved_s)
        self._spent_s = 0.0
        self._before = None

    def look(self, *, live_waits: bool) -> None:
        """An interval is over; `live_waits` says whether live requests wait in a queue."""
        before, now = self._before, self._read()
        self._before = now
        wall_s = now.wall_s - before.wall_s if before else 0.0
        if before is None or wall_s <= 0:
            return
        idle_cores = self._idle_cores(before, now) / wall_s
        loop_share = (now.loop_s - before.loop_s) / wall_s
        if live_waits or idle_cores < HEADROOM * self._cores or loop_share > LOOP_LIMIT:
            self._decrease()
        elif idle_cores >= AMPLE_HEADROOM * self._cores and loop_share <= AMPLE_LOOP_LIMIT:
            self._increase(idle_cores + self._spent_s / wall_s)
        self.is_busy = not self.share
        self._save(wall_s)
        self._spent_s = 0.0

    def spend(self, seconds: float) -> None:
        """So much is executed for copies; less than 0 gives back what was not needed."""
        self._saved_s = max(self._saved_s - seconds, -MOST_OWED_S)
        self._spent_s += seconds

    def _idle_cores(self, before: Reading, now: Reading) -> float:
        """Seconds of core time that neither this process nor, where that is known, another one used."""
        own_s = self._cores * (now.wall_s - before.wall_s) - (now.process_s - before.process_s)
        if before.idle_s is None or now.idle_s is None:
            return own_s
        return min(own_s, now.idle_s - before.idle_s)

    def _decrease(self) -> None:
        self.share *= DECREASE
        if self.share < LEAST_SHARE:
            self.share = 0.0

    def _increase(self, available: float) -> None:
        """One step, but not above what live requests leave: a share that nobody used tells nothing."""
        most = max(available - HEADROOM * self._cores, 0.0)
        self.share = min(self.share + INCREASE * self._cores, most)

    def _save(self, wall_s: float) -> None:
        most_s = self.share * SAVED_INTERVALS * INTERVAL_S
        self._saved_s = min(self._saved_s + self.share * wall_s, most_s)
