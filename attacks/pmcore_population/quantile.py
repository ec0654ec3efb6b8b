"""The quantile-regression attack (Bertran et al. 2023): a record against records like it, with conformal p-values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import ndtri

from pmcore.conformal import Pool, conformal_p_values, conformal_scores, one_pool
from pmcore.errors import InputError
from pmcore.interfaces import Array, Attack, Evidence, Floats, Needs, PValues

FEWEST = 20
"""Population records of which half can be learnt from and half compared with."""
TREES, LEARNING_RATE, LEAVES, LARGEST_LEAF = 15, 0.3, 8, 20
MOST_CLASSES = 100
"""Classes beyond which the label is no feature: one column for each would outnumber the records."""
NO_SPREAD = 1e-12
"""Share of the largest signal that is no spread but rounding."""
LEAST_SPREAD = 0.5
"""The least spread of a record, as a share of the median one: quantiles of few records come too near, or cross."""


@dataclass(frozen=True)
class QuantileAttack(Attack):
    """Does the model treat this record better than it treats records like it that it has never seen?

    Half of the population teaches what the signal s usually is for a record like x: gradient-boosted trees predict its
    quantiles q_a(x) at the levels a from what the record holds and its label. Through them goes a line,
    q_a(x) = mu(x) + sigma(x) * Phi^-1(a) by least squares, which is the normal distribution of the paper's Gaussian
    variant learnt by the quantile loss. How far x lies above it,

        t(x) = (s(x) - mu(x)) / sqrt(sigma(x) * sigma*)

    with sigma* the median sigma, is compared with the other half Z of the population as in the attack `population`:
    p(x) = (1 + #{z in Z : t(z) >= t(x)}) / (|Z| + 1) is a valid p-value whatever was learnt, and the score is 1 - p(x),
    refined inside the steps of p by t. Half the way from sigma to sigma* found most in simulations: a learnt sigma is
    noisy, and with sigma* alone members among the records that vary little are missed.

    Where difficulty cannot be read off the record, this finds no more than the attack `population`, and p-values are
    twice as coarse.

    Parameters
    ----------
    signal : any signal with one number per record
    levels : of the quantiles that are learnt, two or more
    columns : most numbers of a record that are read; longer records are projected at random

    References
    ----------
    Bertran, Tang, Kearns, Morgenstern, Roth, Wu. Scalable Membership Inference Attacks via Quantile Regression.
    NeurIPS 2023.
    Romano, Patterson, Candes. Conformalized Quantile Regression. NeurIPS 2019 (the second half).
    """

    knowledge: ClassVar[str] = "records of the same population that are known not to be members, and what records hold"

    signal: str = "rescaled_logit"
    levels: tuple[float, ...] = (0.2, 0.5, 0.8)
    columns: int = 64

    def __post_init__(self) -> None:
        if len(set(self.levels)) < 2 or not all(0.0 < level < 1.0 for level in self.levels):
            given = ", ".join(f"{level:g}" for level in self.levels) or "none"
            raise InputError(f"quantile: levels: {given} - give two different levels or more, between 0 and 1")
        if self.columns < 1:
            raise InputError(f"quantile: columns: {self.columns} - give 1 or more")

    @property
    def needs(self) -> Needs:
        """Declare the signal on the audited records and on the population, and what these records hold."""
        return Needs(target=(self.signal,), population=(self.signal,), features=self.columns)

    def score(self, evidence: Evidence) -> Floats:
        """Return 1 - p, refined inside the steps of p; shape (n,), in (0, 1).

        Raises
        ------
        InputError
            The population is too small, or a signal is not finite.
        """
        return conformal_scores(self._pools(evidence), len(evidence.labels))

    def p_values(self, evidence: Evidence) -> PValues:
        """Return conformal p-values, in [1 / (z + 1), 1] with z the half of the population that is compared with."""
        return conformal_p_values(self._pools(evidence), len(evidence.labels))

    def _pools(self, evidence: Evidence) -> tuple[Pool, ...]:
        audited = self._signed(evidence, evidence.target(self.signal))
        population = self._signed(evidence, evidence.population(self.signal))
        if evidence.features is None or evidence.population_features is None:
            raise InputError("quantile: it is not given what the records hold - give the audit the records themselves")
        if len(population) < FEWEST:
            raise InputError(
                f"quantile: the population has {len(population)} records, and it learns from {FEWEST} or more - give "
                "more, or use the attack population"
            )
        held = _columns(evidence.population_features, evidence.population_labels, evidence.classes)
        asked = _columns(evidence.features, evidence.labels, evidence.classes)
        rng = evidence.rng
        # Dealt by position and never by rank: in a fixed deal of ranks, whoever is compared with is no chance sample.
        dealt = rng.permutation(len(population))
        learnt, compared = dealt[: len(dealt) // 2], dealt[len(dealt) // 2 :]
        rows = np.vstack([held[learnt], held[compared], asked])
        quantiles = self._quantiles(held[learnt], population[learnt], rows, int(rng.integers(2**31)))
        values = np.concatenate([population[learnt], population[compared], audited])
        above = self._above(values, quantiles, len(learnt))[len(learnt) :]
        return one_pool(above[len(compared) :], above[: len(compared)])

    def _quantiles(self, held: Floats, signal: Floats, asked: Floats, seed: int) -> Floats:
        """Return the quantiles of the signal for q records, as learnt from others, shape (levels, q)."""
        from sklearn.ensemble import HistGradientBoostingRegressor
        from threadpoolctl import threadpool_limits

        leaf = int(np.clip(len(signal) // 10, 2, LARGEST_LEAF))
        models = [
            HistGradientBoostingRegressor(
                loss="quantile",
                quantile=level,
                max_iter=TREES,
                learning_rate=LEARNING_RATE,
                max_leaf_nodes=LEAVES,
                min_samples_leaf=leaf,
                early_stopping=False,
                random_state=seed,
            )
            for level in self.levels
        ]
        # Trees of few records are grown in less time than threads take to meet, above all on a busy machine.
        with threadpool_limits(limits=1, user_api="openmp"):
            return np.array([model.fit(held, signal).predict(asked) for model in models], dtype=np.float64)

    def _above(self, values: Floats, quantiles: Floats, learnt: int) -> Floats:
        """Return t of q records, of which the first were learnt from, shape (q,)."""
        z = ndtri(np.array(self.levels))
        centred = z - z.mean()
        spread: Floats = centred @ quantiles / (centred @ centred)
        above: Floats = values - (quantiles.mean(axis=0) - spread * z.mean())
        usual = float(np.median(spread[:learnt]))
        if usual <= NO_SPREAD * np.abs(values[:learnt]).max():
            return above
        measured: Floats = above / np.sqrt(np.maximum(spread, LEAST_SPREAD * usual)) / np.sqrt(usual)
        return measured

    def _signed(self, evidence: Evidence, values: Floats) -> Floats:
        if values.ndim != 1:
            several = f"gives {values.shape[1]} numbers per record; choose a signal with one"
            raise InputError(f"quantile: signal: {self.signal} - {several}")
        if not np.isfinite(values).all():
            raise InputError(f"quantile: signal: {self.signal} - some values are not finite; choose another signal")
        return evidence.membership_evidence(self.signal, values)


def _columns(features: Floats, labels: Array | None, classes: int) -> Floats:
    """Return what records hold, and a column for each class if there are not too many; (n, d) -> (n, d + k)."""
    if labels is None or labels.ndim != 1 or labels.dtype.kind not in "iu" or classes > MOST_CLASSES:
        return features
    return np.hstack([features, (labels[:, None] == np.arange(classes)).astype(np.float64)])
