"""Limits by caller and model: who is counted with whom, what a refusal says, and what is kept."""

import pytest

from headrace.core.caller import Caller, Proof
from headrace.errors import LimitExceeded
from headrace.security import limiter as limits
from headrace.security.access_file import LimitRule
from headrace.security.fair_shares import BUCKET_ROUND_NS, MAX_SHORT, PLACES_ROUND_NS
from headrace.security.limiter import CONCURRENCY_RETRY_S, MAX_COUNTERS, MAX_NAME, Limiter
from headrace.security.policy import MAX_REMEMBERED
from headrace.security.token_bucket import NS_PER_S

ADA = Caller("ada", proof=Proof.KEY, address="10.0.0.1:40001")
BOB = Caller("bob", proof=Proof.KEY, address="10.0.0.2:40002")


def stranger(address):
    return Caller("stranger", address=address)


class Clock:
    """Time that only a test moves."""

    def __init__(self, now_ns=12_345):
        self.now_ns = now_ns

    def __call__(self):
        return self.now_ns

    def pass_s(self, seconds):
        self.now_ns += round(seconds * NS_PER_S)


@pytest.fixture
def clock():
    return Clock()


def is_admitted(limiter, caller=ADA, model="fraud"):
    try:
        limiter.admit(caller, model)
    except LimitExceeded:
        return False
    return True


def admitted(limiter, caller=ADA, model="fraud", asked=50):
    return sum(is_admitted(limiter, caller, model) for _ in range(asked))


def refusal(limiter, caller=ADA, model="fraud"):
    with pytest.raises(LimitExceeded) as caught:
        limiter.admit(caller, model)
    return caught.value


def counters(limiter):
    """How many counters each rule has."""
    return [len(each.by_key) for limit in limiter._limits for each in (limit.rate, limit.concurrency) if each]


def test_without_rules_it_is_off(clock):
    assert Limiter([], clock).is_off
    assert not Limiter([LimitRule(concurrent=1)], clock).is_off


def test_a_request_that_no_rule_matches_is_admitted(clock):
    limiter = Limiter([LimitRule(callers=("bob",), requests_per_s=1)], clock)

    assert admitted(limiter, ADA) == 50
    assert admitted(limiter, BOB) == 1


@pytest.mark.parametrize(
    ("callers", "models", "ada_fraud", "ada_digits", "bob_fraud"),
    [
        ((), (), 4, 0, 0),
        (("*",), (), 4, 0, 4),
        ((), ("*",), 4, 4, 0),
        (("*",), ("*",), 4, 4, 4),
        (("a?a", "x"), ("fraud*",), 4, 50, 50),
        (("A*",), (), 50, 50, 50),
    ],
)
def test_what_a_rule_names_is_counted_apart(clock, callers, models, ada_fraud, ada_digits, bob_fraud):
    limiter = Limiter([LimitRule(callers, models, requests_per_s=1, burst=4)], clock)

    assert admitted(limiter, ADA, "fraud") == ada_fraud
    assert admitted(limiter, ADA, "digits") == ada_digits
    assert admitted(limiter, BOB, "fraud") == bob_fraud


def test_callers_of_the_same_name_are_told_apart_by_their_proof(clock):
    limiter = Limiter([LimitRule(callers=("*",), requests_per_s=1)], clock)

    assert is_admitted(limiter, ADA)
    assert not is_admitted(limiter, Caller("ada", proof=Proof.KEY, address="other:1"))
    assert is_admitted(limiter, Caller("ada", proof=Proof.CERTIFICATE))


def test_strangers_are_told_apart_by_their_host(clock):
    limiter = Limiter([LimitRule(callers=("*",), requests_per_s=1)], clock)

    assert is_admitted(limiter, stranger("10.0.0.7:4711"))
    assert not is_admitted(limiter, stranger("10.0.0.7:4712"))
    for address in ("10.0.0.8:4711", "[::1]:4711", "[::2]:4711", "unix", ""):
        assert is_admitted(limiter, stranger(address))
        assert not is_admitted(limiter, stranger(address))


def test_a_rate_refusal_says_which_limit_and_when_to_come_again(clock):
    limiter = Limiter([LimitRule(), LimitRule(("ada",), ("fraud",), requests_per_s=50, burst=1)], clock)
    limiter.admit(ADA, "fraud")

    error = refusal(limiter)

    assert str(error) == "'ada' may send 50 requests a second to 'fraud' (limits[1]): try again in 0.02 s"
    assert error.reason == "rate_limit"
    assert error.retry_after_s == pytest.approx(0.02, abs=1e-5)
    clock.pass_s(error.retry_after_s)
    assert is_admitted(limiter)


def test_a_concurrency_refusal_says_which_limit(clock):
    limiter = Limiter([LimitRule(callers=("*",), concurrent=1)], clock)
    limiter.admit(ADA, "fraud")

    error = refusal(limiter)

    assert str(error) == "'ada' may have 1 request at a time (limits[0]): try again in 1 s"
    assert (error.reason, error.retry_after_s) == ("concurrency_limit", CONCURRENCY_RETRY_S)


def test_a_refusal_by_a_shared_limit_names_no_other_caller(clock):
    limiter = Limiter([LimitRule(models=("*",), requests_per_s=0.5)], clock)
    limiter.admit(BOB, "fraud")

    error = refusal(limiter, ADA)

    assert str(error).startswith(
        "all callers together may send 0.5 requests a second to 'fraud' (limits[0]):"
    )


def test_messages_do_not_grow_with_names(clock):
    limiter = Limiter([LimitRule(callers=("*",), models=("*",), requests_per_s=1)], clock)
    caller = Caller("a" * 1000, proof=Proof.TOKEN)
    limiter.admit(caller, "m" * 100_000)

    assert len(str(refusal(limiter, caller, "m" * 100_000))) < 400


def test_a_request_that_one_rule_refuses_is_charged_by_none(clock):
    rules = [
        LimitRule(callers=("ada",), requests_per_s=1, burst=3),
        LimitRule(models=("fraud",), requests_per_s=1, burst=1),
        LimitRule(callers=("ada",), concurrent=2),
        LimitRule(models=("fraud",), concurrent=1),
    ]
    limiter = Limiter(rules, clock)
    limiter.admit(ADA, "fraud").release()

    assert admitted(limiter, ADA, "fraud") == 0
    # Two more tokens, and two places.
    assert admitted(limiter, ADA, "digits") == 2


def test_a_full_place_takes_no_token(clock):
    limiter = Limiter([LimitRule(callers=("*",), requests_per_s=1, burst=2, concurrent=1)], clock)
    admission = limiter.admit(ADA, "fraud")
    assert refusal(limiter).reason == "concurrency_limit"

    admission.release()

    assert is_admitted(limiter)
    assert refusal(limiter).reason == "rate_limit"


def test_only_concurrency_has_something_to_give_back(clock):
    limiter = Limiter([LimitRule(requests_per_s=1), LimitRule(models=("digits",), concurrent=1)], clock)

    assert limiter.admit(ADA, "fraud") is None
    clock.pass_s(1)
    assert limiter.admit(ADA, "digits") is not None


def test_a_second_release_gives_nothing_back(clock):
    limiter = Limiter([LimitRule(callers=("*",), concurrent=2)], clock)
    first, _second = limiter.admit(ADA, "fraud"), limiter.admit(ADA, "fraud")

    first.release()
    first.release()

    assert admitted(limiter) == 1


def test_a_clock_that_goes_back_counts_as_standing_still(clock):
    limiter = Limiter([LimitRule(callers=("*",), requests_per_s=1, burst=2)], clock)
    assert admitted(limiter) == 2

    clock.pass_s(-3600)
    assert admitted(limiter) == 0
    clock.pass_s(1)
    assert admitted(limiter) == 1
    clock.pass_s(1e6)
    assert admitted(limiter) == 2


def test_an_update_keeps_what_stays_the_same(clock):
    stays, goes = (
        LimitRule(callers=("*",), requests_per_s=1, burst=2),
        LimitRule(callers=("x",), concurrent=1),
    )
    holds = LimitRule(callers=("*",), concurrent=2)
    limiter = Limiter([goes, stays, holds], clock)
    admission = limiter.admit(ADA, "fraud")

    limiter.update([holds, stays, LimitRule(callers=("bob",), concurrent=1)])

    assert admitted(limiter) == 1
    assert "(limits[1])" in str(refusal(limiter))
    clock.pass_s(10)
    assert "(limits[0])" in str(refusal(limiter))
    admission.release()
    assert is_admitted(limiter)
    assert admitted(limiter, BOB) == 1


def test_a_changed_rule_starts_anew(clock):
    limiter = Limiter([LimitRule(callers=("*",), concurrent=1)], clock)
    admission = limiter.admit(ADA, "fraud")

    limiter.update([LimitRule(callers=("*",), concurrent=2)])

    assert admitted(limiter) == 2
    admission.release()
    assert admitted(limiter) == 0


def test_all_rules_may_go(clock):
    limiter = Limiter([LimitRule(concurrent=1)], clock)
    admission = limiter.admit(ADA, "fraud")

    limiter.update([])
    admission.release()

    assert limiter.is_off
    assert limiter.admit(ADA, "fraud") is None


@pytest.mark.parametrize("callers", [(), ("*",)])
def test_made_up_names_take_no_more_memory_than_allowed(clock, callers):
    rules = [LimitRule(callers, ("*",), requests_per_s=1), LimitRule(callers, ("*",), concurrent=1)]
    limiter = Limiter(rules, clock)

    for number in range(MAX_COUNTERS + 5000):
        limiter.admit(stranger(f"10.0.{number % 7}.{number % 11}:1"), f"made up {number}").release()

    assert counters(limiter) == [MAX_COUNTERS, MAX_COUNTERS]
    assert len(limiter._matching) <= MAX_REMEMBERED


def test_callers_short_of_places_take_no_more_memory_than_allowed(clock):
    limiter = Limiter([LimitRule(concurrent=1)], clock)
    limiter.admit(ADA, "fraud")

    for number in range(3 * MAX_SHORT):
        assert not is_admitted(limiter, stranger(f"host {number}:1"))

    (place,) = [each for each in limiter._limits[0].concurrency.by_key.values() if each.held]
    assert len(place._shared.short) == MAX_SHORT


def test_a_used_up_counter_outlives_made_up_names(clock):
    limiter = Limiter([LimitRule(("*",), ("*",), requests_per_s=0.01, burst=10)], clock)
    assert admitted(limiter, ADA, "fraud") == 10

    for number in range(3 * MAX_COUNTERS):
        limiter.admit(ADA, f"made up {number}")

    assert admitted(limiter, ADA, "fraud") == 0


@pytest.mark.parametrize("callers", [(), ("*",)])
def test_counters_in_use_are_never_forgotten(clock, monkeypatch, callers):
    monkeypatch.setattr(limits, "MAX_COUNTERS", 100)
    limiter = Limiter([LimitRule(callers, ("*",), concurrent=1)], clock)
    held = [limiter.admit(ADA, f"model {number}") for number in range(300)]
    clock.pass_s(100)
    for number in range(1000):
        limiter.admit(ADA, f"made up {number}").release()

    assert not any(is_admitted(limiter, ADA, f"model {number}") for number in range(300))
    for admission in held:
        admission.release()
    clock.pass_s(100)
    assert all(is_admitted(limiter, ADA, f"model {number}") for number in range(300))
    assert counters(limiter)[0] < 500


def test_long_names_count_by_how_they_begin(clock):
    limiter = Limiter([LimitRule(("*",), ("*",), requests_per_s=1)], clock)
    start = "m" * MAX_NAME

    assert is_admitted(limiter, ADA, start + "1" * 100_000)
    assert not is_admitted(limiter, ADA, start + "2")
    long_caller = Caller("n" * 1000, proof=Proof.TOKEN)
    assert is_admitted(limiter, long_caller)
    assert not is_admitted(limiter, Caller("n" * 1001, proof=Proof.TOKEN))
    assert all(len(part) <= MAX_NAME for key in limiter._matching for part in key)


def test_a_caller_that_was_alone_shares_when_another_comes(clock):
    limiter = Limiter([LimitRule(requests_per_s=10, burst=10)], clock)
    assert admitted(limiter, ADA) == 10
    assert not is_admitted(limiter, BOB)

    clock.pass_s(0.1)
    assert not is_admitted(limiter, ADA)
    assert is_admitted(limiter, BOB)


def test_what_others_leave_is_for_those_who_want_it(clock):
    limiter = Limiter([LimitRule(requests_per_s=10, burst=10)], clock)
    limiter.admit(BOB, "fraud")
    got = 0
    for _ in range(1000):
        clock.pass_s(0.02)
        got += is_admitted(limiter, ADA)
        if clock.now_ns % (2 * NS_PER_S) < 0.02 * NS_PER_S:
            assert is_admitted(limiter, BOB)

    # In 20 seconds 200, less what bob takes, and the half of the burst that is kept for him.
    assert got >= 180


def test_a_limit_of_one_request_lends_too(clock):
    limiter = Limiter([LimitRule(requests_per_s=10, burst=1)], clock)
    got = 0
    for step in range(1000):
        clock.pass_s(0.01)
        got += is_admitted(limiter, ADA)
        if step % 300 == 0:
            is_admitted(limiter, BOB)

    assert got > 60  # A half of 100, and more.


def test_a_caller_that_has_left_leaves_its_share_behind(clock):
    limiter = Limiter([LimitRule(requests_per_s=10, burst=10), LimitRule(concurrent=20)], clock)
    limiter.admit(BOB, "fraud")
    limiter.admit(ADA, "fraud")

    clock.pass_s(2 * max(BUCKET_ROUND_NS, PLACES_ROUND_NS) / NS_PER_S)

    assert admitted(limiter, ADA) == 10


def test_a_caller_below_its_share_gets_the_next_places(clock):
    limiter = Limiter([LimitRule(models=("*",), concurrent=4)], clock)
    held = [limiter.admit(ADA, "fraud") for _ in range(4)]
    assert not is_admitted(limiter, BOB)
    assert not is_admitted(limiter, BOB)

    for _ in range(2):
        held.pop().release()
        assert not is_admitted(limiter, ADA)
        assert is_admitted(limiter, BOB)
        clock.pass_s(0.5)

    # Both have their share now, and nothing more is kept for either.
    held.pop().release()
    assert is_admitted(limiter, ADA)


def test_places_are_not_kept_for_a_caller_that_has_left(clock):
    limiter = Limiter([LimitRule(concurrent=2)], clock)
    held = [limiter.admit(ADA, "fraud") for _ in range(2)]
    assert not is_admitted(limiter, BOB)
    held.pop().release()
    assert not is_admitted(limiter, ADA)

    clock.pass_s(2 * PLACES_ROUND_NS / NS_PER_S)

    assert is_admitted(limiter, ADA)


def test_callers_take_turns_where_places_are_fewer(clock):
    limiter = Limiter([LimitRule(concurrent=1)], clock)
    callers = [ADA, BOB, stranger("10.0.0.7:1"), stranger("10.0.0.8:1")]
    served, admission, holder = [], None, None
    for _ in range(200):
        for caller in [*[callers[0]] * 5, *callers]:  # The first asks more often.
            try:
                admission, holder = limiter.admit(caller, "fraud"), caller
            except LimitExceeded:
                continue
            served.append(holder)
            break
        if admission is not None:
            # All others ask while the place is taken.
            for caller in callers:
                assert not is_admitted(limiter, caller)
            admission.release()
        clock.pass_s(0.05)

    counts = [served.count(caller) for caller in callers]
    assert max(counts) - min(counts) <= 2
