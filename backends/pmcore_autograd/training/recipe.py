"""How references are trained: the options that every trainer in torch has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pmcore.errors import AuditError, InputError

_NOISE = "noise="


@dataclass(frozen=True)
class Recipe:
    """Options of training by gradient descent.

    Parameters
    ----------
    optimiser : "adam", "adamw" or "sgd"
    learning_rate : a number, or "auto" for the one of a few that fits a first reference best after some epochs
    batch_size : records per step; a last batch of a single record joins the one before it
    weight_decay : penalty on the weights
    momentum : of "sgd"
    label_smoothing : share of the labels' weight that is spread over all classes
    schedule : "constant", or "cosine" from the learning rate to 0 over the epochs, or over the most that there will be
    augment : what is done anew to images at each step: "flip", "crop" (out of a frame of zeros an eighth wider),
        "noise=0.1" (Gaussian, of that deviation; also to what is no image)
    clip_gradient : the longest gradient of a step; longer ones are shortened
    """

    optimiser: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: float | Literal["auto"] = 1e-3
    batch_size: int = 64
    weight_decay: float = 0.0
    momentum: float = 0.9
    label_smoothing: float = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    augment: tuple[str, ...] = ()
    clip_gradient: float | None = None

    def __post_init__(self) -> None:
        if self.learning_rate != "auto" and not 0 < self.learning_rate < float("inf"):
            raise InputError(f"learning_rate: {self.learning_rate} - give a number above 0, or auto")
        if self.batch_size < 1:
            raise InputError(f"batch_size: {self.batch_size} - give 1 or more")
        for name, below in (("weight_decay", float("inf")), ("momentum", 1.0), ("label_smoothing", 1.0)):
            if not 0 <= getattr(self, name) < below:
                raise InputError(f"{name}: {getattr(self, name)} - give a number from 0 to below {below:g}")
        if self.clip_gradient is not None and not self.clip_gradient > 0:
            raise InputError(f"clip_gradient: {self.clip_gradient} - give a number above 0, or none")
        for step in self.augment:
            if step not in ("flip", "crop") and not _is_noise(step):
                raise InputError(f"augment: {step} - give flip, crop or noise=0.1")

    @property
    def rate(self) -> float:
        """Return the learning rate.

        Raises
        ------
        AuditError
            It is still to be found.
        """
        if self.learning_rate == "auto":
            raise AuditError("learning_rate: auto - is found by `settled` first, on one reference")
        return self.learning_rate

    @property
    def noise(self) -> float:
        """Return the deviation of the noise that is added to records."""
        return sum(float(step.removeprefix(_NOISE)) for step in self.augment if step.startswith(_NOISE))

    def spans(self, records: int) -> list[slice]:
        """Return the batches of an epoch."""
        starts = list(range(0, records, self.batch_size))
        if len(starts) > 1 and records - starts[-1] == 1:
            starts.pop()
        return [slice(start, stop) for start, stop in zip(starts, [*starts[1:], records], strict=True)]


def _is_noise(step: str) -> bool:
    if not step.startswith(_NOISE):
        return False
    try:
        return 0 < float(step.removeprefix(_NOISE)) < float("inf")
    except ValueError:
        return False
