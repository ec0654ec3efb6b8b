"""What a signal computes: its form, its truth, its precision, and what it makes of extreme answers."""

from __future__ import annotations

import warnings

import numpy as np

from pmcore.interfaces import Access, Direction, Signal
from pmcore.outputs import Floats, Scale, Task
from pmcore.statistics import auc, sort_scores
from pmcore.testing.attack_runs import pristine
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.evidence_outputs import one_hot
from pmcore.testing.refusals import require
from pmcore.testing.signal_cases import (
    Case,
    Form,
    first_form,
    forms_of,
    in_form,
    make_case,
    reads_scores,
    shape_text,
    values_of,
)

SMALL = 40


def check_shape(signal: Signal) -> None:
    """Give a number or a vector per record, shape (n,) or (n, d)."""
    case = make_case(signal, first_form(signal))
    found: object = pristine(signal).compute(case.fresh())
    fits = isinstance(found, np.ndarray) and found.ndim in (1, 2) and len(found) == len(case)
    require(fits, f"compute gave {shape_text(found)} for {len(case)} records; return an array (n,) or (n, d)")


def check_float64(signal: Signal) -> None:
    """Give values in float64."""
    found = np.asarray(pristine(signal).compute(make_case(signal, first_form(signal)).fresh()))
    require(found.dtype == np.float64, f"values are {found.dtype}; widen to float64 before any log or exp")


def check_finite(signal: Signal) -> None:
    """Give finite values for ordinary answers."""
    case = make_case(signal, first_form(signal))
    _require_finite(values_of(signal, case), "ordinary answers")


def check_planted_leak(signal: Signal) -> None:
    """Declare a true direction: of a planted leak, members lie on that side."""
    for form in _one_per_task(signal):
        case = make_case(signal, form)
        values = values_of(signal, case)
        if values.shape[1] > 1:
            raise NotApplicable("it gives vectors, which have no side")
        require(
            signal.direction != Direction.NEITHER, "it gives one number, and no direction; declare which side speaks"
        )
        sign = -1.0 if signal.direction == Direction.LOWER else 1.0
        signed = np.nan_to_num(sign * values[:, 0])
        found = auc(sort_scores(signed[case.truth], signed[~case.truth]), 0.999)
        assert found.value is not None
        assert found.low is not None
        if found.value < 0.5:
            raise CheckFailed(f"{form}: the AUC of a planted leak is {found.value:.3f}; the direction is the other one")
        require(found.low > 0.5, f"{form}: the AUC of a planted leak is {found.value:.3f}, not clearly above .5")


def _one_per_task(signal: Signal) -> list[Form]:
    return list({form.task: form for form in reversed(forms_of(signal))}.values())


def check_tasks(signal: Signal) -> None:
    """Compute every task that is declared, whichever way the model answers."""
    for form in forms_of(signal):
        try:
            values = values_of(signal, make_case(signal, form, n=SMALL))
        except Exception as error:  # a plugin is called: whatever it raises is its failure
            raise CheckFailed(
                f"{form}: {type(error).__name__}: {error}; compute it, or leave the task out of `tasks`"
            ) from error
        _require_finite(values, str(form))


def check_one_record(signal: Signal) -> None:
    """Give shape (1,) or (1, d) for a single record."""
    case = make_case(signal, first_form(signal), n=1)
    found: object = pristine(signal).compute(case.fresh())
    fits = isinstance(found, np.ndarray) and found.ndim >= 1 and len(found) == 1
    require(fits, f"compute gave {shape_text(found)} for one record; keep the axis of the records")


def check_binary_columns(signal: Signal) -> None:
    """Give the same for a binary model with one column as with two."""
    reads_scores(signal)
    if Task.BINARY not in signal.tasks:
        raise NotApplicable("it is not defined for binary models")
    if signal.access not in (Access.LABEL, Access.SCORES):
        raise NotApplicable("it reads the logits themselves, which differ")
    two = make_case(signal, Form(Task.BINARY, Scale.LOGITS), dtype=np.float64)
    logits = two.outputs.predictions
    assert logits is not None
    one = two.with_predictions(in_form(logits, Form(Task.BINARY, Scale.LOGITS, one_column=True)))
    complaint = "a binary model with one column gives other values than with two; build on Outputs.log_scores"
    _require_close(values_of(signal, two), values_of(signal, one), 1e-9, complaint)


def check_probabilities(signal: Signal) -> None:
    """Give the same for logits and their probabilities."""
    reads_scores(signal)
    if signal.access not in (Access.LABEL, Access.SCORES):
        raise NotApplicable("it reads the logits themselves, which differ")
    for task in (Task.MULTICLASS, Task.MULTILABEL):
        if task in signal.tasks:
            case = make_case(signal, Form(task, Scale.LOGITS), dtype=np.float64)
            logits = case.outputs.predictions
            assert logits is not None
            form = Form(task, Scale.PROBABILITIES)
            other = case.with_predictions(in_form(logits, form), Scale.PROBABILITIES)
            complaint = f"{task}: probabilities give other values than their logits; build on Outputs.log_scores"
            _require_close(values_of(signal, case), values_of(signal, other), 1e-6, complaint)


def check_precision(signal: Signal) -> None:
    """Compute in float64: the same numbers in float32 give the same values."""
    if not signal.want.predictions:
        raise NotApplicable("it reads no predictions")
    for form in _one_per_task(signal):
        if form.scale is not Scale.PROBABILITIES:
            narrow = make_case(signal, form, n=SMALL)
            assert narrow.outputs.predictions is not None
            wide = narrow.with_predictions(narrow.outputs.predictions.astype(np.float64))
            complaint = f"{form}: it computes in float32; build on Outputs.log_scores, or widen to float64 first"
            found = values_of(signal, wide)
            _require_close(found, values_of(signal, narrow), 1e-12, complaint)
            finer = narrow.with_predictions(_with_more_digits(wide))
            given = np.asarray(pristine(signal).compute(wide.fresh())).dtype  # float32 itself: see check_float64
            many = given == np.float64 and len(np.unique(found)) > len(found) / 2
            same = many and np.array_equal(found, values_of(signal, finer))
            require(
                not same, f"{form}: digits beyond float32 change nothing; it narrows the answers before it computes"
            )


def _with_more_digits(case: Case) -> Floats:
    """Return predictions that round to the same in float32."""
    assert case.outputs.predictions is not None
    predictions: Floats = case.outputs.predictions
    return predictions * (1 + 1e-9 * (1 + np.arange(predictions.size).reshape(predictions.shape) % 7))


def check_saturated_logits(signal: Signal) -> None:
    """Give finite values for logits of 10 000."""
    for form in forms_of(signal):
        if form.scale is not Scale.PROBABILITIES:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the values show whether an overflow did harm
                values = values_of(signal, make_case(signal, form, n=SMALL, sharpness=1e4))
            _require_finite(values, f"{form} of 10 000")


def check_certain_probabilities(signal: Signal) -> None:
    """Give finite values for probabilities of exactly 0 and 1."""
    reads_scores(signal)
    for form in forms_of(signal):
        if form.scale is Scale.PROBABILITIES:
            certain = _certain(signal, form)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the values show whether a division by zero did harm
                values = values_of(signal, certain)
            _require_finite(values, f"{form} of exactly 0 and 1")


def _certain(signal: Signal, form: Form) -> Case:
    """Return answers that are certain, half of them of the wrong label."""
    case = make_case(signal, form, n=SMALL)
    assert case.outputs.predictions is not None
    right = one_hot(case.outputs.labels, form.task)
    answered = np.where(case.truth[:, None], right, 1 - right if form.task is Task.MULTILABEL else right[:, ::-1])
    answered = answered[:, 1:] if form.one_column else answered
    return case.with_predictions(answered.astype(np.float32))


def _require_finite(values: Floats, where: str) -> None:
    bad = int((~np.isfinite(values)).sum())
    require(not bad, f"{where}: {bad} of {values.size} values are not finite; build on Outputs.log_scores")


def _require_close(first: Floats, second: Floats, tolerance: float, complaint: str) -> None:
    first, second = np.nan_to_num(first), np.nan_to_num(second)
    apart = float(np.max(np.abs(first - second) / np.maximum(np.abs(first), 1.0)))
    require(apart <= tolerance, f"{complaint} (they differ by {apart:.2g})")
