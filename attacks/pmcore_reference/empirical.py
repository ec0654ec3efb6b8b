"""Where a value stands in the interpolated empirical distribution of each record, as log odds that never saturate."""

from __future__ import annotations

import numpy as np

from pmcore.outputs import Floats


def empirical_log_odds(values: Floats, others: Floats, scale: Floats) -> Floats:
    """Return log(F / (1 - F)) at each value, (n,), with F the interpolated empirical distribution of the others.

    The i-th smallest of r others has F = i / (r + 1), the middle of several equal ones is theirs, and F is linear in
    between. Beyond the extremes it comes near 0 and 1 as 1 / (1 + distance / scale), so that its sentinels lie at
    infinity: with sentinels at a number, all that lies further would tie, where low error rates are decided.

    Parameters
    ----------
    values : (n,)
    others : (r, n)
    scale : (n,) above 0
    """
    r, n = others.shape
    below, equal = np.zeros(n), np.zeros(n)
    low, high = np.full(n, -np.inf), np.full(n, np.inf)
    for each in others:
        less, more = each < values, each > values
        below += less
        equal += ~(less | more)
        low = np.where(less, np.maximum(low, each), low)
        high = np.where(more, np.minimum(high, each), high)
    first, last = np.isneginf(low), np.isposinf(high)
    between = ~(first | last)
    gap = np.where(between, high - np.where(between, low, 0.0), 1.0)
    place = below + np.where(equal > 0, (equal + 1) / 2, (values - np.where(between, low, values)) / gap)
    left = r + 1 - place
    alone = equal == 0
    under, over = first & alone & ~last, last & alone & ~first
    place = np.where(under, scale / (scale + np.where(under, high - values, 0.0)), place)
    left = np.where(under, r + 1 - place, left)
    left = np.where(over, scale / (scale + np.where(over, values - low, 0.0)), left)
    place = np.where(over, r + 1 - left, place)
    odds: Floats = np.log(place) - np.log(left)
    return odds
