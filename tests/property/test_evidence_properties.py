"""The evidence of rollouts: finite whatever is counted, and under the null expected to be at most 1."""

import json
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.rollout.evidence.e_process import EProcess
from headrace.rollout.evidence.harm import Counts, HarmlessTest, HarmTest, LimitTest, WithinLimitTest
from headrace.rollout.evidence.latency import LatencyWindow, SlownessTest
from headrace.rollout.evidence.projection import log_ratio, projection

NULL_RATES = (0.0, 0.001, 0.02, 0.1, 0.3, 0.5, 0.77, 0.95, 0.999, 1.0)
# Rates of stable and canary.
ALTERNATIVES = ((1e-5, 1e-3), (0.001, 0.3), (0.02, 0.12), (0.3, 0.35), (0.5, 0.95), (0.9, 1 - 1e-9))
SIZES = ((1, 1), (6, 1), (1, 6), (3, 4), (6, 6))

requests = st.one_of(st.integers(0, 60), st.sampled_from([0, 1, 10**4, 10**7]))
counts = requests.flatmap(
    lambda number: st.builds(
        Counts, st.just(number), st.one_of(st.integers(0, number), st.sampled_from([0, number]))
    )
)
bursts = st.floats(1, 1e6)
blocks = st.lists(st.tuples(counts, counts), min_size=1, max_size=8)
comparisons = st.one_of(
    st.builds(HarmTest, st.sampled_from([0.0, 1e-6, 0.01, 0.3, 0.99])),
    st.builds(HarmlessTest, st.sampled_from([1e-6, 0.01, 0.3, 0.99])),
)
limits = st.one_of(
    st.builds(LimitTest, st.sampled_from([0.0, 1e-6, 0.05, 0.5, 0.9999])),
    st.builds(WithinLimitTest, st.sampled_from([1e-6, 0.05, 0.5, 0.9999])),
)
latencies_ns = st.lists(st.integers(0, 10**13), max_size=30)


def same_again(test):
    return type(test).from_document(json.loads(json.dumps(test.to_document(), allow_nan=False)))


def check(test):
    """That what it says makes sense."""
    assert math.isfinite(test.evidence)
    assert 0 <= test.p_value <= 1 + 1e-12
    # The e-value now is at most the highest; the p-value may be too small for a float.
    assert test.p_value < 1e-300 or test.evidence <= -math.log10(test.p_value) + 1e-6


@given(comparisons, blocks)
@settings(max_examples=150, deadline=None)
def test_evidence_is_a_number_whatever_is_counted(test, given_blocks):
    for stable, canary in given_blocks:
        test.add(stable, canary)
        check(test)
        if isinstance(test, HarmTest):
            least, greatest = test.interval()
            assert -1 <= least <= greatest <= 1
            assert least - 1e-9 <= test.difference <= greatest + 1e-9


@given(st.lists(st.tuples(counts, counts, bursts), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_evidence_is_a_number_however_many_fail_together(given_blocks):
    test = HarmTest(0.01)
    for stable, canary, burst in given_blocks:
        test.add(stable, canary, burst)
        check(test)
        least, greatest = test.interval()
        assert -1 <= least <= greatest <= 1
        assert least - 1e-9 <= test.difference <= greatest + 1e-9


@given(limits, st.lists(counts, min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_evidence_on_limits_is_a_number_whatever_is_counted(test, given_counts):
    for canary in given_counts:
        test.add(canary)
        check(test)


@given(comparisons, blocks, blocks)
@settings(max_examples=80, deadline=None)
def test_a_resumed_test_equals_a_continuous_one(test, before, after):
    for stable, canary in before:
        test.add(stable, canary)
    resumed = same_again(test)

    for stable, canary in after:
        test.add(stable, canary)
        resumed.add(stable, canary)

    assert resumed.to_document() == test.to_document()
    assert (resumed.evidence, resumed.p_value) == (test.evidence, test.p_value)


@given(st.lists(st.tuples(latencies_ns, latencies_ns), max_size=4), st.integers(0, 400))
@settings(max_examples=40, deadline=None)
def test_any_latencies_are_taken_and_resumed(given_windows, stable_requests):
    test = SlownessTest(0.95, 1.25)
    start, empty = LatencyWindow(), LatencyWindow()
    start.add([10**6] * stable_requests)
    test.add(start, empty)

    for stable_ns, canary_ns in given_windows:
        stable, canary = LatencyWindow(), LatencyWindow()
        stable.add(stable_ns)
        canary.add(canary_ns)
        resumed = same_again(test)
        for each in (test, resumed):
            each.add(stable, canary)
        check(test)
        assert resumed.to_document() == test.to_document()


@given(
    st.integers(0, 50), st.integers(0, 50), st.floats(0, 1), st.floats(0, 1),
    st.sampled_from(ALTERNATIVES), st.sampled_from([0.0, 0.01, -0.01]),
)  # fmt: skip
def test_exchanging_versions_or_events_changes_nothing(stable, canary, one, other, rates, margin):
    """p_canary = p_stable + margin is p_stable = p_canary - margin, and the same of what is no event."""
    n_stable, n_canary = np.array(float(stable)), np.array(float(canary))
    x_stable, x_canary = np.floor(one * n_stable), np.floor(other * n_canary)
    q_stable, q_canary = (np.array(rate) for rate in rates)

    straight = log_ratio(n_stable, x_stable, n_canary, x_canary, q_stable, q_canary, margin)
    exchanged = log_ratio(n_canary, x_canary, n_stable, x_stable, q_canary, q_stable, -margin)
    mirrored = log_ratio(
        n_stable, n_stable - x_stable, n_canary, n_canary - x_canary, 1 - q_stable, 1 - q_canary, -margin
    )

    assert exchanged == pytest.approx(straight, rel=1e-5, abs=1e-6)
    assert mirrored == pytest.approx(straight, rel=1e-5, abs=1e-6)


def probabilities(size, rate):
    """Of 0 to `size` events."""
    return np.array([math.comb(size, n) * rate**n * (1 - rate) ** (size - n) for n in range(size + 1)])


def expectation(sizes, null, rates, margin, weights=(1.0, 1.0)):
    """Of the e-value of one block, over all that can be counted; `weights` are those of a request."""
    stable, canary = np.meshgrid(*(np.arange(size + 1.0) for size in sizes), indexing="ij")
    e_values = np.exp(
        log_ratio(
            np.array(sizes[0] * weights[0]),
            stable * weights[0],
            np.array(sizes[1] * weights[1]),
            canary * weights[1],
            np.array(rates[0]),
            np.array(rates[1]),
            margin,
        )
    )
    return probabilities(sizes[0], null[0]) @ e_values @ probabilities(sizes[1], null[1])


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("margin", [0.0, 0.01])
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.1, 0.4)])
def test_a_block_of_a_canary_that_is_no_worse_is_expected_to_say_nothing(sizes, margin, weights):
    for rates in ALTERNATIVES:
        if rates[1] <= rates[0] + margin:
            continue
        for stable_rate in NULL_RATES:
            edge = min(1.0, stable_rate + margin)
            inside = [rate for rate in NULL_RATES if rate < edge]
            for null in ((stable_rate, canary_rate) for canary_rate in (edge, *inside)):
                assert expectation(sizes, null, rates, margin, weights) <= 1 + 1e-9


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("margin", [0.01, 0.1])
def test_a_block_of_a_canary_that_is_worse_is_expected_to_prove_nothing(sizes, margin):
    for rates in ((0.001, 0.001), (0.02, 0.025), (0.3, 0.2), (0.9, 0.9), (0.9995, 1 - 1e-9)):
        for stable_rate in NULL_RATES:
            edge = stable_rate + margin
            for canary_rate in (edge, *NULL_RATES):
                if edge <= canary_rate <= 1:
                    assert expectation(sizes, (stable_rate, canary_rate), rates, margin) <= 1 + 1e-9


@pytest.mark.parametrize("margin", [0.0, 0.01])
def test_the_expectation_on_the_edge_is_one_for_rates_that_it_knows(margin):
    """The bound is not slack: the projection itself is the worst that the null allows."""
    rates = (0.02, 0.3)
    share = np.array(0.5)
    stable_rate = float(projection(share, np.array(rates[0]), np.array(rates[1]), margin))

    assert expectation((3, 3), (stable_rate, stable_rate + margin), rates, margin) == pytest.approx(1)


@pytest.mark.parametrize(
    ("make", "nulls"),
    [
        (HarmTest, ((0.02, 0.02), (0.3, 0.3), (0.7, 0.1))),
        (lambda: HarmTest(0.01), ((0.02, 0.03), (0.5, 0.51), (0.9, 0.2))),
        (lambda: HarmlessTest(0.05), ((0.02, 0.07), (0.5, 0.55), (0.1, 0.9))),
    ],
)
def test_the_whole_test_is_expected_to_stay_where_it_was(make, nulls):
    """Over all that two blocks can bring, with what is learned in between: every bet is made beforehand."""
    outcomes = list(product(range(4), range(3)))
    for stable_rate, canary_rate in nulls:
        chances = np.outer(probabilities(3, stable_rate), probabilities(2, canary_rate))
        total = 0.0
        for first, second in product(outcomes, outcomes):
            test = make()
            for events in (first, second):
                test.add(Counts(3, events[0]), Counts(2, events[1]))
            total += chances[first] * chances[second] * 10**test.evidence
        assert total <= 1 + 1e-9


@given(bursts, st.sampled_from([0.0, 0.01]), st.sampled_from([(0.02, 0.02), (0.3, 0.3), (0.7, 0.1)]))
@settings(max_examples=30, deadline=None)
def test_a_burst_that_is_fixed_is_expected_to_add_no_evidence(burst, margin, null):
    """Over all that two blocks can bring: Jensen's inequality."""
    outcomes = list(product(range(4), range(3)))
    chances = np.outer(probabilities(3, null[0]), probabilities(2, null[1] + margin))
    total = 0.0
    for first, second in product(outcomes, outcomes):
        test = HarmTest(margin)
        for events in (first, second):
            test.add(Counts(3, events[0]), Counts(2, events[1]), burst)
        total += chances[first] * chances[second] * 10**test.evidence
    assert total <= 1 + 1e-9


@pytest.mark.parametrize(
    ("make", "nulls"),
    [(lambda: LimitTest(0.05), (0.0, 0.01, 0.05)), (lambda: WithinLimitTest(0.05), (0.05, 0.2, 1.0))],
)
def test_a_limit_that_is_kept_to_is_expected_to_stay_so(make, nulls):
    for rate in nulls:
        total = 0.0
        for first, second in product(range(7), range(7)):
            test = make()
            test.add(Counts(6, first))
            test.add(Counts(6, second))
            total += probabilities(6, rate)[first] * probabilities(6, rate)[second] * 10**test.evidence
        assert total <= 1 + 1e-9


@given(st.lists(st.tuples(st.floats(-50, 20), st.integers(0, 10**6)), max_size=20))
def test_capital_is_never_lost_altogether(steps):
    """What is kept back is still there after any loss."""
    process = EProcess(2, is_restarted=True)
    requests = 0
    for log_ratio_of_block, more in steps:
        process.multiply(np.array([log_ratio_of_block, log_ratio_of_block - 1]), np.array(float(more)))
        requests += more
        assert process.log_capital >= math.log(0.2 / math.sqrt(1 + requests / 500))
