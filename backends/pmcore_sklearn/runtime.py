"""An estimator asked with arrays: its threads, what it warns of, what it refuses."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pmcore.errors import InputError, ModelError
from pmcore.intake import RESHAPE
from pmcore.interfaces import Array
from pmcore.runtime_failures import failure, first_line

_NAMELESS = "X does not have valid feature names"
"""How scikit-learn's warning begins where an estimator was fitted on named columns and is asked with an array."""
ONE_AT_A_TIME = threading.RLock()
"""Filters of warnings belong to the process: while one is set, no other thread sets one."""
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class EstimatorRuntime:
    """A fitted estimator, as `pmcore.intake` asks it.

    Parameters
    ----------
    features : columns that it was fitted on, or None if it does not tell
    named : whether they had names
    threads : most threads of the libraries below it, or None for their own choice
    """

    estimator: Any
    path: Path
    features: int | None
    named: bool
    threads: int | None

    def ask(self, question: Callable[[Any, Array], Answer], x: Array) -> Answer:
        """Return what a question about the estimator and some records gives.

        Raises
        ------
        InputError
            The records are not of the shape that it was fitted on, or it is not fitted.
        OutOfMemory
            The batch is too large.
        ModelError
            It fails in another way.
        """
        if self.features is not None and x.shape[1:] != (self.features,):
            raise InputError(
                f"{self.path}: takes records of shape [{self.features}] and was given {list(x.shape[1:])}; {RESHAPE}"
            )
        if len(x) == 0:
            raise InputError(f"{self.path}: was asked about no records; give at least one")
        from sklearn.exceptions import NotFittedError

        try:
            with self._quietly():
                return question(self.estimator, x)
        except NotFittedError as error:
            raise InputError(f"{self.path}: is not fitted ({first_line(error)}); fit it on the members first") from None
        except InputError:
            raise
        except ModelError as error:
            raise ModelError(f"{self.path}: {error}") from None
        except Exception as error:  # an estimator, perhaps somebody's own, may fail in any way
            raise failure(error, "the estimator", f"{type(error).__name__}: {first_line(error)}", self.path) from error

    def answer(self, way: Callable[[Any, Array], Array], x: Array) -> Array:
        """Return one answer per record; one that is refused for numbers that are not finite is answered with NaN."""
        try:
            return self.ask(way, x)
        except ModelError:
            finite = np.isfinite(x).all(axis=tuple(range(1, x.ndim)))
            if finite.all() or not finite.any():
                raise
        some = self.ask(way, x[finite])
        answers = np.full((len(x), *some.shape[1:]), np.nan, dtype=some.dtype)
        answers[finite] = some
        return answers

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Keep to the threads, and keep quiet that an array has no names for its columns."""
        with contextlib.ExitStack() as stack:
            if self.threads is not None:
                from threadpoolctl import threadpool_limits

                stack.enter_context(threadpool_limits(limits=self.threads))
            if self.named:
                stack.enter_context(ONE_AT_A_TIME)
                stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", message=_NAMELESS, category=UserWarning)
            yield


@dataclass(frozen=True)
class OneAnswer:
    """The runtime for one chosen answer; see `pmcore.intake.Runtime`."""

    runtime: EstimatorRuntime
    way: Callable[[Any, Array], Array]

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return the answer about one batch."""
        (x,) = feeds.values()
        return [self.runtime.answer(self.way, x)]
