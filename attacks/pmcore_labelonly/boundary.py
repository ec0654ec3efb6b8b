"""The boundary attack (Choquette-Choo et al. 2021; Li and Zhang 2021): how far a record is from another label."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from pmcore.draws import Keys, derived
from pmcore.errors import InputError
from pmcore.interfaces import Attack, Evidence, Floats, Needs
from pmcore_labelonly.gap import CORRECTNESS
from pmcore_labelonly.hopskipjump import AT_ONCE, boundary_distances
from pmcore_labelonly.moved import Group, flat, keys_of_rows
from pmcore_labelonly.starts import TRIES, in_groups, noise_starts, peer_starts, peers_among

LEAST_BUDGET = 100
VALUES = 2**22 // AT_ONCE
"""Numbers of records that are moved at a time, each in several directions."""


@dataclass(frozen=True)
class BoundaryAttack(Attack):
    """How far must this record be moved before the model gives it another label?

    Training pushes the decision boundary away from members. The score is the distance

        s(x) = min { || x' - x || : label(x') != y }, and 0 where label(x) != y already

    as HopSkipJump finds it from labels alone, so an upper bound of it that falls with the budget. From a point with
    another label it searches the boundary on the line to x; then, in round t, it estimates the normal of the boundary
    there by B sqrt(t) random directions, takes a step of length || x' - x || / sqrt(t) along it, halved until the
    label is wrong, and searches again; the nearest point that was found stays. No point leaves the range that the
    input has in the audited records. Where values are 0 and 1, x' may lie between.

    The start is that of up to 4 points of uniform noise with another label, among at most 20, on whose way the boundary
    is nearest; where there is none, the nearest of up to 256 audited records that the model labels rightly, and
    otherwise than y; where that is lacking too, the score is the largest distance that the range allows. What a record
    draws depends on its numbers and the seed alone. Of a model with several labels per record the whole set counts, as
    for `correctness`.

    Parameters
    ----------
    budget : queries per record, 100 or more; never exceeded
    norm : of the distance: 2 or inf
    samples : B, the directions of the first round (the paper takes 100, with budgets of many thousand)

    References
    ----------
    Chen, Jordan, Wainwright. HopSkipJumpAttack: A Query-Efficient Decision-Based Attack. S&P 2020 (algorithm 2).
    Choquette-Choo, Tramer, Carlini, Papernot. Label-Only Membership Inference Attacks. ICML 2021 (section 3.3).
    Li, Zhang. Membership Leakage in Label-Only Exposures. CCS 2021 (the decision boundary attack).
    """

    knowledge: ClassVar[str] = "nothing besides the labels that the model answers, also for records that are moved"

    budget: int = 400
    norm: float = 2.0
    samples: int = 25

    def __post_init__(self) -> None:
        if self.budget < LEAST_BUDGET:
            raise InputError(f"boundary: budget: {self.budget} - give {LEAST_BUDGET} or more")
        if self.norm not in (2.0, math.inf):
            raise InputError(f"boundary: norm: {self.norm:g} - give 2 or inf")
        if self.samples < 2:
            raise InputError(f"boundary: samples: {self.samples} - give 2 or more")

    @property
    def needs(self) -> Needs:
        """Declare whether the model is right about the audited records, and queries about moved ones."""
        return Needs(target=(CORRECTNESS,), budget=self.budget)

    def score(self, evidence: Evidence) -> Floats:
        """Return the distances, shape (n,), at least 0."""
        query, seed = evidence.query, int(evidence.rng.integers(2**63))
        if query is None:
            raise InputError("boundary: it is given no queries - declare a budget in its needs")
        scores = np.zeros(len(evidence.labels))
        right = np.flatnonzero(evidence.target(CORRECTNESS) == 1.0)
        if not len(right):
            return scores
        size = max(1, VALUES // flat(query.inputs(right[:1])).shape[1])
        for records in in_groups(right, size):
            group = Group(query, records, evidence.labels, self.budget)
            keys = self._keys(group, seed)
            starts = noise_starts(group, keys, self.norm)
            scores[records] = boundary_distances(group, starts, keys, self.norm, self.samples)
        stuck = np.flatnonzero(np.isinf(scores))
        peers = peers_among(query, right, evidence.labels, size) if len(stuck) else None
        for records in in_groups(stuck, size):
            assert peers is not None
            group = Group(query, records, evidence.labels, self.budget - TRIES)
            starts = peer_starts(group, peers)
            found = boundary_distances(group, starts, self._keys(group, seed), self.norm, self.samples)
            scores[records] = np.where(starts.found, found, group.farthest(self.norm))
        return scores

    @staticmethod
    def _keys(group: Group, seed: int) -> Keys:
        return derived(keys_of_rows(group.origin), np.array([seed], dtype=np.uint64))
