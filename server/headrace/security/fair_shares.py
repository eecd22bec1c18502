"""A limit that several callers share: each of those active gets its part, and what the others leave."""

from headrace.security.token_bucket import NS_PER_S, Rate, TokenBucket

# A caller counts as active for one to two rounds after it has asked.
BUCKET_ROUND_NS = 5 * NS_PER_S
PLACES_ROUND_NS = 2 * NS_PER_S
# Under a slow limit even a caller that asks for no more than its share comes seldom.
TOKENS_PER_ROUND = 4
# What is in use is never like new.
IN_USE_NS = 1 << 80
# How many callers short of places are remembered; those beyond come after them.
MAX_SHORT = 1000
_NEVER = -2


class Attendance:
    """Counts the callers that are active: those that have asked in this round or in the one before."""

    __slots__ = ("_of_this_round", "_round_ns", "callers", "round", "turns_at_ns")

    def __init__(self, round_ns: int) -> None:
        self._round_ns = round_ns
        self.round = 0
        self.turns_at_ns = round_ns
        self.callers = 0
        self._of_this_round = 0

    def turn(self, now_ns: int) -> None:
        """Begins a new round, from `turns_at_ns` on."""
        before, self.round = self.round, now_ns // self._round_ns
        self.turns_at_ns = (self.round + 1) * self._round_ns
        self.callers = self._of_this_round if self.round == before + 1 else 0
        self._of_this_round = 0

    def note(self, last_round: int) -> None:
        """Counts a caller that was active in `last_round`, and not yet in this one."""
        self._of_this_round += 1
        if last_round != self.round - 1:
            self.callers += 1

    def remaining_ns(self, last_round: int, now_ns: int) -> int:
        """How long a caller that was active in `last_round` still counts."""
        return (last_round + 2) * self._round_ns - now_ns


class SharedBucket:
    """A token bucket that several callers take from, by way of a `BucketShare` each.

    Every request takes a token here, so all together never have more than the limit. Beside that each caller
    has a bucket of its own, which fills at the rate divided by the active callers, up to half the burst. With
    a token of its own a caller needs one here, and no more. Without, it takes what the others leave: it needs
    this bucket to be more than half full. So the lower half is for those within their share: one of them
    finds a token there, however fast somebody else asks. A caller that is alone has everything.

    With a burst of a few requests there is next to nothing to keep back. Callers within their share are then
    refused too when they meet, and get their share of the rate by coming again.
    """

    __slots__ = ("__weakref__", "_half_ns", "attendance", "bucket", "spare_ns", "token_ns")

    def __init__(self, rate: Rate) -> None:
        self.token_ns = rate.token_ns
        self._half_ns = rate.burst_ns // 2
        self.spare_ns = self._half_ns + rate.token_ns
        self.bucket = TokenBucket(rate)
        self.attendance = Attendance(max(BUCKET_ROUND_NS, TOKENS_PER_ROUND * rate.token_ns))

    @property
    def own_burst_ns(self) -> int:
        """How long a caller's own bucket takes to fill."""
        return self.attendance.callers * max(self._half_ns, self.token_ns)

    @property
    def first_ns(self) -> int:
        """For how long that of a new caller has filled: all of them together hold half the burst."""
        return max(self._half_ns, self.attendance.callers * self.token_ns)


class BucketShare:
    """One caller's part of a shared bucket: looks like a `TokenBucket` to it."""

    __slots__ = ("_empty_at_ns", "_round", "_shared")

    def __init__(self, shared: SharedBucket) -> None:
        self._shared = shared
        self._empty_at_ns = 0
        self._round = _NEVER

    def wait_ns(self, now_ns: int) -> int:
        """How long until there is a token, if nobody else takes it; 0 or less where there is one."""
        shared = self._shared
        attendance = shared.attendance
        if now_ns >= attendance.turns_at_ns:
            attendance.turn(now_ns)
        if self._round != attendance.round:
            attendance.note(self._round)
            if self._round == _NEVER:
                self._empty_at_ns = now_ns - shared.first_ns
            self._round = attendance.round
        wait_ns = shared.bucket.wait_ns(now_ns)
        if attendance.callers == 1:
            return wait_ns
        own_ns = self._empty_at_ns + attendance.callers * shared.token_ns - now_ns
        if own_ns <= 0:
            return wait_ns
        # Beyond the burst too: or a limit whose burst is one request could lend nothing.
        spare_ns = shared.spare_ns - shared.bucket.untouched_ns(now_ns)
        return max(wait_ns, min(own_ns, spare_ns))

    def take(self, now_ns: int) -> None:
        """Takes a token; `wait_ns` has just said that there is one."""
        shared = self._shared
        shared.bucket.take(now_ns)
        own_token_ns = shared.attendance.callers * shared.token_ns
        if self._empty_at_ns + own_token_ns > now_ns:
            return  # What the others leave is a gift.
        full_since_ns = now_ns - shared.own_burst_ns
        if self._empty_at_ns < full_since_ns:
            self._empty_at_ns = full_since_ns
        self._empty_at_ns += own_token_ns

    def remaining_ns(self, now_ns: int) -> int:
        """How long until a new share, of a new bucket, would be the same; 0 or less where it is."""
        shared = self._shared
        return max(
            self._empty_at_ns + shared.first_ns - now_ns,
            shared.attendance.remaining_ns(self._round, now_ns),
            shared.bucket.remaining_ns(now_ns),
        )


class SharedPlaces:
    """So many requests at a time, by way of a `PlacesShare` for each caller.

    The fair share of a caller is an equal part of the places for each of those active, rounded up. As long as
    there is a free place, everybody may have it. A caller below its share that found none is short: while it
    stays active, others leave it the places that it came to need at once, up to its share. These others are
    those at or above their share, and those below it that were served later than it was. So where there are
    fewer places than callers, they take turns.
    """

    __slots__ = ("__weakref__", "attendance", "held", "limit", "short")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.attendance = Attendance(PLACES_ROUND_NS)
        self.held = 0
        # An ordered set: who has waited longest comes first.
        self.short: dict[PlacesShare, None] = {}

    @property
    def fair_share(self) -> int:
        return -(-self.limit // self.attendance.callers)

    def turn(self, now_ns: int) -> None:
        """Begins a new round, and forgets those that have stopped asking."""
        self.attendance.turn(now_ns)
        before = self.attendance.round - 1
        self.short = {share: None for share in self.short if share.round >= before}

    def is_free_for(self, caller: "PlacesShare") -> bool:
        """Whether `caller` may have a place without taking one that is left to another."""
        left = self.limit - self.held
        if left <= 0:
            return False
        if not self.short:
            return True
        fair_share = self.fair_share
        for share in self.short:
            if share is caller and caller.held < fair_share:
                break
            left -= max(0, min(share.needed, fair_share) - share.held)
            if left <= 0:
                return False
        return True


class PlacesShare:
    """One caller's part of shared places, or of its own where it is the only one."""

    __slots__ = ("_most", "_shared", "held", "needed", "round")

    def __init__(self, shared: SharedPlaces) -> None:
        self._shared = shared
        self.held = 0
        self.round = _NEVER
        # The most places at once that it held or lacked, in the round before and in this one.
        self.needed = 0
        self._most = 0

    def is_free(self, now_ns: int) -> bool:
        """Whether a request may have a place; a caller below its share that may not is short from now on."""
        shared = self._shared
        if now_ns >= shared.attendance.turns_at_ns:
            shared.turn(now_ns)
        if self.round != shared.attendance.round:
            self._begin_round(shared.attendance)
        if shared.is_free_for(self):
            return True
        if self.held < shared.fair_share:
            self.needed = min(max(self.needed, self.held) + 1, shared.limit)
            self._most = max(self._most, self.needed)
            if len(shared.short) < MAX_SHORT:
                shared.short.setdefault(self)
        return False

    def take(self) -> None:
        """Takes a place; `is_free` has just said that there is one."""
        shared = self._shared
        shared.held += 1
        self.held += 1
        self._most = max(self._most, self.held)
        if self in shared.short:
            del shared.short[self]
            shared.short[self] = None

    def release(self) -> None:
        """Gives back a place that was taken."""
        self._shared.held -= 1
        self.held -= 1

    def remaining_ns(self, now_ns: int) -> int:
        """How long until a new share would be the same; 0 or less where it is."""
        if self.held:
            return IN_USE_NS
        return self._shared.attendance.remaining_ns(self.round, now_ns)

    def _begin_round(self, attendance: Attendance) -> None:
        attendance.note(self.round)
        self.needed = min(self.needed, self._most) if self.round == attendance.round - 1 else 0
        self._most = self.held
        self.round = attendance.round
