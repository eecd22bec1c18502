"""Who may send how much: admits requests by the rate and concurrency limits of the access file."""

import math
import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from operator import itemgetter
from typing import Generic, Protocol, TypeAlias, TypeVar
from weakref import WeakValueDictionary

from headrace.core.caller import Caller, Proof
from headrace.errors import LimitExceeded
from headrace.security.access_file import LimitRule
from headrace.security.fair_shares import IN_USE_NS, BucketShare, PlacesShare, SharedBucket, SharedPlaces
from headrace.security.policy import MAX_REMEMBERED, MAX_SHOWN_NAME
from headrace.security.token_bucket import NS_PER_S, Rate, TokenBucket

# How many counters a rule keeps. Where that many are too many, so many are looked at, and so many forgotten.
MAX_COUNTERS = 10_000
LOOKED_AT = 32
FORGOTTEN = 8
# No model has a longer name, as no file system has such a folder; longer ones count by how they begin.
MAX_NAME = 256
# Nobody knows when a place will be free.
CONCURRENCY_RETRY_S = 1.0
# A name of the module is found faster than a member of an enumeration.
_NO_PROOF = Proof.NONE

# What a rule counts apart: the caller's identity and the model's name, "" where it does not.
_Key: TypeAlias = tuple[str, str]


class Admission:
    """The places that one request has until it is answered."""

    __slots__ = ("_places",)

    def __init__(self, places: Sequence[PlacesShare]) -> None:
        self._places = places

    def release(self) -> None:
        """Gives them back; only the first call does anything."""
        places, self._places = self._places, ()
        for place in places:
            place.release()


class Limiter:
    """Admits a request where every rule that matches its caller and its model has something left.

    Where a counter is one caller's own, it has all of the rule; where callers share one, `SharedBucket` and
    `SharedPlaces` say who gets what. Callers are told apart by proof and name, strangers by their host. To be
    called on one thread; `now_ns` may stand still, jump or go back.
    """

    def __init__(self, rules: Sequence[LimitRule], now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._clock = now_ns
        self._clock_ns = now_ns()
        self._passed_ns = 0
        self._limits: list[_Limit] = []
        self._matching: dict[tuple[Proof, str, str], _Matching] = {}
        self.update(rules)

    @property
    def is_off(self) -> bool:
        """Whether there are no rules, and so nothing to ask."""
        return not self._limits

    def admit(self, caller: Caller, model: str) -> Admission | None:
        """Takes one request's share, or raises LimitExceeded and takes nothing.

        The admission is to be released when the request is answered; None where there is nothing to release.
        """
        proof, name = caller.proof, caller.name
        if proof is _NO_PROOF:
            name = caller.address.rpartition(":")[0] or caller.address
        if len(model) > MAX_NAME:
            model = model[:MAX_NAME]
        rates, concurrencies = self._matching.get((proof, name, model)) or self._match(caller, name, model)
        if not rates and not concurrencies:
            return None
        now_ns = self._now_ns()
        buckets, places = [], []
        for rate, key in rates:
            bucket = rate.by_key.get(key) or rate.make(key, now_ns)
            wait_ns = bucket.wait_ns(now_ns)
            if wait_ns > 0:
                raise rate.limit.rate_refusal(caller, model, wait_ns)
            buckets.append(bucket)
        for concurrency, key in concurrencies:
            place = concurrency.by_key.get(key) or concurrency.make(key, now_ns)
            if not place.is_free(now_ns):
                raise concurrency.limit.concurrency_refusal(caller, model)
            places.append(place)
        for bucket in buckets:
            bucket.take(now_ns)
        for place in places:
            place.take()
        return Admission(places) if places else None

    def update(self, rules: Sequence[LimitRule]) -> None:
        """Takes new rules; those that were there before go on with their counters."""
        before = {limit.rule: limit for limit in self._limits}
        self._limits = []
        for index, rule in enumerate(rules):
            limit = before.pop(rule, None) or _Limit(rule)
            limit.index = index
            self._limits.append(limit)
        self._matching.clear()

    def _now_ns(self) -> int:
        """The time that has passed, without the steps back."""
        clock_ns = self._clock()
        if clock_ns > self._clock_ns:
            self._passed_ns += clock_ns - self._clock_ns
        self._clock_ns = clock_ns
        return self._passed_ns

    def _match(self, caller: Caller, name: str, model: str) -> "_Matching":
        identity = f"{caller.proof}:{name[:MAX_NAME]}"
        limits = [limit for limit in self._limits if limit.matches(caller.name, model)]
        matching = (
            tuple((limit.rate, limit.key(identity, model)) for limit in limits if limit.rate),
            tuple((limit.concurrency, limit.key(identity, model)) for limit in limits if limit.concurrency),
        )
        if len(name) <= MAX_NAME:
            if len(self._matching) >= MAX_REMEMBERED:
                self._matching.clear()
            self._matching[caller.proof, name, model] = matching
        return matching


class _Counter(Protocol):
    """What a rule counts for one key."""

    def remaining_ns(self, now_ns: int) -> int:
        """How long until a new one would be the same, so that this one may be forgotten."""
        ...


_C = TypeVar("_C", bound=_Counter)
_Bucket: TypeAlias = TokenBucket | BucketShare


class _Counters(Generic[_C]):
    """The counters of one rule, `by_key`; too many of them are not kept."""

    def __init__(self, limit: "_Limit", new: Callable[[_Key], _C]) -> None:
        self.limit = limit
        self._new = new
        self.by_key: dict[_Key, _C] = {}

    def make(self, key: _Key, now_ns: int) -> _C:
        """A new counter for `key`, which had none."""
        if len(self.by_key) >= MAX_COUNTERS:
            self._forget(now_ns)
        counter = self.by_key[key] = self._new(key)
        return counter

    def _forget(self, now_ns: int) -> None:
        """Forgets, of those not looked at for longest, the ones closest to new, and none in use."""
        oldest = [
            (counter.remaining_ns(now_ns), key, counter)
            for key, counter in islice(self.by_key.items(), LOOKED_AT)
        ]
        oldest.sort(key=itemgetter(0))
        for index, (remaining_ns, key, counter) in enumerate(oldest):
            del self.by_key[key]
            if remaining_ns >= IN_USE_NS or (remaining_ns > 0 and index >= FORGOTTEN):
                self.by_key[key] = counter


class _Limit:
    """A rule with its counters; `index` is where it stands in the access file."""

    def __init__(self, rule: LimitRule) -> None:
        self.rule = rule
        self.index = 0
        self.rate: _Counters[_Bucket] | None = None
        self.concurrency: _Counters[PlacesShare] | None = None
        if rule.requests_per_s is not None:
            self.rate = _Counters(self, _buckets(rule, Rate.of(rule.requests_per_s, rule.burst)))
        if rule.concurrent is not None:
            self.concurrency = _Counters(self, _places(rule, rule.concurrent))

    def matches(self, caller: str, model: str) -> bool:
        return _is_among(caller, self.rule.callers) and _is_among(model, self.rule.models)

    def key(self, identity: str, model: str) -> _Key:
        """Shares of one counter are kept by their callers too."""
        return identity, model if self.rule.models else ""

    def rate_refusal(self, caller: Caller, model: str, wait_ns: int) -> LimitExceeded:
        requests, wait_ms = _requests(self.rule.requests_per_s), math.ceil(wait_ns / 1_000_000)
        return LimitExceeded(
            f"{self._whom(caller)} may send {requests} a second{self._to(model)} (limits[{self.index}]):"
            f" try again in {wait_ms / 1000:.15g} s",
            "rate_limit",
            # A microsecond more than needed, as floats round.
            (wait_ns + 1000) / NS_PER_S,
        )

    def concurrency_refusal(self, caller: Caller, model: str) -> LimitExceeded:
        requests = _requests(self.rule.concurrent)
        return LimitExceeded(
            f"{self._whom(caller)} may have {requests} at a time{self._to(model)} (limits[{self.index}]):"
            f" try again in {CONCURRENCY_RETRY_S:g} s",
            "concurrency_limit",
            CONCURRENCY_RETRY_S,
        )

    def _whom(self, caller: Caller) -> str:
        return f"'{caller.name[:MAX_SHOWN_NAME]}'" if self.rule.callers else "all callers together"

    def _to(self, model: str) -> str:
        return f" to '{model[:MAX_SHOWN_NAME]}'" if self.rule.models else ""


# The counters that a request of one caller to one model has to pass, each with its key there.
_Matching: TypeAlias = tuple[
    tuple[tuple[_Counters[_Bucket], _Key], ...], tuple[tuple[_Counters[PlacesShare], _Key], ...]
]


def _buckets(rule: LimitRule, rate: Rate) -> Callable[[_Key], _Bucket]:
    if rule.callers:
        return lambda key: TokenBucket(rate)
    # A shared bucket lives as long as a share of it does.
    shared: WeakValueDictionary[str, SharedBucket] = WeakValueDictionary()
    return lambda key: BucketShare(shared.setdefault(key[1], SharedBucket(rate)))


def _places(rule: LimitRule, concurrent: int) -> Callable[[_Key], PlacesShare]:
    if rule.callers:
        return lambda key: PlacesShare(SharedPlaces(concurrent))
    shared: WeakValueDictionary[str, SharedPlaces] = WeakValueDictionary()
    return lambda key: PlacesShare(shared.setdefault(key[1], SharedPlaces(concurrent)))


def _is_among(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


def _requests(number: float | None) -> str:
    return "1 request" if number == 1 else f"{number:.15g} requests"
