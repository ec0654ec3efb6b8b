"""Which answer of an estimator is read: the one of the highest resolution that means what its probabilities mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pmcore.errors import InputError
from pmcore.heads import Ending, Head
from pmcore.interfaces import Array, Task
from pmcore.reading import Reading, presume
from pmcore_sklearn.estimators import (
    IMPOSSIBLE,
    class_note,
    classes_of,
    has_network,
    is_regressor,
    labels,
    log_probabilities,
    log_shares,
    margins,
    network_logits,
    probabilities,
    values,
)

NETWORK = "logits"
"""What comes before the last activation of a multi-layer perceptron."""
_WAYS: Mapping[str, Callable[[Any, Array], Array]] = {
    NETWORK: network_logits,
    "decision_function": margins,
    "log_sigmoid": log_shares,
    "predict_log_proba": log_probabilities,
    "predict_proba": probabilities,
}
"""Answers of a classifier in order of resolution; the first and the third are worked out here."""
_LABELS = "predict"
_MARGINS = "Scores are margins of the decision function, not log-odds; the loss is taken of them as if they were."
_LABELS_ALONE = (
    "The model answers with labels alone, read as probabilities of 0 and 1: signals tell right from wrong and "
    "no more (resolution limited)."
)
_ABSOLUTE = 1e-9
_RELATIVE = 1e-6


@dataclass(frozen=True)
class Chosen:
    """An answer of an estimator, and how it is read."""

    way: Callable[[Any, Array], Array]
    reading: Reading


def choose(estimator: Any, x: Array, output: str | None, asked: Task | None, path: Path) -> Chosen:
    """Choose the answer that is read, having seen a few records.

    Logits (of a perceptron's weights, or `decision_function`) and logarithms of probabilities are read only where
    their softmax or sigmoid is what `predict_proba` answers, which stands in their place otherwise.

    Parameters
    ----------
    output : name of the answer, or None for the best one
    asked : the task that the options name

    Raises
    ------
    InputError
        There is no such answer, or the task does not fit the estimator.
    """
    if is_regressor(estimator):
        _check_asked(asked, Task.REGRESSION, path)
        if output not in (None, _LABELS):
            raise InputError(f"{path}: a regressor answers by {_LABELS} alone, not by {output!r}; leave --output out")
        columns = values(estimator, x).shape[1]
        return Chosen(values, presume(Head(_LABELS, regressor=True), columns, Task.REGRESSION, path))
    classes = classes_of(estimator, path)
    task = _task(estimator, x, classes)
    notes = class_note(classes, task)
    _check_asked(asked, task, path)
    for chosen in _ways(estimator, x, task, notes, path):
        if output in (None, chosen.reading.tensor):
            return chosen
    names = ", ".join(chosen.reading.tensor for chosen in _ways(estimator, x, task, notes, path))
    raise InputError(f"{path}: has no output {output!r} that can be read; it has {names}")


def _check_asked(asked: Task | None, task: Task, path: Path) -> None:
    if asked not in (None, task):
        raise InputError(f"{path}: task {asked} does not fit this estimator; use --task {task}, or leave it out")


def _task(estimator: Any, x: Array, classes: Array | None) -> Task:
    if np.ndim(estimator.predict(x)) == 2:
        return Task.MULTILABEL
    columns = len(classes) if classes is not None else probabilities(estimator, x).shape[1]
    return Task.BINARY if columns <= 2 else Task.MULTICLASS


def _ways(estimator: Any, x: Array, task: Task, notes: tuple[str, ...], path: Path) -> Iterator[Chosen]:
    """Yield the answers that can be read, the one of the highest resolution first."""
    shares = probabilities(estimator, x) if hasattr(estimator, "predict_proba") else None
    for name, way in _WAYS.items():
        if shares is None or not _answers(estimator, name, task):
            continue
        if way is probabilities:
            head = Head(name, probabilities=True, notes=notes)
            yield Chosen(way, presume(head, shares.shape[1], task, path))
            continue
        before = way(estimator, x)
        ending = _ending(before, task)
        if _same(ending.apply(before), shares) and not (way is log_probabilities and _adds_nothing(before, shares)):
            head = Head("predict_proba", name, ending, notes=notes)
            yield Chosen(way, presume(head, before.shape[1], task, path))
    if hasattr(estimator, "decision_function"):
        found = margins(estimator, x)
        if found.shape[1] == (1 if task is Task.BINARY else labels(estimator, x).shape[1]):
            head = Head("decision_function", notes=(*notes, _MARGINS))
            yield Chosen(margins, presume(head, found.shape[1], task, path))
    head = Head(_LABELS, probabilities=True)
    reading = presume(head, labels(estimator, x).shape[1], task, path)
    yield Chosen(labels, replace(reading, notes=(*notes, _LABELS_ALONE)))


def _answers(estimator: Any, name: str, task: Task) -> bool:
    """Tell whether an estimator has an answer of this name, one row of numbers per record."""
    if name == NETWORK:
        return has_network(estimator)
    if name in ("log_sigmoid", "predict_log_proba") and task is Task.MULTILABEL:
        return False
    return hasattr(estimator, "decision_function" if name == "log_sigmoid" else name)


def _ending(before: Array, task: Task) -> Ending:
    if task is Task.MULTILABEL:
        return Ending.SIGMOID
    return Ending.COMPLEMENT if before.shape[1] == 1 else Ending.SOFTMAX


def _same(made: Array, shares: Array) -> bool:
    """Tell whether probabilities are the same but for rounding, the smallest too."""
    if made.shape != shares.shape:
        return False
    single = shares.dtype.itemsize < 8
    return bool(np.allclose(made, shares, rtol=1e-4 if single else _RELATIVE, atol=1e-7 if single else _ABSOLUTE))


def _adds_nothing(logs: Array, shares: Array) -> bool:
    """Tell whether logarithms are taken of the probabilities themselves, so that they resolve no more than these."""
    with np.errstate(divide="ignore"):
        plain = np.log(shares)
    return bool(np.array_equal(logs, plain) or np.isneginf(plain[logs == IMPOSSIBLE]).any())
