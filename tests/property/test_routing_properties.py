"""Weights and keys: every window of a thousand requests is exact, and keys move only where they have to."""

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.router.turns import Hash, buckets, turns

PER_MILLE = 1000
KNOWN = [1, 229, 513, 717]


@st.composite
def weights(draw, most=6):
    """Parts of a thousand that add up to it."""
    cuts = sorted(draw(st.lists(st.integers(0, PER_MILLE), min_size=0, max_size=most - 1)))
    edges = [0, *cuts, PER_MILLE]
    return [after - before for before, after in pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(weights(), st.integers(0, PER_MILLE - 1))
def test_every_window_of_a_thousand_turns_has_exactly_the_weights(shares, start):
    order = turns(shares)
    window = [order[(start + offset) % PER_MILLE] for offset in range(PER_MILLE)]
    counts = Counter(window)
    assert [counts[index] for index in range(len(shares))] == shares


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 500))
def test_a_small_share_is_spread_evenly(share):
    order = turns([PER_MILLE - share, share])
    places = [place for place, index in enumerate(order) if index == 1]
    longest = max(
        after - before for before, after in zip(places, [*places[1:], places[0] + PER_MILLE], strict=True)
    )
    assert longest <= 2 * -(-PER_MILLE // share) + 1


@settings(max_examples=60, deadline=None)
@given(weights(), st.data())
def test_buckets_have_exactly_the_weights(shares, data):
    main = data.draw(st.integers(0, len(shares) - 1))
    counts = Counter(buckets(shares, main))
    assert [counts[index] for index in range(len(shares))] == shares


@settings(max_examples=200, deadline=None)
@given(weights(most=3), st.data())
def test_raising_a_weight_moves_keys_from_the_main_version_to_that_one_only(shares, data):
    main = data.draw(st.integers(0, len(shares) - 1))
    others = [index for index in range(len(shares)) if index != main]
    if not others:
        return
    raised = data.draw(st.sampled_from(others))
    more = data.draw(st.integers(0, shares[main]))
    after = list(shares)
    after[main] -= more
    after[raised] += more
    for was, is_now in zip(buckets(shares, main), buckets(after, main), strict=True):
        assert was == is_now or (was, is_now) == (main, raised)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40), st.text(max_size=80))
def test_a_key_has_the_same_bucket_everywhere(seed, key):
    bucket = Hash(seed).bucket(key)
    assert 0 <= bucket < PER_MILLE
    assert Hash(seed).bucket(key) == bucket


def test_known_buckets_stay_what_they_are():
    """A replica of another release has to agree: these numbers must never change."""
    hashed = Hash("digits\n")
    assert [hashed.bucket(key) for key in ("", "alice", "user-4711", "日本")] == KNOWN


def test_keys_spread_evenly_and_seeds_are_independent():
    counts = Counter(Hash("a").bucket(f"user{number}") * 20 // PER_MILLE for number in range(40_000))
    # 20 cells of 2,000 expected: the deviation of one is 44.
    assert all(abs(count - 2000) < 250 for count in counts.values())
    both = sum(
        Hash("a").bucket(f"user{number}") < 500 and Hash("b").bucket(f"user{number}") < 500
        for number in range(10_000)
    )
    assert abs(both - 2500) < 250
