"""Whatever callers do and whatever the clock does, limits hold, and one caller cannot starve another."""

import heapq
import math
import random
from dataclasses import dataclass, field
from itertools import count

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from headrace.core.caller import Caller, Proof
from headrace.errors import LimitExceeded
from headrace.security.access_file import LimitRule
from headrace.security.limiter import Limiter
from headrace.security.token_bucket import NS_PER_S

CALLERS = [
    Caller("ada", proof=Proof.KEY),
    Caller("bob", proof=Proof.KEY),
    Caller("ada", proof=Proof.CERTIFICATE),
    Caller("stranger", address="10.0.0.7:1"),
    Caller("stranger", address="10.0.0.8:1"),
]
MODELS = ["fraud", "fraud-2", "digits"]
ADA, BOB = CALLERS[:2]

numbers_a_second = st.sampled_from([0.1, 0.5, 1, 3, 7, 10, 99.9, 1000])
rules = st.builds(
    LimitRule,
    callers=st.sampled_from([(), ("*",), ("ada",), ("?ob", "stranger")]),
    models=st.sampled_from([(), ("*",), ("fraud*",), ("digits",)]),
    requests_per_s=st.none() | numbers_a_second,
    burst=st.none() | st.sampled_from([1, 1.5, 2, 5, 20]),
    concurrent=st.none() | st.integers(1, 6),
)
# Seconds that pass, most often none or few, sometimes a jump or a step back.
pauses_s = st.sampled_from([0, 0, 0, 0, 1e-9, 1e-3, 0.01, 0.1, 0.1, 0.3, 1, 7, 1e5, -0.5, -1e4])
asks = st.tuples(pauses_s, st.sampled_from(CALLERS), st.sampled_from(MODELS))
releases = st.tuples(pauses_s, st.just(None), st.integers(0, 1000))
steps = st.lists(asks | asks | releases, max_size=120)


class Clock:
    """Time that only a test moves; `passed_ns` is what has passed without the steps back."""

    def __init__(self) -> None:
        self.now_ns = 987_654_321
        self.passed_ns = 0

    def __call__(self) -> int:
        return self.now_ns

    def pass_s(self, seconds: float) -> None:
        step_ns = round(seconds * NS_PER_S)
        self.now_ns += step_ns
        self.passed_ns += max(0, step_ns)


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """The few patterns of these tests, spelt out."""
    names = {"*": True, "fraud*": name.startswith("fraud"), "?ob": name == "bob"}
    return not patterns or any(names.get(pattern, name == pattern) for pattern in patterns)


@dataclass
class Ledger:
    """What one counter of one rule has admitted, by the meaning of the rule alone."""

    admitted_at_ns: list[int] = field(default_factory=list)
    held: int = 0


class Ledgers:
    """Every counter that there is, and a check of each."""

    def __init__(self, given_rules: list[LimitRule]) -> None:
        self._rules = given_rules
        self._by_key: dict[object, Ledger] = {}

    def of(self, caller: Caller, model: str) -> list[Ledger]:
        found = []
        for index, rule in enumerate(self._rules):
            if matches(caller.name, rule.callers) and matches(model, rule.models):
                identity = (caller.proof, caller.name, caller.address) if rule.callers else None
                key = (index, identity, model if rule.models else None)
                found.append(self._by_key.setdefault(key, Ledger()))
        return found

    def check(self) -> None:
        for (index, _, _), ledger in self._by_key.items():
            rule = self._rules[index]
            assert rule.concurrent is None or ledger.held <= rule.concurrent
            if rule.requests_per_s is not None:
                burst = max(1.0, rule.requests_per_s) if rule.burst is None else rule.burst
                check_windows(ledger.admitted_at_ns, rule.requests_per_s, burst)


def check_windows(admitted_at_ns: list[int], requests_per_s: float, burst: float) -> None:
    """In every window there are no more than burst + rate * length."""
    for first, start_ns in enumerate(admitted_at_ns):
        for number, end_ns in enumerate(admitted_at_ns[first:], 1):
            assert number <= burst + requests_per_s * (end_ns - start_ns) / NS_PER_S + 1e-6


@settings(max_examples=300, deadline=None)
@given(st.lists(rules, min_size=1, max_size=4), steps, st.booleans())
def test_no_limit_is_exceeded_and_every_release_frees(given_rules, given_steps, updates):
    clock, ledgers, held = Clock(), Ledgers(given_rules), []
    limiter = Limiter(given_rules, clock)
    for number, (pause_s, caller, what) in enumerate(given_steps):
        clock.pass_s(pause_s)
        if updates and number % 10 == 9:
            limiter.update(list(given_rules))
        if caller is None:
            if held:
                admission, counted = held.pop(what % len(held))
                for _ in range(1 + what % 2):
                    if admission is not None:
                        admission.release()
                for ledger in counted:
                    ledger.held -= 1
            continue
        counted = ledgers.of(caller, what)
        try:
            admission = limiter.admit(caller, what)
        except LimitExceeded as error:
            assert counted
            assert error.retry_after_s > 0
            continue
        held.append((admission, counted))
        for ledger in counted:
            ledger.admitted_at_ns.append(clock.passed_ns)
            ledger.held += 1
        ledgers.check()
    for admission, _ in held:
        if admission is not None:
            admission.release()
    # All has been given back, and all buckets are full: whoever is alone has what it has of a new limiter.
    fresh = Limiter(given_rules, clock)
    for caller in CALLERS:
        for model in MODELS:
            clock.pass_s(1e6)
            assert admitted_at_once(limiter, caller, model) == admitted_at_once(fresh, caller, model)


def admitted_at_once(limiter: Limiter, caller: Caller, model: str, asked: int = 30) -> int:
    admitted = 0
    for _ in range(asked):
        try:
            limiter.admit(caller, model)
        except LimitExceeded:
            break
        admitted += 1
    return admitted


@settings(max_examples=200, deadline=None)
@given(st.lists(asks, max_size=60), st.sampled_from([0.5, 1, 4, 64]), st.sampled_from([1, 2, 5, 20]))
def test_a_refusal_charges_nothing(given_asks, requests_per_s, burst):
    """Each ask that the second rule refuses is left out for a limiter of the first rule alone.

    Times and rates are such that no number is rounded: the two limiters look at the clock at other moments.
    """
    first = LimitRule(callers=("*",), requests_per_s=requests_per_s, burst=burst, concurrent=15)
    second = LimitRule(callers=("*",), models=("fraud",), requests_per_s=0.5, burst=2, concurrent=4)
    clock = Clock()
    both, alone = Limiter([first, second], clock), Limiter([first], clock)
    for pause_s, caller, model in given_asks:
        clock.pass_s(round(pause_s * 8) / 8)
        try:
            both.admit(caller, model)
        except LimitExceeded as error:
            if "limits[1]" in str(error):
                continue
            assert admitted_at_once(alone, caller, model, 1) == 0
        else:
            assert admitted_at_once(alone, caller, model, 1) == 1


@given(
    numbers_a_second,
    st.none() | st.sampled_from([1, 1.5, 7]),
    st.sampled_from([(), ("ada",)]),
    st.lists(pauses_s, max_size=60),
)
def test_a_lone_caller_is_admitted_after_the_time_it_was_told(requests_per_s, burst, callers, pauses):
    clock = Clock()
    limiter = Limiter([LimitRule(callers, (), requests_per_s, burst)], clock)
    for pause_s in pauses:
        clock.pass_s(pause_s)
        try:
            limiter.admit(ADA, "fraud")
        except LimitExceeded as error:
            clock.pass_s(error.retry_after_s)
            limiter.admit(ADA, "fraud")


@given(numbers_a_second, st.none() | st.sampled_from([1, 2, 7, 20]), st.sampled_from([(), ("ada",)]))
def test_a_lone_caller_has_the_whole_rate(requests_per_s, burst, callers):
    clock = Clock()
    limiter = Limiter([LimitRule(callers, (), requests_per_s, burst)], clock)
    step_ns = math.ceil(NS_PER_S / requests_per_s)
    burst = max(1, requests_per_s) if burst is None else burst

    assert admitted_at_once(limiter, ADA, "fraud", 2000) == int(burst)
    for _ in range(200):
        clock.now_ns += step_ns
        assert admitted_at_once(limiter, ADA, "fraud", 2) == 1


@given(st.integers(1, 50), st.sampled_from([(), ("ada",)]))
def test_a_lone_caller_has_all_places(concurrent, callers):
    limiter = Limiter([LimitRule(callers, concurrent=concurrent)], Clock())

    assert admitted_at_once(limiter, ADA, "fraud", 100) == concurrent


@dataclass
class Load:
    """One caller's requests: how often, each answered after `takes_s`, from `starts_s` on."""

    caller: Caller
    per_s: float
    starts_s: float
    takes_s: float = 0.0
    comes_again: bool = False
    asked: int = 0
    admitted: int = 0

    @property
    def success(self) -> float:
        return self.admitted / self.asked


def run(rule: LimitRule, loads: list[Load], seconds: float, counted_from_s: float, seed: int) -> None:
    """Plays `loads` against a limiter; asks come evenly, a little early or late each."""
    clock, generator, order = Clock(), random.Random(seed), count()
    limiter = Limiter([rule], clock)
    events = [(load.starts_s, next(order), load, None) for load in loads]
    now_s = 0.0
    while events[0][0] < seconds:
        at_s, _, load, admission = heapq.heappop(events)
        clock.pass_s(at_s - now_s)
        now_s = at_s
        if admission is not None:
            admission.release()
            continue
        next_s = at_s + generator.uniform(0.8, 1.2) / load.per_s
        is_counted = at_s >= counted_from_s
        try:
            admission = limiter.admit(load.caller, "fraud")
        except LimitExceeded as error:
            if load.comes_again:
                next_s, is_counted = at_s + error.retry_after_s, False
        else:
            load.admitted += is_counted
            if admission is not None:
                heapq.heappush(events, (at_s + load.takes_s, next(order), load, admission))
        load.asked += is_counted
        heapq.heappush(events, (next_s, next(order), load, None))


seeds = st.integers(0, 2**32)
# A shorter run would not be a simpler one.
played = settings(max_examples=25, deadline=None, phases=[Phase.reuse, Phase.generate])


@played
@given(st.sampled_from([10, 30, 60]), st.sampled_from([1, 2]), st.floats(0.05, 0.42), seeds)
def test_a_modest_caller_is_not_starved_of_rate(requests_per_s, burst_s, part, seed):
    rule = LimitRule(requests_per_s=requests_per_s, burst=requests_per_s * burst_s)
    modest = Load(BOB, requests_per_s * part, starts_s=3)
    greedy = Load(ADA, max(20 * modest.per_s, 2 * requests_per_s), starts_s=0)

    run(rule, [greedy, modest], seconds=28, counted_from_s=8, seed=seed)

    assert modest.success >= 0.95
    # And the greedy one has all that is left, but for the half of the burst that is kept back.
    assert greedy.admitted >= 0.97 * requests_per_s * (20 * (1 - part) - burst_s / 2)


@played
@given(st.integers(2, 8), st.sampled_from([30, 60]), seeds)
def test_everybody_has_a_share_of_the_rate(callers, requests_per_s, seed):
    share = requests_per_s / callers
    loads = [
        Load(Caller(f"caller {number}", proof=Proof.KEY), share * 1.5 * (number + 1), starts_s=0)
        for number in range(callers)
    ]

    run(LimitRule(requests_per_s=requests_per_s), loads, seconds=30, counted_from_s=10, seed=seed)

    for load in loads:
        assert load.admitted / 20 >= 0.9 * share
    assert sum(load.admitted for load in loads) <= requests_per_s * 21


@played
@given(st.sampled_from([1, 2, 5]), st.sampled_from([1, 10, 100]), st.floats(0.1, 0.35), seeds)
def test_of_a_small_burst_a_caller_has_its_share_by_coming_again(burst, requests_per_s, part, seed):
    wanted = requests_per_s * part
    modest = Load(BOB, wanted, starts_s=0, comes_again=True)
    greedy = Load(ADA, 10 * requests_per_s, starts_s=0)

    rule = LimitRule(requests_per_s=requests_per_s, burst=burst)
    run(rule, [greedy, modest], seconds=400 / requests_per_s, counted_from_s=40 / requests_per_s, seed=seed)

    assert modest.admitted >= 0.6 * 360 * part


@played
@given(st.sampled_from([4, 10, 20]), st.floats(0.05, 0.35), seeds)
def test_a_modest_caller_is_not_starved_of_places(concurrent, part, seed):
    """It needs no more than `part` of the places on average, the greedy one 20 times as many."""
    takes_s = 0.1
    modest = Load(BOB, max(1.0, math.floor(concurrent * part) / takes_s * 0.75), starts_s=3, takes_s=takes_s)
    greedy = Load(ADA, max(20 * modest.per_s, 3 * concurrent / takes_s), starts_s=0, takes_s=takes_s)

    run(LimitRule(concurrent=concurrent), [greedy, modest], seconds=18, counted_from_s=6, seed=seed)

    assert modest.success >= 0.95
    # Places are kept for what the modest one came to need, not for more than its share.
    assert greedy.admitted / 12 >= 0.9 * concurrent / 2 / takes_s


@played
@given(st.integers(1, 9), st.integers(2, 5), seeds)
def test_everybody_has_a_share_of_the_places(concurrent, callers, seed):
    takes_s = 0.1
    loads = [
        Load(Caller(f"caller {number}", proof=Proof.KEY), 3 * concurrent / takes_s * (number + 1), 0, takes_s)
        for number in range(callers)
    ]

    run(LimitRule(concurrent=concurrent), loads, seconds=12, counted_from_s=4, seed=seed)

    served = [load.admitted for load in loads]
    assert sum(served) >= 0.8 * 8 * concurrent / takes_s
    assert min(served) >= 0.8 * sum(served) / callers
