"""The reference attack (Attack-R of Ye et al. 2022): the record's loss among its losses under other models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from scipy.special import log_ndtr

from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_reference.empirical import empirical_log_odds
from pmcore_reference.moments import moments
from pmcore_reference.readings import direction, fewest_models, numbers
from pmcore_reference.variances import Predictive, predictive, unit_of

FEWEST = 2
"""References: one alone has no spread."""
MANY = 20
"""References from which on their empirical distribution is trusted."""
LOG_ODDS = {"loss": "rescaled_logit", "confidence": "rescaled_logit"}
"""Signals of which another, increasing or decreasing in them, is nearer to normal."""


@dataclass(frozen=True)
class ReferenceAttack(Attack):
    """Is the loss of this record smaller than its losses under models that have not seen it?

    With F_x the distribution of the losses of x under the k references, smoothed,

        score(x) = log((1 - F_x(l)) / F_x(l)),    l = loss of x under the target

    which ranks as 1 - F_x(l) and does not round to 1 where low error rates are decided. `linear` is the empirical
    distribution, interpolated, with sentinels at infinity. `gaussian` is a normal distribution with the record's own
    mean; its variance is shrunk towards that of all records, since one of few numbers is mostly chance. It is fitted to
    rescaled logits, which are nearer to normal than losses. `minimum` is the less certain of both.

    These are no p-values: they would be valid if the target were trained as the references were, on other records drawn
    alike, and of a target from elsewhere nobody can tell.

    Parameters
    ----------
    signal : any signal with one number per record that has a direction; of loss and confidence, all but `linear` read
        the rescaled logit, which orders records in the same way
    smoothing : linear, gaussian, minimum, or auto: gaussian for fewer than 20 references, and linear from there on

    References
    ----------
    Ye, Maddi, Murakonda, Bindschaedler, Shokri. Enhanced Membership Inference Attacks against Machine Learning
    Models. CCS 2022 (attack R).
    Smyth. Linear Models and Empirical Bayes Methods for Assessing Differential Expression. SAGMB 2004 (variances
    shrunk towards a prior that is fitted to all of them).
    """

    knowledge: ClassVar[str] = "models of the same kind that were trained on records of the same population"

    signal: str = "loss"
    smoothing: Literal["auto", "linear", "gaussian", "minimum"] = "auto"

    @property
    def fallback(self) -> Attack | None:
        """Return the attack on the signal as it is, where the task has no rescaled logits."""
        return replace(self, smoothing="linear") if self._read != self.signal else None

    @property
    def needs(self) -> Needs:
        """Declare the signal under the target and under the references."""
        return Needs(target=(self._read,), references=(self._read,), min_references=FEWEST)

    def score(self, evidence: Evidence) -> Floats:
        """Return log odds that a reference has a larger loss, shape (n,)."""
        of_target = numbers("reference", self._read, evidence.target(self._read), 1)
        of_references = numbers("reference", self._read, evidence.references(self._read), 2)
        fewest_models("reference", len(of_references), FEWEST, "did not see it")
        side = moments(of_references, "mean")
        expected = predictive(side, "shrink", unit_of(side))
        sign = direction(evidence, self._read)
        smoothing = self.smoothing
        if smoothing == "auto":
            smoothing = "linear" if len(of_references) >= MANY else "gaussian"
        found = []
        if smoothing != "linear":
            found.append(sign * _gaussian_log_odds(expected, of_target))
        if smoothing != "gaussian":
            found.append(sign * empirical_log_odds(of_target, of_references, expected.scale))
        return found[0] if len(found) == 1 else np.minimum(*found)

    @property
    def _read(self) -> str:
        return self.signal if self.smoothing == "linear" else LOG_ODDS.get(self.signal, self.signal)


def _gaussian_log_odds(expected: Predictive, values: Floats) -> Floats:
    """Return log(F / (1 - F)) of normal distributions at each value, (n,)."""
    z = expected.standardised(values)
    odds: Floats = log_ndtr(z) - log_ndtr(-z)
    return odds
