"""Estimators as they were before they were fitted, with random numbers of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_RANDOM = "random_state"
_MEMORY = "memory"


def fresh(estimator: Any, seed: int) -> Any:
    """Return an estimator with the same settings, not fitted, whose random numbers all follow from a seed.

    Pipelines are not given the folder in which they would keep what they have fitted, which they would read again.
    """
    from sklearn.base import clone

    found = clone(estimator)
    settings = dict(sorted(found.get_params(deep=True).items()))
    draws = np.random.default_rng(seed)
    changed = {name: int(draws.integers(2**31)) for name in settings if _last(name) == _RANDOM}
    found.set_params(**changed, **dict.fromkeys((name for name in settings if _last(name) == _MEMORY), None))
    for value in settings.values():
        if hasattr(value, _RANDOM) and not hasattr(value, "get_params"):  # such as the folds of a search
            value.random_state = int(draws.integers(2**31))
    return found


def prefitted(estimator: Any) -> str | None:
    """Return what within an estimator fitting would leave as it is, or None."""
    settings = {"": estimator} | estimator.get_params(deep=True)
    for name, value in settings.items():
        if type(value).__name__ == "FrozenEstimator":
            return f"its part {name!r} (FrozenEstimator)" if name else "FrozenEstimator"
        if (_last(name) == "prefit" and value is True) or (isinstance(value, str) and value == "prefit"):
            return f"what {name} tells to be"
    return None


def forget_times(estimator: Any) -> None:
    """Set to 0 how long the fits of searches took, which is another figure each time."""
    from sklearn.model_selection._search import BaseSearchCV

    for part in _parts(estimator):
        if isinstance(part, BaseSearchCV):
            part.refit_time_ = 0.0
            for name, values in part.cv_results_.items():
                if name.endswith("_time"):
                    part.cv_results_[name] = np.zeros_like(values)


def _parts(estimator: Any) -> Iterator[Any]:
    """Yield an estimator and those within it, fitted or not."""
    from sklearn.base import BaseEstimator

    seen: set[int] = set()
    waiting = [estimator]
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        if isinstance(found, BaseEstimator):
            yield found
            waiting.extend(vars(found).values())
        elif isinstance(found, Mapping):
            waiting.extend(found.values())
        elif isinstance(found, list | tuple):
            waiting.extend(found)


def _last(name: str) -> str:
    """Return the name of a setting without those of the parts that it stands in."""
    return name.rpartition("__")[2]
