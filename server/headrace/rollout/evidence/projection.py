"""How much better an alternative explains a block of counts than the null that comes closest to it.

Source: Turner, Ly, Grünwald, "Generic E-variables for exact sequential k-sample tests that allow for optional
stopping", J. Statistical Planning and Inference 230 (2024), and Turner, Grünwald, "Exact anytime-valid
confidence intervals for contingency tables and beyond" (2023) for nulls with a margin. The rates of the two
versions are a point of the unit square, the null a convex part of it. The point of the null with the least
Kullback-Leibler divergence from the alternative (the reverse information projection) lies on the line
p_canary = p_stable + margin, and the likelihood ratio against it has an expectation of at most 1 under every
point of the null, for any numbers of requests: with d the ratio's slope in each rate, its expectation is at
most exp(sum of n d (p - p0)), and that sum is at most 0 because p0 is the minimum.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]

# Newton's method, with bisection where it leaves the bracket, needs four to eight steps as a rule. It ends
# after a step that was this small a part of the distance to the nearest pole: the next would be its square.
MOST_STEPS = 100
PRECISION = 1e-8
# The divergence has poles where a rate is 0 or 1; no alternative comes as near to them as this.
FROM_POLES = 1e-12


def log_ratio(
    stable_requests: Floats,
    stable_events: Floats,
    canary_requests: Floats,
    canary_events: Floats,
    stable_rate: Floats,
    canary_rate: Floats,
    margin: float,
) -> Floats:
    """The natural logarithm of the e-value of a block, for the alternative of the two given rates.

    Arguments broadcast; rates lie strictly between 0 and 1, and the null is the side of the line
    p_canary = p_stable + margin on which the alternative is not. 0 where one version had no requests: then
    the projection explains the other's exactly as well.
    """
    has_both = (stable_requests > 0) & (canary_requests > 0)
    canary_share = np.where(
        has_both, canary_requests / np.maximum(stable_requests + canary_requests, 1e-9), 0.5
    )
    null_stable = projection(canary_share, stable_rate, canary_rate, margin)
    stable = _log_likelihood_ratio(stable_requests, stable_events, stable_rate, null_stable)
    canary = _log_likelihood_ratio(canary_requests, canary_events, canary_rate, null_stable + margin)
    return np.where(has_both, stable + canary, 0.0)


def projection(canary_share: Floats, stable_rate: Floats, canary_rate: Floats, margin: float) -> Floats:
    """The stable's rate at the point of the line p_canary = p_stable + margin that is nearest to the rates.

    `canary_share` is the canary's part of the block's requests, strictly between 0 and 1.
    """
    low, high = stable_rate, canary_rate - margin
    if margin == 0:
        return low + canary_share * (high - low)
    low, high = np.minimum(low, high), np.maximum(low, high)
    low = np.maximum(low, max(0.0, -margin) + FROM_POLES)
    high = np.minimum(high, min(1.0, 1.0 - margin) - FROM_POLES)
    return _least(canary_share, stable_rate, canary_rate, margin, low, high)


def _least(
    canary_share: Floats,
    stable_rate: Floats,
    canary_rate: Floats,
    margin: float,
    low: Floats,
    high: Floats,
) -> Floats:
    """Where the derivative of the divergence, which only grows from `low` to `high`, is 0."""
    is_rising = canary_rate - margin > stable_rate
    rate = low + np.where(is_rising, canary_share, 1 - canary_share) * (high - low)
    for _ in range(MOST_STEPS):
        moved = rate + margin
        of_stable, of_canary = rate * (1 - rate), moved * (1 - moved)
        away_stable, away_canary = rate - stable_rate, moved - canary_rate
        slope = (1 - canary_share) * away_stable / of_stable + canary_share * away_canary / of_canary
        bend = (1 - canary_share) * (away_stable**2 + stable_rate * (1 - stable_rate)) / of_stable**2
        bend += canary_share * (away_canary**2 + canary_rate * (1 - canary_rate)) / of_canary**2
        low, high = np.where(slope < 0, rate, low), np.where(slope > 0, rate, high)
        step = slope / bend
        is_there = np.abs(step) <= PRECISION * np.minimum(of_stable, of_canary)
        following = rate - step
        is_inside = (following > low) & (following < high)
        rate = np.where(is_there | is_inside, following, (low + high) / 2)
        if is_there.all():
            break
    return rate


def _log_likelihood_ratio(requests: Floats, events: Floats, rate: Floats, null_rate: Floats) -> Floats:
    of_events: Floats = events * (np.log(rate) - np.log(null_rate))
    of_others: Floats = (requests - events) * (np.log1p(-rate) - np.log1p(-null_rate))
    return of_events + of_others
