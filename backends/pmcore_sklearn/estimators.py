"""What kind of estimator one is, and its answers as rows of numbers, one row per record."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, log_expit

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Task
from pmcore.quoting import printable, quoted

IMPOSSIBLE = float(np.log(np.finfo(np.float64).smallest_subnormal))
"""What stands for the logarithm of a probability of exactly 0: that of the smallest number there is."""
HIDDEN: Mapping[str, Callable[[Array], Array]] = {
    "identity": lambda x: x,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
}
_LISTED = 10


def looks_like_an_estimator(model: object) -> bool:
    """Tell whether an object is an estimator of scikit-learn, or has its methods; imports nothing to find out."""
    base = getattr(sys.modules.get("sklearn.base"), "BaseEstimator", None)
    if base is not None and isinstance(model, base):
        return True
    return all(callable(getattr(model, name, None)) for name in ("fit", "predict", "get_params"))


def check_estimator(estimator: Any, path: Path) -> None:
    """Refuse what is not fitted, and what has no predictions of a class or a value.

    Raises
    ------
    InputError
        Names what stands in the way.
    """
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    kind = type(estimator).__name__
    if isinstance(estimator, type):
        raise InputError(f"{path}: {estimator.__name__} is a class, not an estimator; make one and fit it")
    if not callable(getattr(estimator, "predict", None)):
        raise InputError(f"{path}: {kind} does not predict; give a fitted classifier or regressor")
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        raise InputError(f"{path}: {kind} is not fitted; fit it on the members first") from None
    except (TypeError, AttributeError):  # it only looks like an estimator, and nothing tells whether it is fitted
        pass
    if not (is_regressor(estimator) or is_classifier(estimator)):
        raise InputError(f"{path}: {kind} is neither a classifier nor a regressor, so no label can be held against it")


def is_regressor(estimator: Any) -> bool:
    """Tell whether an estimator predicts values."""
    return _kind(estimator) == "regressor"


def is_classifier(estimator: Any) -> bool:
    """Tell whether an estimator predicts classes."""
    return _kind(estimator) == "classifier"


def _kind(estimator: Any) -> str:
    from sklearn.utils import get_tags

    try:
        kind = get_tags(estimator).estimator_type
    except Exception:  # objects that only look like estimators have no tags, and fail in ways of their own
        kind = getattr(estimator, "_estimator_type", None)
        if kind is None:
            kind = "classifier" if hasattr(estimator, "classes_") else "regressor"
    return str(kind)


def classes_of(estimator: Any, path: Path) -> Array | None:
    """Return the classes of an estimator in the order of its columns, or None if it does not tell.

    Raises
    ------
    InputError
        It predicts several things at once that are more than yes and no, or knows one class alone.
    """
    found = getattr(estimator, "classes_", None)
    if found is None:
        return None
    if isinstance(found, list):
        if not all(set(np.asarray(one).tolist()) <= {0, 1} for one in found):
            raise InputError(f"{path}: predicts several outputs of several classes each; audit one output at a time")
        return np.arange(len(found))
    classes = np.asarray(found)
    if len(classes) < 2:
        raise InputError(f"{path}: knows one class alone; there is nothing to learn from its predictions")
    return classes


def class_note(classes: Array | None, task: Task) -> tuple[str, ...]:
    """Return what must be said where classes are not the numbers 0, 1, ... that labels are counted by."""
    if classes is None or task is Task.MULTILABEL or np.array_equal(classes, np.arange(len(classes))):
        return ()
    shown = ", ".join(f"{quoted(name)} = {place}" for place, name in enumerate(classes[:_LISTED].tolist()))
    more = ", …" if len(classes) > _LISTED else ""
    return (f"Classes are counted by position: {printable(shown)}{more}.",)


def margins(estimator: Any, x: Array) -> Array:
    """Return what `decision_function` answers, (n, c): one column for two classes."""
    return _rows(estimator.decision_function(x), len(x))


def log_shares(estimator: Any, x: Array) -> Array:
    """Return the logarithms of the sigmoids of `decision_function`, (n, k).

    Their softmax is what an estimator answers that sets one class against the rest, k times.
    """
    logs: Array = log_expit(margins(estimator, x))
    return logs


def probabilities(estimator: Any, x: Array) -> Array:
    """Return what `predict_proba` answers, (n, k); for labels that are answered one by one, the share of yes."""
    found = estimator.predict_proba(x)
    if not isinstance(found, list):
        return _rows(found, len(x))
    columns = zip(found, estimator.classes_, strict=True)
    return np.column_stack([np.asarray(p)[:, np.asarray(c) == 1].sum(axis=1) for p, c in columns])


def log_probabilities(estimator: Any, x: Array) -> Array:
    """Return what `predict_log_proba` answers, (n, k), with `IMPOSSIBLE` for minus infinity."""
    with np.errstate(divide="ignore"):
        found = _rows(estimator.predict_log_proba(x), len(x))
    floored: Array = np.where(np.isneginf(found), IMPOSSIBLE, found)
    return floored


def network_logits(estimator: Any, x: Array) -> Array:
    """Return what comes before the last activation of a multi-layer perceptron, (n, c), by its public weights."""
    network = innermost(estimator)
    for step in network.before:
        x = step.transform(x)
    last = network.last
    for weight, bias in zip(last.coefs_[:-1], last.intercepts_[:-1], strict=True):
        x = HIDDEN[last.activation](x @ weight + bias)
    return _rows(x @ last.coefs_[-1] + last.intercepts_[-1], len(x))


def has_network(estimator: Any) -> bool:
    """Tell whether an estimator ends in a multi-layer perceptron."""
    kind = getattr(sys.modules.get("sklearn.neural_network"), "MLPClassifier", None)
    return kind is not None and isinstance(innermost(estimator).last, kind)


def labels(estimator: Any, x: Array) -> Array:
    """Return predicted labels as probabilities of 0 and 1, (n, k)."""
    found = np.asarray(estimator.predict(x))
    if found.ndim == 2:
        return found.astype(np.float64)
    hot: Array = (found[:, None] == np.asarray(estimator.classes_)[None]).astype(np.float64)
    return hot


def values(estimator: Any, x: Array) -> Array:
    """Return predicted values, (n, t)."""
    return _rows(estimator.predict(x), len(x))


@dataclass(frozen=True)
class Innermost:
    """What answers inside of pipelines and searches, and the steps before it."""

    before: tuple[Any, ...]
    last: Any


def innermost(estimator: Any) -> Innermost:
    pipeline = getattr(sys.modules.get("sklearn.pipeline"), "Pipeline", None)
    before: list[Any] = []
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif pipeline is not None and isinstance(estimator, pipeline):
            if len(estimator.steps) > 1:
                before.append(estimator[:-1])
            estimator = estimator.steps[-1][1]
        else:
            return Innermost(tuple(before), estimator)


def _rows(found: Any, records: int) -> Array:
    array = np.asarray(found)
    if array.dtype.kind not in "biuf" or array.ndim not in (1, 2) or len(array) != records:
        raise ModelError(f"the estimator answered with {array.dtype} of shape {list(array.shape)}, not rows of numbers")
    wide = array if array.dtype.kind == "f" else array.astype(np.float64)
    return wide.reshape(records, -1)
