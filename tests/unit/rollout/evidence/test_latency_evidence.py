"""Latencies in windows, and whether a canary's are longer than its stable version's."""

import json

import numpy as np
import pytest

from benchmarks.rollouts.slowness import ManySlownessTests
from benchmarks.rollouts.traffic import Latencies, latencies
from headrace.rollout.evidence.harm import EFFECTS
from headrace.rollout.evidence.latency import LatencyWindow, SlownessTest
from headrace.rollout.evidence.tempered import WATCHED_BLOCKS, TemperedComparison

ALPHA = 0.01
MS = 1_000_000


def window(latencies_ns=()):
    made = LatencyWindow()
    made.add(latencies_ns)
    return made


def lognormal(rng, count, median_ns=5 * MS):
    return (median_ns * rng.lognormal(0, 0.5, count)).astype(int)


def fed(test, looks, *, slower=1.0, stable=45, canary=5, seed=0):
    """The test after so many looks at a canary that takes `slower` times as long."""
    rng = np.random.default_rng(seed)
    for _ in range(looks):
        test.add(window(lognormal(rng, stable)), window(lognormal(rng, canary, int(5 * MS * slower))))
    return test


def test_a_quantile_is_at_most_two_per_cent_too_long():
    latencies_ns = np.random.default_rng(0).integers(2_000, 900 * MS, 5001)
    made = window(latencies_ns)

    for q in (0.0, 0.01, 0.5, 0.95, 0.999, 1.0):
        exact = np.sort(latencies_ns)[max(0, int(np.ceil(q * 5001)) - 1)]
        assert exact <= made.quantile(q) <= 1.02 * exact


def test_an_empty_window_has_no_quantile():
    assert (window().count, window().quantile(0.5), window().count_above(0)) == (0, 0, 0)


def test_shortest_and_longest_latencies_have_their_place():
    made = window([0, 1, 999, 10**12, 10**14, 2**62])

    assert made.count == 6
    assert made.quantile(0.1) == 1000
    assert made.quantile(1.0) == pytest.approx(10**12, rel=0.02)
    assert made.count_above(10 * MS) == 3
    assert made.count_above(10**13) == 0


def test_what_is_above_its_own_quantile_is_slower_than_that():
    latencies_ns = lognormal(np.random.default_rng(1), 4000)
    made = window(latencies_ns)
    threshold_ns = made.quantile(0.9)

    assert made.count_above(threshold_ns) == np.sum(latencies_ns > threshold_ns)
    assert 0 <= np.sum(latencies_ns > 7 * MS) - made.count_above(7 * MS) <= 0.02 * 4000


def test_windows_merge_and_are_cleared():
    latencies_ns = lognormal(np.random.default_rng(2), 300)
    one, other = window(latencies_ns[:100]), window(latencies_ns[100:])

    one.merge(other)
    assert one.to_document() == window(latencies_ns).to_document()
    assert one.count == 300

    one.clear()
    assert one.to_document() == window().to_document()


def test_a_window_survives_a_document():
    made = window([0, 5 * MS, 5 * MS, 10**14])

    again = LatencyWindow.from_document(json.loads(json.dumps(made.to_document())))

    assert again.to_document() == made.to_document()
    assert again.count == 4
    assert again.quantile(0.5) == made.quantile(0.5)


@pytest.mark.parametrize(("slower", "looks"), [(1.6, 250), (2.0, 90), (3.0, 60)])
def test_a_slower_canary_is_found(slower, looks):
    test = fed(SlownessTest(0.95, 1.25), looks, slower=slower)

    assert test.is_harm(ALPHA)
    assert test.evidence > 1
    assert test.ratio == pytest.approx(slower, rel=0.2)
    assert test.canary_quantile_ns == pytest.approx(slower * test.stable_quantile_ns, rel=0.2)


@pytest.mark.parametrize("slower", [0.5, 1.0, 1.2])
def test_a_canary_within_the_ratio_is_not(slower):
    test = fed(SlownessTest(0.95, 1.25), 400, slower=slower, canary=20)

    assert not test.is_harm(0.05)


def test_the_median_may_be_watched_as_well():
    assert fed(SlownessTest(0.5, 1.1), 200, slower=1.5).is_harm(ALPHA)
    assert not fed(SlownessTest(0.5, 1.1), 400).is_harm(ALPHA)


def test_a_margin_allows_more_slow_requests():
    assert fed(SlownessTest(0.95, 1.0), 500, slower=1.2, canary=20).is_harm(ALPHA)
    assert not fed(SlownessTest(0.95, 1.0, margin=0.1), 500, slower=1.2, canary=20).is_harm(ALPHA)


def test_nothing_is_concluded_before_the_stable_version_is_known():
    few = fed(SlownessTest(0.95, 1.25), WATCHED_BLOCKS, slower=100)
    slow_start = fed(SlownessTest(0.95, 1.25), 150, slower=100, stable=1)

    assert few.p_value == pytest.approx(1)
    assert slow_start.p_value == pytest.approx(1)


def test_windows_without_requests_are_no_evidence():
    test = fed(SlownessTest(0.95, 1.25), 60, canary=0)

    assert test.p_value == pytest.approx(1)
    assert (test.canary_quantile_ns, test.ratio) == (0, None)

    fed(test, 60, stable=0, slower=5)
    assert test.p_value == pytest.approx(1)


def test_latencies_of_one_length_are_alike():
    test = SlownessTest(0.95, 1.25)

    for _ in range(200):
        test.add(window([5 * MS] * 40), window([5 * MS] * 10))

    assert not test.is_harm(0.05)
    assert test.ratio == 1


def test_a_load_that_both_feel_is_no_harm():
    test, rng = SlownessTest(0.95, 1.1), np.random.default_rng(3)

    for look in range(600):
        median_ns = 20 * MS if look % 100 > 90 else 5 * MS
        test.add(window(lognormal(rng, 30, median_ns)), window(lognormal(rng, 20, median_ns)))

    assert not test.is_harm(0.05)
    assert test.dispersion > 3


def test_the_quantile_follows_a_load_that_stays():
    test = fed(SlownessTest(0.95, 1.25), 12, stable=10_000)
    before_ns = test.stable_quantile_ns

    rng = np.random.default_rng(4)
    for _ in range(12):
        test.add(window(lognormal(rng, 10_000, 20 * MS)), window(lognormal(rng, 100, 20 * MS)))

    assert test.stable_quantile_ns == pytest.approx(4 * before_ns, rel=0.05)
    assert not test.is_harm(ALPHA)


def test_a_resumed_test_goes_on_as_if_nothing_had_been():
    test = fed(SlownessTest(0.95, 1.25, 0.01), 80, slower=1.3, stable=1000)
    resumed = SlownessTest.from_document(json.loads(json.dumps(test.to_document())))

    for each in (test, resumed):
        fed(each, 80, slower=1.3, stable=1000, seed=5)

    assert resumed.to_document() == test.to_document()
    assert (resumed.evidence, resumed.p_value, resumed.ratio) == (test.evidence, test.p_value, test.ratio)


@pytest.mark.parametrize(
    "arguments", [(0, 1.1), (1, 1.1), (0.95, 0.9), (0.95, 1000), (0.95, 1.1, -0.1), (0.95, 1.1, 0.95)]
)
def test_settings_that_say_nothing_are_refused(arguments):
    with pytest.raises(ValueError, match="expected"):
        SlownessTest(*arguments)


def test_what_is_simulated_is_the_test():
    runs, settings = 2, Latencies(slower=1.6, load_share=0.3, memory_s=2)
    comparison = TemperedComparison(0.0, EFFECTS, 0.05, (runs,))
    simulated = ManySlownessTests(comparison, runs, 0.95, 1.25)
    tests = [SlownessTest(0.95, 1.25) for _ in range(runs)]
    # The simulation's buckets begin at 1, which is here an end of a bucket.
    median_ns = 1000 * 2 ** (480 / 36)

    looks = latencies(runs, settings, np.random.default_rng(6))
    for _, (log_latencies, is_canary) in zip(range(300), looks):
        simulated.add(log_latencies, is_canary)
        for test, row, is_canarys in zip(tests, log_latencies, is_canary):
            latencies_ns = (median_ns * np.exp(row.astype(float))).astype(int)
            test.add(window(latencies_ns[~is_canarys]), window(latencies_ns[is_canarys]))

    expected = comparison.process.log_capital / np.log(10)
    assert [test.evidence for test in tests] == pytest.approx(list(expected), abs=0.02)
    assert max(test.evidence for test in tests) > 0.1
