"""The robustness attack (Choquette-Choo et al. 2021): how often the label stays right when the record is disturbed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_labelonly.gap import CORRECTNESS

PLAIN = "plain"


@dataclass(frozen=True)
class RobustnessAttack(Attack):
    """Does the model keep to the true label of this record when the record is disturbed?

    Members lie further from the decision boundary. With x_0 the record itself and x_1 ... x_K disturbed copies of it,

        s(x) = (1 / (K + 1)) * sum_k 1[ label(x_k) = y ]

    the share of right answers, of which the plain one is one. Of numbers the copies carry Gaussian noise, where two
    values are all that an input has some of its bits are flipped, each with the same chance. The strengths take turns:
    weak ones tell records near the boundary apart, strong ones those that are far. What a copy draws depends on the
    record and the number of the copy alone. Scores have K + 2 levels; equal ones stay tied.

    Parameters
    ----------
    perturbation : "noise", "bitflip", or "auto" for flipped bits where some input has two values and else noise
    queries : K, how many disturbed copies of each record are sent
    scales : standard deviations of the noise, in units of that of the input
    shares : chances of a bit to be flipped

    References
    ----------
    Choquette-Choo, Tramer, Carlini, Papernot. Label-Only Membership Inference Attacks. ICML 2021 (sections 3.3 and 4:
    robustness to random noise as a stand-in for the distance to the boundary; flipped bits for binary records).
    """

    knowledge: ClassVar[str] = "nothing besides the labels that the model answers"

    perturbation: Literal["auto", "noise", "bitflip"] = "auto"
    queries: int = 18
    scales: tuple[float, ...] = (0.25, 0.5, 1.0)
    shares: tuple[float, ...] = (0.01, 0.02, 0.05)

    def __post_init__(self) -> None:
        if self.queries < 1:
            raise InputError(f"robustness: queries: {self.queries} - give 1 or more")
        _check_strengths("scales", self.scales, math.inf)
        _check_strengths("shares", self.shares, 1.0)

    @property
    def fallback(self) -> Attack | None:
        """Return the attack with noise, where no input has two values and "auto" was asked for."""
        return replace(self, perturbation="noise") if self.perturbation == "auto" else None

    @property
    def needs(self) -> Needs:
        """Declare whether the model is right about the audited records, as they are and disturbed."""
        return Needs(target=(CORRECTNESS,), queries=self._sent)

    def score(self, evidence: Evidence) -> Floats:
        """Return the share of right answers, shape (n,), in [0, 1]."""
        right = np.stack([evidence.target(CORRECTNESS, query) == 1.0 for query in self._sent])
        share: Floats = right.mean(axis=0, dtype=np.float64)
        return share

    @property
    def _sent(self) -> tuple[str, ...]:
        if self.perturbation == "noise":
            strengths = [f"noise:scale={scale}" for scale in self.scales]
        else:
            strengths = [f"bitflip:share={share}" for share in self.shares]
        return PLAIN, *(f"{strengths[copy % len(strengths)]},draw={copy}" for copy in range(self.queries))


def _check_strengths(option: str, values: tuple[float, ...], above: float) -> None:
    """Refuse strengths that are none, or not between 0 and what is `above` all of them."""
    if not values or not all(0.0 < value < above for value in values):
        range_ = "above 0" if above == math.inf else f"between 0 and {above:g}"
        raise InputError(f"robustness: {option}: {list(values)} - give one or more numbers {range_}")
