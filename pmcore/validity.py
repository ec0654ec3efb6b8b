"""Is the audit valid at all? Each check is measured, and says in words what it found and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtrc

from pmcore.interfaces import Array, ModelDescription, Scale, Task
from pmcore.intervals import proportion
from pmcore.numerals import count
from pmcore.schema import Figure, Validity

EXPECTED_CONFIDENCE = 0.99
"""Of the interval that must hold the expected accuracy: a false INVALID costs an audit."""


LOGITS_READ = "scores are read before any softmax or sigmoid"
CLASSES_DIFFER = 0.01
"""P-value of "members and non-members have the same share of each class" below which the audit warns."""
RARE = 10
"""Records of both sides below which classes are counted together."""
REPEATED = 0.05
"""Share of repeated records in a role from which the audit warns."""


@dataclass(frozen=True)
class Fit:
    """How the model did on the n non-members.

    Parameters
    ----------
    correct : right predictions, or None for regression; for multi-label those with all labels right
    guess : accuracy that predictions made without looking would have; for regression unused
    one_class : whether all n have the same label, so that no accuracy tells anything from guessing
    r_squared : share of the variance explained, or None for classification
    r_squared_members : the same for the members
    """

    n: int
    correct: int | None
    guess: float
    one_class: bool = False
    r_squared: float | None = None
    r_squared_members: float | None = None


def guess_level(task: Task, labels: Array, predicted_counts: Array | None) -> float:
    """Return the accuracy of predictions with the model's own frequencies, made without looking at the record.

    This is the chance agreement of Cohen (1960): it is 1 / k for balanced classes, and equals the share of the
    majority for a model that always names the majority. For multi-label the share of the commonest label set.

    Parameters
    ----------
    labels : (n,) or (n, k)
    predicted_counts : (k,) how often each class was predicted; None for multi-label
    """
    if task is Task.REGRESSION:
        return 0.0
    if task is Task.MULTILABEL or predicted_counts is None:
        _, counts = np.unique(labels, axis=0, return_counts=True)
        return float(counts.max() / len(labels))
    actual = np.bincount(labels, minlength=len(predicted_counts)) / len(labels)
    return float(actual @ (predicted_counts / predicted_counts.sum()))


def check_accuracy(fit: Fit, expected: float | None, preprocessing: str) -> Validity:
    """Compare the accuracy on non-members with the expected one, or with guessing if none is given.

    A wrong normalisation, layout or class order hides the gap between members and non-members: the commonest
    way to find nothing. `preprocessing` says what was done to the records and where that was found.
    What a passing accuracy was compared with stands in brackets at the end, where the report finds it.
    """
    if fit.correct is None:
        return _check_regression(fit, preprocessing)
    advice = f"the inputs are probably not preprocessed as in training ({preprocessing})"
    measured = f"accuracy on {count(fit.n)} non-members {_percent(fit.correct / fit.n)}"
    if expected is not None:
        interval = proportion(fit.correct, fit.n, EXPECTED_CONFIDENCE)
        assert interval.low is not None
        assert interval.high is not None
        text = f"{measured} [{_percent(interval.low)}, {_percent(interval.high)}]"
        if interval.low <= expected <= interval.high:
            return Validity(name="accuracy", verdict="ok", text=f"{text} (expected {_percent(expected)})")
        text += f", expected {_percent(expected)}: {advice}"
        return Validity(name="accuracy", verdict="invalid", text=text)
    remedy = "or state the accuracy that is known with --expected-accuracy"
    if fit.one_class:
        text = f"all {count(fit.n)} non-members are of one class: no accuracy can be told from guessing; {remedy}"
        return Validity(name="accuracy", verdict="invalid", text=text)
    interval = proportion(fit.correct, fit.n)
    assert interval.low is not None
    assert interval.high is not None
    if interval.low <= fit.guess:
        text = (
            f"{measured} [{_percent(interval.low)}, {_percent(interval.high)}] cannot be told from what guessing "
            f"gives ({_percent(fit.guess)}): {advice}; {remedy}"
        )
        return Validity(name="accuracy", verdict="invalid", text=text)
    text = (
        f"{measured} (guessing gives {_percent(fit.guess)}; "
        "not compared with an expected accuracy, see --expected-accuracy)"
    )
    return Validity(name="accuracy", verdict="ok", text=text)


def check_overlap(overlap: Mapping[str, int], dropped: Mapping[str, int]) -> Validity:
    """Tell whether records stand in two roles: a shared record is neither a member nor a non-member."""
    shared = {pair: n for pair, n in overlap.items() if n}
    if not shared:
        return Validity(name="overlap", verdict="ok", text="no record stands in two roles")
    found = ", ".join(f"{count(n)} in {pair}" for pair, n in shared.items())
    if dropped:
        removed = ", ".join(f"{count(n)} from {role}" for role, n in dropped.items())
        return Validity(name="overlap", verdict="warning", text=f"records in two roles: {found}; dropped {removed}")
    text = f"records in two roles: {found}; mend the files, or drop them with --drop-overlap"
    return Validity(name="overlap", verdict="invalid", text=text)


def check_duplicates(duplicates: Mapping[str, int], records: Mapping[str, int]) -> Validity:
    """Warn when more than one record in twenty repeats another: the intervals take records to be independent.

    Parameters
    ----------
    duplicates, records : role -> records that repeat another one of it, and records in all
    """
    many = {role: n for role, n in duplicates.items() if n > REPEATED * records[role]}
    if not many:
        return Validity(name="duplicates", verdict="ok", text="hardly any record repeats another")
    found = ", ".join(
        f"{count(records[role] - n)} distinct among {count(records[role])} {role}" for role, n in many.items()
    )
    text = f"repeated records: {found}; the intervals take all for independent and are too short"
    return Validity(name="duplicates", verdict="warning", text=text)


def check_orientation(aucs: Mapping[str, Figure]) -> Validity:
    """Warn of an AUC below one half beyond its interval; it is reported as it is, never flipped."""
    below = [name for name, auc in aucs.items() if auc.high is not None and auc.high < 0.5]
    if not below:
        return Validity(name="orientation", verdict="ok", text="no attack has an AUC below one half")
    text = f"{', '.join(below)}: AUC below one half - members and non-members swapped, or attack oriented wrong"
    return Validity(name="orientation", verdict="warning", text=text)


def check_classes(members: Array, nonmembers: Array, learners: tuple[str, ...]) -> Validity:
    """Warn where attacks that learn from labels could tell members by their class alone (Pearson's chi-square).

    Parameters
    ----------
    members, nonmembers : (n,) class numbers
    learners : names of the attacks that learn from other records
    """
    classes, which = np.unique(np.concatenate([members, nonmembers]), return_inverse=True)
    sides = np.arange(len(which)) >= len(members)
    observed = np.zeros((2, len(classes)))
    np.add.at(observed, (sides.astype(np.intp), which), 1.0)
    rare = observed.sum(axis=0) < RARE
    observed = np.column_stack([observed[:, ~rare], observed[:, rare].sum(axis=1)]) if rare.any() else observed
    observed = observed[:, observed.sum(axis=0) > 0]
    expected = observed.sum(axis=1, keepdims=True) * observed.sum(axis=0) / observed.sum()
    statistic = float((np.square(observed - expected) / expected).sum())
    p = float(chdtrc(max(observed.shape[1] - 1, 1), statistic))
    named = ", ".join(learners)
    if p >= CLASSES_DIFFER:
        text = f"members and non-members have alike shares of each class (p = {p:.2g}), of which {named} may learn"
        return Validity(name="classes", verdict="ok", text=text)
    text = (
        f"members and non-members differ in their classes (p = {p:.1g}): {named} can tell them by the label, without "
        "the model - audit non-members of the same classes"
    )
    return Validity(name="classes", verdict="warning", text=text)


def check_resolution(n_nonmembers: int, rates: tuple[float, ...]) -> Validity:
    """Say which false-positive rates the non-members can resolve (none below 1/n0, weakly below 10/n0)."""
    resolved = [rate for rate in rates if rate * n_nonmembers >= 1.0 - 1e-9]
    lost = [rate for rate in rates if rate not in resolved]
    parts = []
    if resolved:
        smallest = min(resolved)
        weakly = ", weakly" if smallest * n_nonmembers < 10.0 - 1e-9 else ""
        parts.append(f"down to {_percent(smallest)} false positives{weakly}")
    parts += [f"{_percent(rate)} needs {count(int(np.ceil(1.0 / rate - 1e-9)))} non-members" for rate in lost]
    return Validity(name="resolution", verdict="ok", text="; ".join(parts))


def check_output(description: ModelDescription) -> Validity:
    """Warn when only probabilities could be read: very confident records then tie."""
    if not description.resolution_limited:
        plain = "the values themselves are read" if description.scale is Scale.VALUES else LOGITS_READ
        return Validity(name="output", verdict="ok", text=plain)
    text = "resolution limited: only probabilities could be read, so the most confident records may tie"
    return Validity(name="output", verdict="warning", text=text)


def _check_regression(fit: Fit, preprocessing: str) -> Validity:
    """Judge a regression by members and non-members: one that knows its members alone has overfitted."""
    assert fit.r_squared is not None
    assert fit.r_squared_members is not None
    text = f"R squared on members {fit.r_squared_members:.3f}, on {count(fit.n)} non-members {fit.r_squared:.3f}"
    if fit.r_squared > 0:
        return Validity(name="accuracy", verdict="ok", text=text)
    if fit.r_squared_members > 0:
        text += ": on non-members no better than their mean; are they of the same kind as the members?"
        return Validity(name="accuracy", verdict="warning", text=text)
    text += f": no better than their mean, inputs or values are probably not scaled as in training ({preprocessing})"
    return Validity(name="accuracy", verdict="invalid", text=text)


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if value < 0.01 else f"{100 * value:.1f} %"
