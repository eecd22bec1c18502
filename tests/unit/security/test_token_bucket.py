"""The token bucket: what it gives over time, whatever the clock does."""

import pytest

from headrace.security.token_bucket import NS_PER_S, Rate, TokenBucket


def taken(bucket, now_ns, asked=1000):
    """How many of `asked` requests get a token."""
    for count in range(asked):
        if bucket.wait_ns(now_ns) > 0:
            return count
        bucket.take(now_ns)
    return asked


@pytest.mark.parametrize(
    ("requests_per_s", "burst", "token_ns", "tokens"),
    [
        (100, None, 10_000_000, 100),
        (0.5, None, 2 * NS_PER_S, 1),
        (10, 1, 100_000_000, 1),
        (10, 2.5, 100_000_000, 2.5),
        (3, 4, 333_333_334, 4),
    ],
)
def test_a_rate_is_a_token_every_so_often_and_a_burst(requests_per_s, burst, token_ns, tokens):
    rate = Rate.of(requests_per_s, burst)

    assert rate.token_ns == token_ns
    assert rate.burst_ns == tokens * token_ns


@pytest.mark.parametrize("requests_per_s", [5e-324, 1e-9, 1e9, 1e18, 2**63 - 1])
@pytest.mark.parametrize("burst", [None, 1, 1e18])
def test_no_rate_is_too_small_or_too_large(requests_per_s, burst):
    bucket = TokenBucket(Rate.of(requests_per_s, burst))

    assert bucket.wait_ns(0) <= 0
    bucket.take(0)


def test_a_new_bucket_gives_its_burst_and_then_the_rate():
    bucket = TokenBucket(Rate.of(10, 5))

    assert taken(bucket, 0) == 5
    assert taken(bucket, NS_PER_S // 10 - 1) == 0
    assert taken(bucket, NS_PER_S // 10) == 1
    assert taken(bucket, NS_PER_S // 2) == 4


def test_idle_time_fills_to_the_burst_at_most():
    bucket = TokenBucket(Rate.of(10, 5))
    taken(bucket, 0)

    assert taken(bucket, 3600 * NS_PER_S) == 5


def test_a_clock_that_stands_still_fills_nothing():
    bucket = TokenBucket(Rate.of(1000, 5))
    taken(bucket, 7)

    assert [taken(bucket, 7) for _ in range(100)] == [0] * 100


def test_parts_of_a_token_are_not_lost():
    bucket = TokenBucket(Rate.of(7, 1))

    assert sum(taken(bucket, step * NS_PER_S // 1000) for step in range(10_001)) == 70


def test_it_says_how_long_to_wait():
    bucket = TokenBucket(Rate.of(4, 1))
    bucket.take(0)

    assert bucket.wait_ns(0) == NS_PER_S // 4
    assert bucket.wait_ns(NS_PER_S // 5) == NS_PER_S // 20
    assert bucket.wait_ns(NS_PER_S // 4) == 0


def test_it_says_when_it_is_like_a_new_one():
    bucket = TokenBucket(Rate.of(4, 2))
    assert bucket.remaining_ns(0) <= 0

    taken(bucket, 0)

    assert bucket.remaining_ns(0) == NS_PER_S // 2
    assert bucket.remaining_ns(NS_PER_S // 2) == 0
