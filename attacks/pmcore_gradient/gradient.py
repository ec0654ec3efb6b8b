"""The gradient attack: what a record would still change in the weights, calibrated on records never seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from pmcore.conformal import Pool, conformal_p_values, conformal_scores, one_pool, pools_by_class
from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs, PValues
from pmcore_gradient.specs import check_layers, spec

ORDERS = (1.0, 2.0, np.inf)


@dataclass(frozen=True)
class GradientAttack(Attack):
    """Does this record still pull at the weights less than records that the model has never seen?

    Training ends where the gradients of what was trained on are small. With g_l the gradient of the record's loss with
    respect to layer l,

        s(x) = - mean over the layers of log || g_l(x) ||

    or - log || g(x) || over all parameters together. The mean of logarithms, the log of the geometric mean, needs no
    scale for layers of different size and is fitted to nothing. The score is 1 - p(x) with the conformal p-value of
    "x is not a member" among the m population records,

        p(x) = (1 + #{z : s(z) >= s(x)}) / (m + 1)

    refined inside its steps by s, as in the population attack. With reference models the mean of their log norms is
    taken off first, s(x) + mean over references of log || g(x) ||: what is easy for every model says little. A gradient
    that is exactly 0 has the log of the smallest positive number, so that it is the least, and the score finite.

    Parameters
    ----------
    layers : names or indices of layers, "last" for the last one with parameters, "*" for each one with parameters;
        none for all parameters together
    order : of the norm: 1, 2 or inf
    signal : "gradient_norm", or "last_layer_gradient_norm" for the closed form that needs no torch
    calibrate : "population", or "references" to take off what reference models find too
    per_class : calibrate within each class; classes with fewer than 1 / alpha population records share one pool
    alpha : the nominal error level that `per_class` must be able to resolve

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019 (section III: the gradients of
    members are distinguishable).
    Ye, Maddi, Murakonda, Bindschaedler, Shokri. Enhanced Membership Inference Attacks against Machine Learning
    Models. CCS 2022 (attack P, the calibration).
    Watson, Guo, Cormode, Sablayrolles. On the Importance of Difficulty Calibration in Membership Inference Attacks.
    ICLR 2022 (the difference to reference models).
    """

    knowledge: ClassVar[str] = "the weights, and records of the same population that are known not to be members"

    layers: tuple[str, ...] = ()
    order: float = 2.0
    signal: Literal["gradient_norm", "last_layer_gradient_norm"] = "gradient_norm"
    calibrate: Literal["population", "references"] = "population"
    per_class: bool = False
    alpha: float = 0.01

    def __post_init__(self) -> None:
        check_layers("gradient", self.layers)
        if self.order not in ORDERS:
            raise InputError(f"gradient: order: {self.order:g} - give 1, 2 or inf")
        if not 0.0 < self.alpha < 1.0:
            raise InputError(f"gradient: alpha: {self.alpha} - give an error level between 0 and 1")
        if self.signal == "last_layer_gradient_norm" and (self.layers or self.order != 2):
            raise InputError(
                "gradient: signal: last_layer_gradient_norm is the norm of order 2 over the last layer - leave layers "
                "and order out"
            )

    @property
    def fallback(self) -> Attack | None:
        """Return the attack on the last layer in closed form, where all parameters together were asked for."""
        closed_form = self.signal == "gradient_norm" and not self.layers and self.order == 2
        if closed_form and self.calibrate == "population":
            return replace(self, signal="last_layer_gradient_norm")
        return None

    @property
    def needs(self) -> Needs:
        """Declare the norms on the audited records and on the population, of reference models too if asked."""
        name = (self._name,)
        if self.calibrate == "population":
            return Needs(target=name, population=name)
        return Needs(target=name, population=name, references=name, population_references=name, min_references=1)

    def score(self, evidence: Evidence) -> Floats:
        """Return 1 - p, refined inside the steps of p; shape (n,), in (0, 1)."""
        return conformal_scores(self._pools(evidence), len(evidence.labels))

    def p_values(self, evidence: Evidence) -> PValues:
        """Return conformal p-values, in [1 / (m + 1), 1] with m the records of the record's pool."""
        return conformal_p_values(self._pools(evidence), len(evidence.labels))

    @property
    def _name(self) -> str:
        if self.signal == "last_layer_gradient_norm":
            return self.signal
        return spec("gradient_norm", layers=self.layers, order=None if self.order == 2 else self.order)

    def _pools(self, evidence: Evidence) -> tuple[Pool, ...]:
        audited = _log_norms(evidence.target(self._name), of_layers=bool(self.layers))
        population = _log_norms(evidence.population(self._name), of_layers=bool(self.layers))
        if self.calibrate == "references":
            audited = audited - self._usual(evidence.references(self._name))
            population = population - self._usual(evidence.population_references(self._name))
        if not self.per_class:
            return one_pool(-audited, -population)
        try:
            return pools_by_class(-audited, evidence.labels, -population, evidence.population_labels, self.alpha)
        except InputError as error:
            raise InputError(f"gradient: {error}") from error

    def _usual(self, norms: Floats) -> Floats:
        """Return the mean of log norms over reference models, (r, n) or (r, n, l) -> (n,)."""
        usual: Floats = _log_norms(norms, of_layers=bool(self.layers)).mean(axis=0)
        return usual


def _log_norms(norms: Floats, *, of_layers: bool) -> Floats:
    """Return log norms, shape as `norms`, or their means over layers, (..., l) -> (...)."""
    logs: Floats = np.log(np.maximum(norms, np.finfo(np.float64).smallest_subnormal))
    if of_layers:
        # Summed layer by layer: a record's mean does not depend on how many records there are.
        logs = sum((logs[..., place] for place in range(logs.shape[-1])), np.zeros(logs.shape[:-1])) / logs.shape[-1]
    return logs
