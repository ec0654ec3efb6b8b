"""The share `a` of RMIA: how much likelier a label is under models that saw the record, learnt from references."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Floats
from pmcore_reference.ratios import LEAST, Confidences, mean_confidences

GRID = tuple(step / 10 for step in range(11))
DEFAULT = 0.3
"""Where no reference can play the target; the value of the paper for CIFAR-10."""
MOST = 8
"""References that play the target: a choice among eleven values needs no more."""


def tuned(log_confidences: Floats, membership: NDArray[np.bool_]) -> float | None:
    """Return the a with the highest mean AUC where references play the target in turn; None if none can.

    One plays the target against all other references, over all records that one of these did not see. The target
    itself has no part in it, nor has a reference that may have been trained on the target's complement: where
    references come in pairs of complements, one without its partner is left out.

    Parameters
    ----------
    log_confidences : (r, n)
    membership : (n, r)
    """
    areas = [_areas(log_confidences, membership, model) for model in _players(log_confidences, membership)]
    found = np.array([each for each in areas if each is not None])
    if not found.size:
        return None
    # Rounded so that the order of references does not decide between values that are equally good.
    return GRID[int(np.argmax(np.round(found.mean(axis=0), 9)))]


def fitted(confidences: Confidences) -> float:
    """Return the a with which 1 - Pr_in = a (1 - Pr_out) fits best over records with references on both sides."""
    both = (confidences.inside.count > 0) & (confidences.outside.count > 0)
    inside, outside = confidences.inside.lack[both], confidences.outside.lack[both]
    squares = float(np.square(outside).sum())
    return float(np.clip((inside * outside).sum() / squares, 0.0, 1.0)) if squares > 0 else DEFAULT


def _players(log_confidences: Floats, membership: NDArray[np.bool_]) -> Sequence[int]:
    """Return the references that play the target: they saw some records and not others, and none is partnerless."""
    share = membership.mean(axis=0)
    able = [int(model) for model in np.flatnonzero((share > 0) & (share < 1))]
    columns = {model: np.packbits(membership[:, model]).tobytes() for model in able}
    partners = {np.packbits(~membership[:, model]).tobytes() for model in able}
    paired = [model for model in able if columns[model] in partners]
    several = sorted(paired or able, key=lambda model: float(log_confidences[model].mean()))
    chosen = np.unique(np.linspace(0, len(several) - 1, min(MOST, len(several))).round().astype(int))
    return [several[place] for place in chosen]


def _areas(log_confidences: Floats, membership: NDArray[np.bool_], player: int) -> Floats | None:
    """Return the AUC for each a where one reference plays the target, (11,); None where one side is missing."""
    outside = mean_confidences(log_confidences, membership, without=player).outside
    told = outside.count > 0
    member = membership[told, player]
    if member.all() or not member.any():
        return None
    confidence = np.maximum(log_confidences[player, told], LEAST)
    known = outside.take(told)
    return np.array([_auc(confidence - known.with_members(a).log(), member) for a in GRID])


def _auc(scores: Floats, member: NDArray[np.bool_]) -> float:
    members, others = np.sort(scores[member]), np.sort(scores[~member])
    doubled = np.searchsorted(others, members, side="left") + np.searchsorted(others, members, side="right")
    return float(doubled.sum()) / (2 * len(members) * len(others))
