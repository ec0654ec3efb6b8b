"""Epsilon from one training run: how often the membership of randomly included canaries is guessed right.

Every canary was included in the training set, or left out, by a fair coin of its own. An auditor who sees the
trained model guesses some of the coins and abstains from the others. If training is (epsilon, 0)-differentially
private, the right guesses are at most as many as Binomial(r, e^epsilon / (1 + e^epsilon)), whatever is guessed.
Epsilon is that of adding or removing one record.

References
----------
Steinke, Nasr, Jagielski. Privacy Auditing with One (1) Training Run. NeurIPS 2023 (theorem 5.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtr, bdtrc, expit, gammaln, log_expit, logit

from pmcore.errors import InputError
from pmcore.intervals import binomial_lower, tail_error
from pmcore.numerals import count
from pmcore.outputs import Floats

Bools = NDArray[np.bool_]

SHARE = 5
"""One canary of this many is guessed unless said otherwise; see `default_guesses`."""
FEWEST = 20
"""Guesses that small sets of canaries need: fewer cannot show much, however right they are."""
SMALLEST = 8
"""The fewest guesses that are tried where their number is chosen by the results."""
UNFAIR = 1e-6
"""Chance below which no fair coin is believed to have included so many or so few canaries."""
_HALVINGS = 60
_REACH, _ROOM = 12, 40


@dataclass(frozen=True)
class OneRunBound:
    """A lower bound of epsilon from one training run.

    Parameters
    ----------
    value : the bound; 0 where the guesses are no better than delta and chance explain
    confidence : the chance, at the least, that it is not above the truth
    cap : what it would be, had every guess been right
    canaries, included : how many there were, and how many of them trained the model
    guesses, correct : how many were guessed, and how many of these rightly
    tried : numbers of guesses among which the results chose, 1 where it was fixed beforehand
    """

    value: float
    delta: float
    confidence: float
    cap: float
    canaries: int
    included: int
    guesses: int
    correct: int
    tried: int
    method: str


def p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float = 0.0) -> float:
    """Return the largest chance of so many right guesses under any (epsilon, delta)-private training.

    With W ~ Binomial(r, e^epsilon / (1 + e^epsilon)) it is

        P(W >= v) + 2 m delta max over i of P(v - i <= W < v) / i,

    for m canaries, r guesses and v right ones (Steinke, Nasr, Jagielski 2023, theorem 5.2).

    Raises
    ------
    InputError
        The counts are not 0 <= v <= r <= m, epsilon is negative, or delta lies outside [0, 1].
    """
    _check_counts(canaries, guesses, correct)
    if not 0 <= epsilon < math.inf:
        raise InputError(f"epsilon: {epsilon:g} - give a number from 0")
    _check_delta(delta)
    if correct == 0:
        return 1.0
    tail = float(bdtrc(correct - 1, guesses, expit(epsilon)))
    if delta == 0:
        return tail
    return min(1.0, tail + 2 * canaries * delta * _steepest(guesses, correct, epsilon))


def epsilon_of_guesses(
    canaries: int, guesses: int, correct: int, delta: float = 0.0, confidence: float = 0.95
) -> float:
    """Return the lower bound of epsilon from m canaries, r guesses and v right ones; 0 where nothing is shown.

    It is the largest epsilon whose `p_value` is below 1 - confidence.

    Raises
    ------
    InputError
        The counts are not 0 <= v <= r <= m, delta lies outside [0, 1], or the confidence outside (0, 1).
    """
    _check_counts(canaries, guesses, correct)
    _check_delta(delta)
    error = 2 * tail_error(confidence)
    if guesses == 0:
        return 0.0
    # Without delta, P(W >= v) = error is what Clopper-Pearson's bound of the accuracy solves.
    pure = float(logit(binomial_lower(correct, guesses, error)))
    if pure <= 0:
        return 0.0
    if delta == 0:
        return pure
    if p_value(canaries, guesses, correct, 0.0, delta) >= error:
        return 0.0
    low, high = 0.0, pure
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if p_value(canaries, guesses, correct, middle, delta) < error:
            low = middle
        else:
            high = middle
    return low


def default_guesses(canaries: int) -> int:
    """Return how many canaries are guessed where nobody says: a fifth, and at least 20 if there are as many.

    In simulations of Gaussian scores, 1 000 canaries and separations of .5 to 3, the bound of a fifth is within
    a tenth of that of the best share tried (1/32 to 1). Where a few canaries stand out far and the others not at
    all, fewer guesses show several times as much; where nearly all are told apart, more of them do.
    """
    return min(canaries, max(-(-canaries // SHARE), FEWEST))


def one_run_bound(
    scores: ArrayLike,
    included: ArrayLike,
    rng: np.random.Generator,
    guesses: int | Literal["best"] | None = None,
    delta: float = 0.0,
    confidence: float = 0.95,
) -> OneRunBound:
    """Return the bound of the guesses that the most extreme scores make.

    The upper half of the guesses says "included" of the highest scores, the lower half "left out" of the lowest
    ones; the middle abstains. Which of several tied canaries is guessed is drawn with `rng`; the order of the
    canaries has no part in it.

    Parameters
    ----------
    scores : (m,) higher where membership is more likely
    included : (m,) 0 or 1, drawn by a fair coin for every canary
    guesses : how many canaries are guessed; None for `default_guesses`; "best" for the best of m, m / 2, m / 4,
        ..., each at an error divided by their number (Bonferroni), because here `included` has a say in the choice

    Raises
    ------
    InputError
        Scores are not finite, `included` is not of 0 and 1 or no fair coin's, or an option does not fit.
    """
    values, truth = _checked_scores(scores), checked_included(included)
    m = values.size
    if truth.size != m:
        raise InputError(f"included: {count(truth.size)} values for {count(m)} scores - give one for each canary")
    check_fair(truth)
    error = 2 * tail_error(confidence)
    _check_delta(delta)
    if guesses == "best":
        tried = [m >> halvings for halvings in range(m.bit_length()) if m >> halvings >= min(SMALLEST, m)]
    else:
        fixed = default_guesses(m) if guesses is None else guesses
        if not 1 <= fixed <= m:
            raise InputError(f"guesses: {fixed} - there are {count(m)} canaries; give a number from 1 to {m}")
        tried = [fixed]
    each = 1 - error / len(tried)
    ranked = _by_score(values, truth, rng)
    bounds = []
    for number in tried:
        correct = _correct(ranked, number)
        bounds.append((epsilon_of_guesses(m, number, correct, delta, each), number, correct))
    value, number, correct = max(bounds)
    return OneRunBound(
        value=value,
        delta=float(delta),
        confidence=float(confidence),
        cap=epsilon_of_guesses(m, number, number, delta, each),
        canaries=m,
        included=int(truth.sum()),
        guesses=number,
        correct=correct,
        tried=len(tried),
        method="one run (Steinke, Nasr, Jagielski 2023)"
        + (f", Bonferroni over {len(tried)} numbers of guesses" if len(tried) > 1 else ""),
    )


def checked_included(included: ArrayLike) -> Bools:
    """Return which canaries were included, shape (m,).

    Raises
    ------
    InputError
        It is not one-dimensional, or holds other values than 0 and 1.
    """
    raw = np.asarray(included)
    if raw.ndim != 1 or raw.size == 0:
        raise InputError(f"included: shape {raw.shape} - give 0 or 1 for every canary, shape (m,)")
    if raw.dtype.kind not in "biuf":
        raise InputError(f"included: {raw.dtype} - give 0 or 1 for every canary")
    wrong = np.flatnonzero((raw != 0) & (raw != 1))
    if wrong.size:
        raise InputError(f"included[{wrong[0]}]: {raw[wrong[0]]} - give 0 or 1 for every canary")
    return raw.astype(np.bool_)


def check_fair(included: Bools) -> None:
    """Refuse a share of included canaries that no fair coin gives: the theorem is about fair coins.

    Raises
    ------
    InputError
        A fair coin gives such a share in less than one of a million draws.
    """
    m, heads = included.size, int(included.sum())
    fewer = min(heads, m - heads)
    if 2 * float(bdtr(fewer, m, 0.5)) < UNFAIR:
        raise InputError(
            f"included: {count(heads)} of {count(m)} canaries, which no fair coin gives - the bound holds only where a "
            "fair coin included or left out every canary; draw them with --make-canaries"
        )


def _steepest(guesses: int, correct: int, epsilon: float) -> float:
    """Return the largest P(v - i <= W < v) / i over i of 1 to v."""
    mean, spread = guesses * float(expit(epsilon)), math.sqrt(guesses * float(expit(epsilon) * expit(-epsilon)))
    # Below this nothing is left to add to the sum, which is then only divided by more.
    lowest = max(0, int(mean - _REACH * spread) - _ROOM)
    if correct <= lowest:
        return 0.0
    w = np.arange(correct - 1, lowest - 1, -1, dtype=np.float64)
    ways = gammaln(guesses + 1) - gammaln(w + 1) - gammaln(guesses - w + 1)
    mass = np.exp(ways + w * log_expit(epsilon) + (guesses - w) * log_expit(-epsilon))
    return float(np.max(np.cumsum(mass) / np.arange(1, w.size + 1)))


def _by_score(scores: Floats, included: Bools, rng: np.random.Generator) -> Bools:
    """Return who was included by falling score, ties in drawn order, shape (m,)."""
    # First an order that any arrangement of the same canaries has, so that the draw is the same for all.
    canonical = np.lexsort((included, scores))
    drawn = np.lexsort((rng.random(scores.size), -scores[canonical]))
    ordered: Bools = included[canonical][drawn]
    return ordered


def _correct(ranked: Bools, guesses: int) -> int:
    """Return how many guesses are right: the first are said to be included, the last to be left out."""
    last = guesses // 2
    first = guesses - last
    return int(ranked[:first].sum()) + last - int(ranked[ranked.size - last :].sum())


def _checked_scores(scores: ArrayLike) -> Floats:
    raw = np.asarray(scores)
    if raw.ndim != 1 or raw.size == 0 or raw.dtype.kind not in "biuf":
        raise InputError(f"scores: {raw.dtype} {raw.shape} - give one number for every canary, shape (m,)")
    values = raw.astype(np.float64)
    finite = np.isfinite(values)
    if not finite.all():
        first = int(np.argmin(finite))
        raise InputError(f"scores[{first}]: {values[first]} - every score must be finite")
    return values


def _check_counts(canaries: int, guesses: int, correct: int) -> None:
    if not 0 <= correct <= guesses <= canaries:
        raise InputError(
            f"guesses: {correct} right of {guesses} about {canaries} canaries - give 0 <= right <= guesses <= canaries"
        )


def _check_delta(delta: float) -> None:
    if not 0 <= delta <= 1:
        raise InputError(f"delta: {delta:g} - give a number between 0 and 1, such as 1e-5")
