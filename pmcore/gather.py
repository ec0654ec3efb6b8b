"""One batched pass of a model over the records of a role: signals are reduced batch by batch."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pmcore.data import Progress
from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory, PluginError
from pmcore.feed import Feed
from pmcore.interfaces import Floats, Model, Outputs, Signal, Task
from pmcore.recorded import RecordedAnswers
from pmcore.wishes import wish_of

FIRST_BATCH = 64
LARGEST_BATCH = 16_384
LARGEST_INPUT = 64 * 2**20
"""Bytes of one batch of inputs beyond which `auto` stops growing."""
TRIAL = 0.01
"""Seconds for which `auto` tries a batch size, or one batch if that takes longer."""
WORTHWHILE = 1.05
"""How many times faster than the best size so far a larger one must be."""


@dataclass
class Batching:
    """The batch size: fixed, or found by doubling while that pays; halved when memory runs out.

    The size influences the time only, never a result. One instance serves all passes over one model, so that
    what was learned on the first role holds for the next.
    """

    size: int | Literal["auto"] = "auto"
    current: int = field(init=False)
    growing: bool = field(init=False)
    _warm: bool = field(init=False, default=False)
    _seconds: float = field(init=False, default=0.0)
    _rate: float = field(init=False, default=0.0)
    _best_rate: float = field(init=False, default=0.0)
    _best: int = field(init=False, default=FIRST_BATCH)
    _in_vain: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.growing = self.size == "auto"
        self.current = FIRST_BATCH if self.size == "auto" else self.size

    def learn(self, records: int, seconds: float, record_bytes: int) -> None:
        """Take note of the speed of a batch; the first one is not counted, it pays for warming up.

        A size is judged by its fastest batch in `TRIAL` seconds, and growing ends when two sizes in a row gained
        nothing: what else the machine does meanwhile must not decide.
        """
        if not self.growing or records < self.current:
            return
        if not self._warm:
            self._warm = True
            return
        self._seconds += seconds
        self._rate = max(self._rate, records / max(seconds, 1e-9))
        if self._seconds < TRIAL:
            return
        if self._rate > WORTHWHILE * self._best_rate:
            self._best, self._best_rate, self._in_vain = self.current, self._rate, 0
        else:
            self._in_vain += 1
        larger = 2 * self.current
        if self._in_vain == 2 or larger > LARGEST_BATCH or larger * record_bytes > LARGEST_INPUT:
            self.growing = False
            self.current = self._best
        else:
            self.current = larger
        self._seconds = self._rate = 0.0

    def shrink(self) -> bool:
        """Halve the batch after memory ran out; return whether that was still possible."""
        if self.current == 1:
            return False
        self.current //= 2
        self.growing = False
        return True


@dataclass(frozen=True)
class Gathered:
    """What one pass over n records gave.

    Parameters
    ----------
    signals : name -> (n,) or (n, d) float64
    correct : how many predictions were right, or None for regression
    predicted_counts : (k,) how often each class was predicted, or None where there are no single classes
    squared_error : sum of squared errors for regression, else 0
    seconds : "model" and "signals"
    """

    signals: dict[str, Floats]
    correct: int | None
    predicted_counts: NDArray[np.int64] | None
    squared_error: float
    seconds: dict[str, float]


def gather(
    model: Model,
    feed: Feed,
    signals: Mapping[str, Signal],
    batching: Batching,
    progress: Progress | None = None,
) -> Gathered:
    """Ask the model once about every record and reduce the answers to signals.

    Parameters
    ----------
    signals : what to compute, by name; may be empty, the accuracy is measured all the same

    Raises
    ------
    ModelError
        The model failed, or gave answers or signals that are not finite (all are counted before it is raised).
    """
    wish = wish_of(signals.values(), model)
    collected = _Collector(feed, signals, model.describe().classes)
    seconds = {"model": 0.0, "signals": 0.0}
    start = 0
    while start < len(feed):
        stop = min(start + batching.current, len(feed))
        began = time.perf_counter()
        inputs, labels = feed.batch(start, stop)
        given = time.perf_counter()
        try:
            outputs = wish.answers(model.ask(inputs, labels, wish.want))
        except OutOfMemory:
            if not batching.shrink():
                raise
            continue
        answered = time.perf_counter()
        collected.add(start, stop, outputs)
        done = time.perf_counter()
        batching.learn(stop - start, done - began, sum(array[:1].nbytes for array in inputs.values()))
        seconds["model"] += answered - given
        seconds["signals"] += done - answered
        if progress is not None:
            progress(feed.role, stop, len(feed))
        start = stop
    return collected.finish(seconds)


def gather_recorded(
    recorded: RecordedAnswers,
    model: int,
    rows: NDArray[np.int64] | None,
    feed: Feed,
    signals: Mapping[str, Signal],
    task: Task,
) -> Gathered:
    """Reduce what one reference answered to signals, as `gather` does while it asks.

    Parameters
    ----------
    rows : (n,) where the records stand in the recording

    Raises
    ------
    InputError
        The recording lacks these records.
    """
    if rows is None:
        raise InputError(f"{recorded.path}: logits: holds none of {feed.path} - record these records too")
    collected = _Collector(feed, signals, recorded.logits.shape[2])
    for start in range(0, len(feed), LARGEST_BATCH):
        stop = min(start + LARGEST_BATCH, len(feed))
        labels = feed.records.labels[start:stop]
        collected.add(start, stop, recorded.outputs(model, rows[start:stop], labels, task))
    return collected.finish({})


def _computed(name: str, signal: Signal, outputs: Outputs) -> Floats:
    try:
        return signal.compute(outputs)
    except AuditError:
        raise
    except Exception as error:  # a signal may be anybody's
        raise PluginError(f"signal {name!r} failed: {type(error).__name__}: {error} - tell its authors") from error


class _Collector:
    """The arrays of one pass, filled batch by batch."""

    def __init__(self, feed: Feed, signals: Mapping[str, Signal], classes: int) -> None:
        self.feed = feed
        self.to_compute = signals
        self.arrays: dict[str, Floats] = {}
        self.correct = 0
        self.predicted_counts = np.zeros(classes, dtype=np.int64)
        self.squared_error = 0.0
        self.regression = False
        self.not_finite: dict[str, list[int]] = {}

    def add(self, start: int, stop: int, outputs: Outputs) -> None:
        predictions = outputs.predictions
        assert predictions is not None
        if len(predictions) != stop - start:
            raise ModelError(f"the model answered {len(predictions)} rows for {stop - start} records")
        if not self._finite("answers", start, predictions):
            return
        self._measure(outputs)
        for name, signal in self.to_compute.items():
            values = _computed(name, signal, outputs)
            if len(values) != stop - start or values.ndim > 2:
                raise ModelError(f"signal {name!r} gave shape {values.shape} for {stop - start} records")
            if self._finite(f"values of signal {name!r}", start, values):
                if name not in self.arrays:
                    self.arrays[name] = np.empty((len(self.feed), *values.shape[1:]))
                self.arrays[name][start:stop] = values

    def _measure(self, outputs: Outputs) -> None:
        self.regression = outputs.task is Task.REGRESSION
        if self.regression:
            errors = outputs.values - outputs.labels.reshape(outputs.values.shape)
            self.squared_error += float(np.einsum("ij,ij->", errors, errors))
        else:
            predicted = outputs.predicted
            right = predicted == outputs.labels
            self.correct += int(right.reshape(len(right), -1).all(axis=1).sum())
            if predicted.ndim == 1:
                self.predicted_counts += np.bincount(predicted, minlength=len(self.predicted_counts))

    def _finite(self, what: str, start: int, values: Floats) -> bool:
        finite = np.isfinite(values)
        if finite.all():
            return True
        bad = np.flatnonzero(~finite.reshape(len(values), -1).all(axis=1))
        count = self.not_finite.setdefault(what, [0, int(self.feed.records.positions[start + bad[0]])])
        count[0] += len(bad)
        return False

    def finish(self, seconds: dict[str, float]) -> Gathered:
        for what, (count, first) in self.not_finite.items():
            raise ModelError(
                f"{self.feed.path}: {count} of {len(self.feed)} {what} are not finite (first at record {first}) - "
                "check the preprocessing, or the model's own precision"
            )
        return Gathered(
            signals=self.arrays,
            correct=None if self.regression else self.correct,
            predicted_counts=self.predicted_counts if self.predicted_counts.any() else None,
            squared_error=self.squared_error,
            seconds=seconds,
        )
