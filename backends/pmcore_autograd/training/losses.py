"""What is minimised, by task: the loss of each record as the signal `loss` has it; and who is predicted right."""

from __future__ import annotations

import torch
from torch.nn import functional

from pmcore.outputs import Array, Scale, Task


class Objective:
    """The loss of a task.

    Parameters
    ----------
    task, scale : as the target describes itself
    """

    def __init__(self, task: Task, scale: Scale) -> None:
        self._task = task
        self._probabilities = scale is Scale.PROBABILITIES

    def labels(self, labels: Array) -> torch.Tensor:
        """Return labels as tensors: (n,) int64 of classes, else (n, k) float32."""
        found = torch.from_numpy(labels)
        if self._task in (Task.MULTICLASS, Task.BINARY):
            return found.long()
        return found.reshape(len(found), -1).float()

    def losses(self, predictions: torch.Tensor, labels: torch.Tensor, smoothing: float = 0.0) -> torch.Tensor:
        """Return the loss of each record, shape (n,).

        Parameters
        ----------
        predictions : (n, ...)
        labels : as `labels` makes them
        smoothing : share of the labels' weight that is spread over all classes
        """
        scores = predictions.flatten(1)
        if self._task is Task.REGRESSION:
            return (scores - labels).square().sum(1)
        if not self._is_by_column(scores):
            scores = _log(scores) if self._probabilities else scores
            return functional.cross_entropy(scores, labels, reduction="none", label_smoothing=smoothing)
        targets = labels.reshape(scores.shape).to(scores.dtype)
        targets = targets * (1 - smoothing) + smoothing / 2 if smoothing else targets
        scores = _log(scores) - _log(1 - scores) if self._probabilities else scores
        return functional.binary_cross_entropy_with_logits(scores, targets, reduction="none").sum(1)

    def right(self, predictions: torch.Tensor, labels: torch.Tensor) -> torch.Tensor | None:
        """Return which records are predicted right, shape (n,) bool; None for a regression."""
        scores = predictions.flatten(1)
        if self._task is Task.REGRESSION:
            return None
        if not self._is_by_column(scores):
            return scores.argmax(1) == labels
        threshold = 0.5 if self._probabilities else 0.0
        return ((scores > threshold) == (labels.reshape(scores.shape) == 1)).all(1)

    def _is_by_column(self, scores: torch.Tensor) -> bool:
        """Tell whether every column stands for itself, as the sigmoid of a class or of a label."""
        return self._task is Task.MULTILABEL or scores.shape[1] == 1


def _log(probabilities: torch.Tensor) -> torch.Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()
