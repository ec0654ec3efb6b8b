"""What is minimised, by task: the loss of each record as the signal `loss` has it; and who is predicted right."""

from __future__ import annotations

from typing import Any

import numpy as np

from pmcore.outputs import CLASSIFICATION, Array, Scale, Task
from pmcore.training import TrainingTask
from pmcore_tensorflow.trace import Ends


class Objective:
    """The loss of a task, in TensorFlow.

    Parameters
    ----------
    task : as the target describes itself
    """

    def __init__(self, tf: Any, task: TrainingTask) -> None:
        self._tf = tf
        self._task = task.task
        self._output = task.output
        self._scale = task.scale

    def labels(self, labels: Array) -> Array:
        """Return labels as they are compared with predictions: (n,) int32 of classes, else (n, k) float32."""
        if self._task in CLASSIFICATION:
            return labels.reshape(-1).astype(np.int32)
        return labels.reshape(len(labels), -1).astype(np.float32)

    def scores(self, found: Ends, exact: bool = False) -> Any:
        """Return logits, or values of a regression, (b, k).

        Where pmcore reads a target before its last activation, so is a reference read.

        Parameters
        ----------
        exact : in float64, and not in the type that the network computes in (float32 for a shorter one)
        """
        tf = self._tf
        before = self._output != found.head.output
        raw = found.before if before and found.before is not None else found.output
        columns = raw.shape[-1] if raw.shape.rank == 2 else int(np.prod(raw.shape[1:]))
        wide = tf.float64 if exact or raw.dtype == tf.float64 else tf.float32
        scores = tf.cast(tf.reshape(raw, (-1, columns)), wide)
        hidden = before and found.before is None  # behind a function of its own: probabilities come out of it
        if self._task is Task.REGRESSION or not (hidden or self._scale is Scale.PROBABILITIES):
            return scores
        tiny = np.finfo(wide.as_numpy_dtype).tiny
        logs = tf.math.log(tf.maximum(scores, tiny))
        if not self._is_by_column(scores):
            return logs
        return logs - tf.math.log(tf.maximum(1 - scores, tiny))

    def losses(self, scores: Any, labels: Any) -> Any:
        """Return the loss of each record, shape (b,)."""
        tf = self._tf
        if self._task is Task.REGRESSION:
            return tf.reduce_sum(tf.square(scores - tf.cast(labels, scores.dtype)), axis=1)
        if not self._is_by_column(scores):
            return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
        targets = tf.cast(tf.reshape(labels, tf.shape(scores)), scores.dtype)
        return tf.reduce_sum(tf.nn.sigmoid_cross_entropy_with_logits(labels=targets, logits=scores), axis=1)

    def right(self, scores: Any, labels: Any) -> Any:
        """Return which records are predicted right, shape (b,) bool; none of a regression."""
        tf = self._tf
        if self._task is Task.REGRESSION:
            return tf.zeros(tf.shape(scores)[:1], tf.bool)
        if not self._is_by_column(scores):
            return tf.argmax(scores, axis=1, output_type=labels.dtype) == labels
        return tf.reduce_all((scores > 0) == (tf.reshape(labels, tf.shape(scores)) == 1), axis=1)

    def _is_by_column(self, scores: Any) -> bool:
        """Tell whether every column stands for itself, as the sigmoid of a class or of a label."""
        return self._task is Task.MULTILABEL or scores.shape[1] == 1
