"""The training loop: epochs of shuffled batches, until there were enough or the network knows its records."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from math import inf, isfinite
from typing import Any

import numpy as np

from pmcore.errors import ModelError, OutOfMemory
from pmcore.intake import intake_of
from pmcore.interfaces import Array
from pmcore.training import Goal, TrainingJob, TrainingProgress, TrainingTask
from pmcore_tensorflow.architecture import KerasArchitecture
from pmcore_tensorflow.device import explained
from pmcore_tensorflow.objective import Objective
from pmcore_tensorflow.starting import tensorflow, unnoticed
from pmcore_tensorflow.trace import Answer, ends

_AT_ONCE = 1024
"""Records that are asked about at once when the loss is measured."""
_NEAR = 8.0
"""The loss is measured once that of the epoch's own batches is no more than so many times the goal's ..."""
_SELDOM = 4
"""... and every so many epochs at least: networks with dropout may know more than their batches show."""
_BLOWN_UP = 1e3
"""Times the first loss at which training has diverged, finite or not."""


@dataclass(frozen=True)
class Fitted:
    """How the training of one reference ended.

    Parameters
    ----------
    model : with what was learnt
    loss : mean over its records, as in inference
    """

    model: Any
    epochs: int
    loss: float


@dataclass(frozen=True)
class _Records:
    """What a reference is trained on, as tensors, each (t, ...)."""

    inputs: list[Any]
    labels: Any
    count: int


@dataclass(frozen=True)
class _Knowledge:
    """What a network knows of the records that trained it: mean loss, and the share that it predicts right."""

    loss: float
    accuracy: float

    def reaches(self, goal: Goal) -> bool:
        """Tell whether it is as much as the goal says."""
        return self.loss <= goal.loss and (goal.accuracy is None or self.accuracy >= goal.accuracy)


class Fitting:
    """One network after another, all trained in the same graph, which TensorFlow makes once.

    Parameters
    ----------
    optimiser : one that has not made a step
    """

    def __init__(self, task: TrainingTask, architecture: KerasArchitecture, optimiser: Any, batch_size: int) -> None:
        self._tf = tensorflow()
        self._task = task
        self._architecture = architecture
        self._batch_size = batch_size
        self._objective = Objective(self._tf, task)
        self._network = architecture.fresh(0)
        self._optimiser = optimiser
        optimiser.build(self._network.model.trainable_variables)
        self._start = _values(optimiser.variables)
        self._epoch = self._compiled(self._one_epoch, 2)
        self._measure = self._compiled(self._one_measure, 0)

    def run(self, job: TrainingJob, progress: TrainingProgress) -> Fitted:
        """Train one network.

        Raises
        ------
        ModelError
            The loss grows beyond measure, memory runs out, or TensorFlow fails.
        """
        fresh = self._architecture.fresh(job.seed).model
        _assign(self._network.model.variables, _values(fresh.variables))
        _assign(self._optimiser.variables, self._start)
        what = f"TensorFlow failed in training reference {job.index}"
        try:
            with explained(self._task.target, what, "train with a command of your own"), _deterministic(self._tf):
                epochs, known = self._descended(job, self._records(job), progress)
        except OutOfMemory:
            raise self._failed(job, "memory ran out", f"lower batch_size (it is {self._batch_size})") from None
        _assign(fresh.variables, _values(self._network.model.variables))
        return Fitted(fresh, epochs, known.loss)

    def _descended(self, job: TrainingJob, records: _Records, progress: TrainingProgress) -> tuple[int, _Knowledge]:
        most, goal = self._task.most_epochs, self._task.goal if self._task.epochs is None else None
        shuffled = np.random.default_rng(np.random.SeedSequence([job.seed, 0]))
        starts = self._starts(records.count)
        limit = inf
        for epoch in range(1, most + 1):
            order = shuffled.permutation(records.count).astype(np.int32)
            loss, begun = (float(found) for found in self._epoch(records.inputs, records.labels, order, starts))
            if epoch == 1:
                limit = _BLOWN_UP * max(begun, 1.0)
            self._check(job, epoch, loss, limit)
            progress(epoch, most)
            near = goal is not None and (loss <= _NEAR * goal.loss or epoch % _SELDOM == 0)
            if goal is not None and near and self._known(records).reaches(goal):
                break
        if self._optimiser.use_ema:
            self._optimiser.finalize_variable_values(self._network.model.trainable_variables)
        known = self._known(records)
        self._check(job, epoch, known.loss, inf)
        return epoch, known

    def _records(self, job: TrainingJob) -> _Records:
        tf, specs = self._tf, self._network.specs
        taken = intake_of(specs, (), self._task.target).taken(
            {name: np.asarray(values[job.rows]) for name, values in self._task.inputs.items()}
        )
        labels = self._objective.labels(np.asarray(self._task.labels)[job.rows])
        return _Records([tf.constant(taken[spec.name]) for spec in specs], tf.constant(labels), len(job.rows))

    def _starts(self, records: int) -> Array:
        """Return where the batches of an epoch start, and where the last one ends, (s + 1,)."""
        starts = list(range(0, records, self._batch_size))
        if len(starts) > 1 and records - starts[-1] == 1:
            starts.pop()
        return np.array([*starts, records], dtype=np.int32)

    def _known(self, records: _Records) -> _Knowledge:
        loss = right = 0.0
        for start in range(0, records.count, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            found = self._measure([value[part] for value in records.inputs], records.labels[part])
            loss, right = loss + float(found[0]), right + float(found[1])
        return _Knowledge(loss / records.count, right / records.count)

    def _compiled(self, function: Callable[..., Any], plain: int) -> Any:
        """Return a function of inputs, labels and some rows of int32 as a graph, which takes any number of records."""
        tf = self._tf
        inputs = [
            tf.TensorSpec((None, *spec.shape[1:]), "string" if spec.dtype == "str" else spec.dtype)
            for spec in self._network.specs
        ]
        sample = self._objective.labels(np.asarray(self._task.labels)[:1])
        labels = tf.TensorSpec((None, *sample.shape[1:]), sample.dtype)
        signature = [inputs, labels, *[tf.TensorSpec((None,), "int32")] * plain]
        what, remedy = "TensorFlow does not train the model", "train with a command of your own"
        with explained(self._task.target, what, remedy), unnoticed(), _deterministic(tf):
            made = tf.function(function, input_signature=signature, autograph=False, jit_compile=False)
            return made.get_concrete_function()

    def _one_epoch(self, inputs: Sequence[Any], labels: Any, order: Any, starts: Any) -> tuple[Any, Any]:
        """Return the mean loss of the batches of an epoch, and that of the first one."""
        tf = self._tf

        def step(number: Any, total: Any, begun: Any) -> tuple[Any, Any, Any]:
            places = order[starts[number] : starts[number + 1]]
            losses = self._step([tf.gather(value, places) for value in inputs], tf.gather(labels, places))
            mean = tf.cast(tf.reduce_mean(losses), tf.float64)
            total += tf.cast(tf.reduce_sum(losses), tf.float64)
            return number + 1, total, tf.where(number == 0, mean, begun)

        zero = tf.constant(0.0, tf.float64)
        steps = tf.size(starts) - 1
        _, total, begun = tf.while_loop(lambda number, *_: number < steps, step, (0, zero, zero))
        return total / tf.cast(tf.size(order), tf.float64), begun

    def _step(self, inputs: Sequence[Any], labels: Any) -> Any:
        """Make one step, and return the losses before it, shape (b,)."""
        tf, model, optimiser = self._tf, self._network.model, self._optimiser
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            packed = self._network.keras.tree.pack_sequence_as(self._network.structure, list(inputs))
            answer = Answer(self._network._named(model(packed, training=True)))
            losses = self._objective.losses(self._scores(answer, inputs), labels)
            loss = tf.reduce_mean(losses)
            for penalty in model.losses:
                loss += tf.cast(penalty, loss.dtype)
            loss = optimiser.scale_loss(loss)
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        optimiser.apply(gradients, variables)
        return losses

    def _one_measure(self, inputs: Sequence[Any], labels: Any) -> tuple[Any, Any]:
        """Return the sum of the losses of some records in inference, and how many are predicted right."""
        tf = self._tf
        scores = self._scores(self._network.body()(inputs), inputs, exact=True)
        right = self._objective.right(scores, labels)
        return tf.reduce_sum(self._objective.losses(scores, labels)), tf.math.count_nonzero(right)

    def _scores(self, answer: Answer, inputs: Sequence[Any], exact: bool = False) -> Any:
        wanted = self._task.options.get("output")
        return self._objective.scores(ends(self._tf, lambda _: answer, inputs, wanted, self._task.target), exact)

    def _check(self, job: TrainingJob, epoch: int, loss: float, most: float) -> None:
        if not isfinite(loss) or loss > most:
            remedy = f"lower learning_rate (it is {float(self._optimiser.learning_rate):g}), or name another optimiser"
            raise self._failed(job, f"the loss is {loss:.3g} after epoch {epoch}", remedy)

    def _failed(self, job: TrainingJob, what: str, remedy: str) -> ModelError:
        return ModelError(f"{self._task.target}: reference {job.index}: {what} - {remedy}")


@contextlib.contextmanager
def _deterministic(tf: Any) -> Iterator[None]:
    """Have TensorFlow add up in the same order each time; the switch is that of the process, and put back."""
    config = import_module("tensorflow.python.framework.config")  # only this module can put it back
    before = config.is_op_determinism_enabled()
    tf.config.experimental.enable_op_determinism()
    try:
        yield
    finally:
        if not before:
            config.disable_op_determinism()


def _values(variables: Sequence[Any]) -> list[Array]:
    return [variable.value.numpy() for variable in variables]


def _assign(variables: Sequence[Any], values: Sequence[Array]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
