"""The gap attack: its area under the curve and its advantage are those of two accuracies."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pmcore.evidence import Access, Evidence, EvidenceKey, Source
from pmcore.outputs import Floats
from pmcore.signals import Correctness
from pmcore.statistics import advantage, auc, sort_scores
from pmcore_labelonly import GapAttack


def evidence(right: Floats) -> Evidence:
    return Evidence({EvidenceKey(Source.TARGET, "correctness"): right}, np.zeros(len(right), dtype=np.int64))


def test_the_advantage_is_the_gap_between_the_accuracies() -> None:
    rng = np.random.default_rng(0)
    members, nonmembers = (rng.random(n) < accuracy for n, accuracy in ((400, 0.95), (300, 0.6)))
    scores = GapAttack().score(evidence(np.concatenate([members, nonmembers]).astype(np.float64)))
    gap = float(members.mean() - nonmembers.mean())
    in_order = sort_scores(scores[:400], scores[400:])
    assert advantage(in_order).value == pytest.approx(gap)
    assert auc(in_order).value == pytest.approx(0.5 + gap / 2)
    assert roc_auc_score(np.repeat([1, 0], [400, 300]), scores) == pytest.approx(0.5 + gap / 2)


def test_an_attacker_sees_labels_alone() -> None:
    assert GapAttack().needs.target == ("correctness",)
    assert Correctness.access is Access.LABEL
