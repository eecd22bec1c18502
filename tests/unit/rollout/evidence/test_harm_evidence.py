"""Whether a canary fails more often than its stable version: what is said, and when nothing is."""

import json

import numpy as np
import pytest

from benchmarks.rollouts.blocks import GateBlocks
from benchmarks.rollouts.traffic import Failing, failing_batches
from headrace.core.plan import ErrorRateGate
from headrace.rollout.evidence.comparison import Comparison
from headrace.rollout.evidence.difference import Difference
from headrace.rollout.evidence.harm import (
    EFFECTS,
    EXPECTED_RATE,
    Counts,
    HarmlessTest,
    HarmTest,
    LimitTest,
    WithinLimitTest,
)
from headrace.rollout.evidence.tempered import TemperedComparison
from headrace.rollout.gates import ErrorRate
from headrace.rollout.look import Both, Look
from headrace.rollout.tally import Block

NONE = Counts(0, 0)
ALPHA = 0.01


def fed(test, looks, *, stable_rate, canary_rate, stable=45, canary=5, seed=0):
    """The test after so many looks at requests that fail at the two rates."""
    rng = np.random.default_rng(seed)
    for _ in range(looks):
        test.add(
            Counts(stable, int(rng.binomial(stable, stable_rate))),
            Counts(canary, int(rng.binomial(canary, canary_rate))),
        )
    return test


def seconds_until_harm(test, alpha=ALPHA, looks=10_000, **rates):
    """Looks are four a second."""
    rng = np.random.default_rng(7)
    for look in range(looks):
        fed(test, 1, seed=rng, **rates)
        if test.is_harm(alpha):
            return (look + 1) / 4
    return None


def same_again(test):
    return type(test).from_document(json.loads(json.dumps(test.to_document())))


def test_nothing_is_known_before_there_are_requests():
    test = HarmTest()

    assert (test.evidence, test.p_value, test.difference) == pytest.approx((0, 1, 0))
    assert test.interval() == (-1, 1)
    assert not test.is_harm(0.5)


def test_requests_of_one_version_alone_say_nothing():
    test = HarmTest(0.01)

    for _ in range(50):
        test.add(Counts(100, 100), NONE)
        test.add(NONE, Counts(100, 100))
        test.add(NONE, NONE)

    assert test.p_value == pytest.approx(1)
    assert (test.stable, test.canary) == (Counts(5000, 5000), Counts(5000, 5000))


@pytest.mark.parametrize(("increase", "within_s"), [(0.02, 120), (0.05, 30), (0.2, 6), (0.9, 2)])
def test_the_worse_a_canary_the_sooner_it_is_found(increase, within_s):
    found_s = seconds_until_harm(HarmTest(), stable_rate=0.01, canary_rate=0.01 + increase)

    assert found_s <= within_s


def test_a_version_like_the_stable_is_not_found_out():
    test = fed(HarmTest(), 1000, stable_rate=0.02, canary_rate=0.02, canary=50)

    assert not test.is_harm(ALPHA)
    assert abs(test.difference) < 0.01


def test_a_better_version_raises_no_evidence():
    test = fed(HarmTest(), 500, stable_rate=0.05, canary_rate=0.01, canary=20)

    assert test.evidence <= 0
    assert test.difference < -0.03


def test_what_the_margin_allows_is_no_harm():
    rates = {"stable_rate": 0.01, "canary_rate": 0.04, "canary": 30}

    assert fed(HarmTest(), 200, **rates).is_harm(ALPHA)
    assert not fed(HarmTest(0.03), 200, **rates).is_harm(ALPHA)
    assert fed(HarmTest(0.01), 200, **rates).is_harm(ALPHA)


def test_harm_is_not_taken_back():
    test = fed(HarmTest(), 200, stable_rate=0.01, canary_rate=0.3)
    p_value = test.p_value

    fed(test, 1000, stable_rate=0.3, canary_rate=0.0, stable=500, canary=500)

    assert test.is_harm(p_value)
    assert test.evidence < -np.log10(p_value)


def test_a_version_that_breaks_after_an_hour_is_found_in_seconds():
    test = fed(HarmTest(), 1200, stable_rate=0.01, canary_rate=0.01, stable=300, canary=300)
    assert not test.is_harm(ALPHA)

    assert seconds_until_harm(test, stable_rate=0.01, canary_rate=0.2, stable=25, canary=25) <= 3


def test_false_alarms_stay_below_alpha_however_often_one_looks():
    runs, rng = 400, np.random.default_rng(3)
    comparison = Comparison(0.0, EFFECTS, EXPECTED_RATE, (runs,))

    for share in [0.01] * 100 + [0.25] * 200 + [0.5] * 300:
        canary = rng.binomial(50, share, runs).astype(float)
        stable = 50 - canary
        comparison.add(
            stable,
            rng.binomial(stable.astype(int), 0.03) * 1.0,
            canary,
            rng.binomial(canary.astype(int), 0.03) * 1.0,
        )

    assert np.mean(comparison.process.highest >= np.log(20)) <= 0.05
    assert np.mean(comparison.process.highest >= np.log(100)) <= 0.01


def test_rates_and_shares_that_change_together_are_no_difference():
    """Simpson's paradox: over all requests the canary fails 8 times as often."""
    test = HarmTest()
    rng = np.random.default_rng(1)

    for stable, canary, rate in [(990, 10, 0.01), (500, 500, 0.1)] * 50:
        test.add(
            Counts(stable, int(rng.binomial(stable, rate))), Counts(canary, int(rng.binomial(canary, rate)))
        )

    least, greatest = test.interval()
    assert test.canary.rate > 1.5 * test.stable.rate
    assert not test.is_harm(ALPHA)
    assert least < 0 < greatest
    assert greatest - least < 0.02


def test_interval_holds_the_difference_and_narrows():
    test = fed(HarmTest(), 100, stable_rate=0.02, canary_rate=0.07)
    wide = test.interval()
    fed(test, 400, stable_rate=0.02, canary_rate=0.07, canary=50, seed=1)
    narrow = test.interval()

    assert wide[0] < narrow[0] < 0.05 < narrow[1] < wide[1]
    assert test.interval(0.99)[0] < narrow[0]


def test_interval_is_right_at_all_looks_at_once():
    runs, rng = 300, np.random.default_rng(5)
    difference, is_missed = Difference((runs,)), np.zeros(runs, dtype=bool)

    for _ in range(400):
        canary = rng.binomial(40, 0.3, runs)
        events = rng.binomial(40 - canary, 0.05), rng.binomial(canary, 0.15)
        difference.add(40.0 - canary, events[0] * 1.0, canary * 1.0, events[1] * 1.0)
        least, greatest = difference.interval(0.9)
        is_missed |= (least > 0.1) | (greatest < 0.1)

    assert is_missed.mean() <= 0.1


def test_a_resumed_test_goes_on_as_if_nothing_had_been():
    for test in (HarmTest(), HarmTest(0.01), HarmlessTest(0.02)):
        fed(test, 120, stable_rate=0.02, canary_rate=0.04)
        resumed = same_again(test)

        fed(test, 120, stable_rate=0.02, canary_rate=0.04, seed=9)
        fed(resumed, 120, stable_rate=0.02, canary_rate=0.04, seed=9)

        assert resumed.to_document() == test.to_document()
        assert (resumed.evidence, resumed.p_value) == (test.evidence, test.p_value)
        assert (resumed.stable, resumed.canary) == (test.stable, test.canary)


def test_a_document_with_other_alternatives_is_refused():
    document = HarmTest().to_document()
    document["comparison"]["process"]["log_staked"].append(0.0)

    with pytest.raises(ValueError, match="expected 10 stakes, found 11"):
        HarmTest.from_document(document)


@pytest.mark.parametrize("counts", [(1, 2), (-1, -1), (1, -1)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match="events of"):
        Counts(*counts)


def test_counts_add_up():
    assert Counts(10, 1) + Counts(5, 2) == Counts(15, 3)
    assert Counts(8, 2).rate == 0.25
    assert NONE.rate == 0


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (HarmTest, -0.1),
        (HarmTest, 1),
        (HarmlessTest, 0),
        (HarmlessTest, 1),
        (LimitTest, -0.1),
        (LimitTest, 1),
        (WithinLimitTest, 0),
        (WithinLimitTest, 1),
    ],
)
def test_margins_and_limits_that_say_nothing_are_refused(make, value):
    with pytest.raises(ValueError, match="expected"):
        make(value)


def test_whole_batches_that_fail_are_no_harm_where_that_is_told():
    rng = np.random.default_rng(11)
    naive, told = HarmTest(), HarmTest()

    for _ in range(600):
        failed = 8 * rng.binomial(20, 0.01, 2)
        stable, canary = (Counts(160, int(events)) for events in failed)
        naive.add(stable, canary)
        told.add(stable, canary, burst=8)

    assert naive.p_value < 0.1
    assert told.p_value > 0.2


@pytest.mark.parametrize("burst", [2, 8, 100])
def test_so_many_times_the_requests_that_fail_together_say_the_same(burst):
    rng = np.random.default_rng(4)
    alone, together = HarmTest(0.01), HarmTest(0.01)

    for _ in range(200):
        stable, canary = (int(events) for events in rng.binomial((45, 5), (0.01, 0.06)))
        alone.add(Counts(45, stable), Counts(5, canary))
        together.add(Counts(45 * burst, stable * burst), Counts(5 * burst, canary * burst), burst)

    assert alone.evidence > 1
    assert (together.evidence, together.p_value) == pytest.approx((alone.evidence, alone.p_value))
    assert (together.difference, *together.interval()) == pytest.approx((alone.difference, *alone.interval()))
    assert together.canary == Counts(1000 * burst, alone.canary.events * burst)


@pytest.mark.parametrize("burst", [0.99, 0.0, -1.0, float("nan")])
def test_failures_cannot_come_by_less_than_one(burst):
    test = HarmTest()

    with pytest.raises(ValueError, match="expected 1 or more"):
        test.add(Counts(10, 1), Counts(10, 1), burst)

    assert test.stable == NONE


def test_what_is_simulated_is_the_gate():
    runs, alpha = 4, 1e-12
    comparison, blocks = Comparison(0.0, EFFECTS, EXPECTED_RATE, (runs,)), GateBlocks(runs)
    live = [ErrorRate("error_rate", ErrorRateGate(), alpha, lambda look: look.live) for _ in range(runs)]

    looks = failing_batches(runs, Failing(0.01, 8), Failing(0.05, 4, 0.01), np.random.default_rng(8))
    for look, _ in zip(looks, range(600)):
        comparison.add(*blocks.close(look))
        for run, gate in enumerate(live):
            n_stable, x_stable, n_canary, x_canary, squares = (
                int(numbers[run]) for numbers in (*look.numbers, look.squares)
            )
            # Only the sum of both versions' squares matters.
            stable = Block([1] * (n_stable - x_stable), x_stable, squares)
            canary = Block([1] * (n_canary - x_canary), x_canary, 0)
            gate.add(Look(Both.of(stable, canary)))

    evidence = [gate.judge().evidence for gate in live]
    assert [each["p_value"] for each in evidence] == pytest.approx(np.exp(-comparison.process.highest))
    assert [each["failures_together"] for each in evidence] == pytest.approx(blocks.burst, abs=1e-3)
    assert min(each["p_value"] for each in evidence) < 0.01


@pytest.mark.parametrize("rate", [0.0, 0.001, 0.02])
def test_a_version_like_the_stable_is_proven_to_be(rate):
    test = fed(HarmlessTest(0.02), 250, stable_rate=rate, canary_rate=rate, canary=50)

    assert test.is_proven(ALPHA)
    assert test.evidence > 2


def test_a_worse_version_is_not_proven_harmless():
    test = fed(HarmlessTest(0.02), 250, stable_rate=0.01, canary_rate=0.035, canary=50)

    assert not test.is_proven(0.05)


def test_a_bad_past_counts_against_a_proof():
    test = fed(HarmlessTest(0.02), 200, stable_rate=0.01, canary_rate=0.2)

    fed(test, 1000, stable_rate=0.01, canary_rate=0.01)

    assert not test.is_proven(ALPHA)


def test_a_limit_is_passed_or_kept_to():
    passed, kept = LimitTest(0.05), WithinLimitTest(0.05)
    for test in (passed, kept):
        for _ in range(400):
            test.add(Counts(2, 0))
        test.add(Counts(40, 2))

    assert not passed.is_harm(ALPHA)
    assert kept.is_proven(ALPHA)
    assert kept.p_value < ALPHA

    for _ in range(20):
        passed.add(Counts(5, 3))
    assert passed.is_harm(ALPHA)
    assert passed.canary == Counts(940, 62)


def test_one_event_refutes_a_limit_of_none():
    test = LimitTest(0)

    test.add(Counts(1000, 0))
    assert test.p_value == pytest.approx(1)
    test.add(Counts(1, 1))
    assert test.is_harm(ALPHA)


@pytest.mark.parametrize("test", [LimitTest(0.05), LimitTest(0.9995), LimitTest(0), WithinLimitTest(0.05)])
def test_a_resumed_limit_goes_on_as_if_nothing_had_been(test):
    test.add(Counts(30, 2))
    resumed = same_again(test)

    for each in (test, resumed):
        each.add(Counts(50, 1))

    assert resumed.to_document() == test.to_document()
    assert (resumed.evidence, resumed.p_value, resumed.canary) == (test.evidence, test.p_value, Counts(80, 3))


@pytest.mark.parametrize(
    "make",
    [
        lambda shape: Comparison(0.01, [0.02, 0.1], EXPECTED_RATE, shape),
        lambda shape: TemperedComparison(0.0, EFFECTS, EXPECTED_RATE, shape),
    ],
)
def test_many_at_once_are_as_one_after_the_other(make):
    rng = np.random.default_rng(2)
    many, each = make((3,)), [make(()) for _ in range(3)]

    for _ in range(150):
        requests = rng.integers(0, 60, (2, 3)).astype(float)
        events = np.floor(requests * rng.random((2, 3)) * 0.2)
        many.add(requests[0], events[0], requests[1], events[1])
        for index, one in enumerate(each):
            one.add(*(np.asarray(part[index]) for part in (requests[0], events[0], requests[1], events[1])))

    assert many.process.log_capital == pytest.approx([float(one.process.log_capital) for one in each])
    assert many.process.highest == pytest.approx([float(one.process.highest) for one in each])
