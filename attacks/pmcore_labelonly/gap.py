"""The gap attack (Yeom et al. 2018): what the model labels rightly is called a member."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pmcore.interfaces import Attack, Evidence, Floats, Needs

CORRECTNESS = "correctness"


@dataclass(frozen=True)
class GapAttack(Attack):
    """Does the model give this record its true label?

    The score is

        s(x) = 1[ argmax_j z_j(x) = y ]

    and its advantage is the gap between the accuracy on members and that on non-members: the least that any other
    attack should find. All right records tie, so that between calling none and calling all of them members there is
    one operating point; its false-positive rate is the accuracy on non-members, and lower ones cannot be had.

    References
    ----------
    Yeom, Giacomelli, Fredrikson, Jha. Privacy Risk in Machine Learning: Analyzing the Connection to Overfitting.
    CSF 2018 (adversary 1 under the 0/1 loss).
    Choquette-Choo, Tramer, Carlini, Papernot. Label-Only Membership Inference Attacks. ICML 2021 (the gap attack).
    """

    knowledge: ClassVar[str] = "nothing besides the labels that the model answers"

    @property
    def needs(self) -> Needs:
        """Declare whether the model is right about the audited records."""
        return Needs(target=(CORRECTNESS,))

    def score(self, evidence: Evidence) -> Floats:
        """Return 1.0 or 0.0, shape (n,)."""
        right: Floats = (evidence.target(CORRECTNESS) == 1.0).astype(np.float64)
        return right
