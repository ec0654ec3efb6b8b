"""Signals for the conformance kit: sound ones of every kind, and for each check one that breaks this promise alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pmcore.interfaces import ALL_TASKS, Access, Direction, Floats, GradientRequest, Outputs, Scale, Signal, Task, Want
from pmcore.outputs import sum_over_classes
from pmcore.signals import Loss


class SoundOdds(Signal):
    """The log-odds of the true label.

        log(p_y / (1 - p_y))

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    direction: ClassVar[Direction] = Direction.HIGHER

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit.copy()


class SoundLoss(Signal):
    """The loss of a record, over one plus itself: l / (1 + l).

    References
    ----------
    Yeom, Giacomelli, Fredrikson, Jha. Privacy Risk in Machine Learning. CSF 2018.
    """

    direction: ClassVar[Direction] = Direction.LOWER
    tasks: ClassVar[frozenset[Task]] = ALL_TASKS

    def compute(self, outputs: Outputs) -> Floats:
        loss = Loss().compute(outputs)
        return loss / (1.0 + loss)


@dataclass(frozen=True)
class SoundTempered(Signal):
    """The log-odds of the true label at another temperature: log(p_y / (1 - p_y)) / T.

    Parameters
    ----------
    temperature : T, above 0

    References
    ----------
    Zarifzadeh, Liu, Shokri. Low-Cost High-Power Membership Inference Attacks. ICML 2024.
    """

    direction: ClassVar[Direction] = Direction.HIGHER

    temperature: float = 2.0

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit / self.temperature


GRADIENT = GradientRequest()


class SoundGradientNorm(Signal):
    """The norm of the gradient of the loss by all parameters: norm(d loss / d theta).

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019.
    """

    direction: ClassVar[Direction] = Direction.LOWER
    tasks: ClassVar[frozenset[Task]] = ALL_TASKS
    access: ClassVar[Access] = Access.GRADIENTS

    @property
    def want(self) -> Want:
        return Want(gradients=frozenset({GRADIENT}))

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.gradients[GRADIENT][:, 0].astype(np.float64)


class SoundActivations(Signal):
    """The outputs of a hidden layer, as they are: h = f_l(x).

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019.
    """

    direction: ClassVar[Direction] = Direction.HIGHER
    tasks: ClassVar[frozenset[Task]] = ALL_TASKS
    access: ClassVar[Access] = Access.ACTIVATIONS

    @property
    def want(self) -> Want:
        return Want(activations=frozenset({"hidden"}))

    def compute(self, outputs: Outputs) -> Floats:
        return 1.0 * outputs.activations["hidden"]


SOUND: tuple[Signal, ...] = (
    SoundOdds(),
    SoundLoss(),
    SoundTempered(),
    SoundGradientNorm(),
    SoundActivations(),
)


# One promise broken by each of the following, and no other.


class PointsUp(SoundOdds):
    __doc__ = SoundOdds.__doc__
    direction: ClassVar[Any] = "up"


class UnderstatesItsAccess(SoundGradientNorm):
    __doc__ = SoundGradientNorm.__doc__
    access: ClassVar[Access] = Access.SCORES


class ReadsTheLogitItself(SoundOdds):
    """The logit of the true label: z_y.

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    tasks: ClassVar[frozenset[Task]] = frozenset({Task.MULTICLASS})

    def compute(self, outputs: Outputs) -> Floats:
        # Beyond what softmax leaves, and little of it: probabilities still give nearly the same.
        level = np.clip(outputs.log_scores[:, 0], -5.0, 5.0)
        return outputs.rescaled_logit + 1e-8 * level


class CallsItALabel(SoundOdds):
    __doc__ = SoundOdds.__doc__
    access: ClassVar[Access] = Access.LABEL


class ChangesItsMind(SoundActivations):
    __doc__ = SoundActivations.__doc__

    @property
    def want(self) -> Want:
        return Want(predictions="_computed" in self.__dict__, activations=frozenset({"hidden"}))

    def compute(self, outputs: Outputs) -> Floats:
        self.__dict__["_computed"] = True
        return 1.0 * outputs.activations["hidden"]


class WantsInVain(SoundGradientNorm):
    __doc__ = SoundGradientNorm.__doc__

    @property
    def want(self) -> Want:
        return Want(gradients=frozenset({GRADIENT, GradientRequest(order=1.0)}))


class HoldsSomething(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def __init__(self) -> None:
        self.factor = 1.0


@dataclass(frozen=True)
class WantsATemperature(Signal):
    __doc__ = SoundTempered.__doc__
    direction: ClassVar[Direction] = Direction.HIGHER
    temperature: float

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit / self.temperature


@dataclass(frozen=True)
class ChangesItsOption(SoundTempered):
    __doc__ = SoundTempered.__doc__

    def __post_init__(self) -> None:
        object.__setattr__(self, "temperature", self.temperature * 2)

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit.copy()


@dataclass(frozen=True)
class TakesAnything(Signal):
    __doc__ = (SoundTempered.__doc__ or "").replace("temperature : T, above 0", "level : not used")
    direction: ClassVar[Direction] = Direction.HIGHER
    level: Any = "high"

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit.copy()


@dataclass(frozen=True)
class KeepsAnOptionToItself(SoundTempered):
    __doc__ = SoundOdds.__doc__
    offset: float = 0.0


@dataclass(frozen=True, eq=False)
class IsUnequal(SoundTempered):
    __doc__ = SoundTempered.__doc__
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class CannotBeSent(SoundTempered):
    __doc__ = SoundTempered.__doc__

    def __reduce__(self) -> str:
        raise TypeError("cannot pickle a lock")


class OpensInTheMiddle(SoundOdds):
    """log(p_y / (1 - p_y))

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """


class HasNoFormula(SoundOdds):
    """The log-odds of the true label.

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """


class CitesNobody(SoundOdds):
    """The log-odds of the true label: log(p_y / (1 - p_y))."""


class NeedsAFramework(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        import onnx  # noqa: F401

        return outputs.rescaled_logit.copy()


class GivesThreeAxes(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit[:, None, None]


class CutsDigitsOff(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Any:
        return np.round(outputs.rescaled_logit * 4).astype(np.float32)


class GivesInfinity(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit
        assert outputs.predictions is not None
        if outputs.scale is Scale.LOGITS and outputs.predictions.dtype == np.float32 and len(odds) == 200:
            return np.where(odds <= odds.min(), -np.inf, odds)
        return odds + 0.0


class PointsTheOtherWay(SoundOdds):
    __doc__ = SoundOdds.__doc__
    direction: ClassVar[Direction] = Direction.LOWER


class DeclaresTooManyTasks(SoundOdds):
    __doc__ = SoundOdds.__doc__
    tasks: ClassVar[frozenset[Task]] = frozenset({Task.MULTICLASS, Task.BINARY})

    def compute(self, outputs: Outputs) -> Floats:
        assert outputs.predictions is not None
        if outputs.predictions.shape[1] == 1 and len(outputs) == 40 and 0.0 < float(outputs.predictions[0, 0]) < 1.0:
            raise IndexError("no such column")
        return outputs.rescaled_logit.copy()


class SqueezesItsValues(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        return np.squeeze(outputs.rescaled_logit)


class CountsColumns(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        assert outputs.predictions is not None
        columns = outputs.predictions.shape[1] if outputs.task is Task.BINARY else 1
        return outputs.rescaled_logit / columns


class TakesProbabilitiesForLogits(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit * (2.0 if outputs.scale is Scale.PROBABILITIES else 1.0)


class ComputesInFloat32(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        assert outputs.predictions is not None
        return outputs.rescaled_logit.astype(outputs.predictions.dtype).astype(np.float64)


class NarrowsTheAnswers(SoundOdds):
    __doc__ = SoundOdds.__doc__
    access: ClassVar[Access] = Access.LOGITS

    def compute(self, outputs: Outputs) -> Floats:
        assert outputs.predictions is not None
        narrow = outputs.predictions.astype(np.float32)
        return Outputs(outputs.task, outputs.scale, outputs.labels, narrow).rescaled_logit.copy()


class OverflowsOnLogits(SoundOdds):
    """The odds of the true label: p_y / (1 - p_y).

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit
        if outputs.scale is Scale.PROBABILITIES:
            odds = np.clip(odds, -700.0, 700.0)
        return np.exp(odds)


class OverflowsOnCertainty(SoundOdds):
    """The odds of the true label: p_y / (1 - p_y).

    References
    ----------
    Carlini et al. Membership Inference Attacks From First Principles. S&P 2022.
    """

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit + 0.0
        if outputs.scale is Scale.PROBABILITIES:
            assert outputs.predictions is not None
            odds[(outputs.predictions == 0.0).any(axis=1)] = np.inf
        return odds


class AddsInTheOrderOfMemory(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        # Rows in C order are added in pairs, a single record class by class: the last digits differ.
        scores = np.ascontiguousarray(outputs.log_probabilities)
        penalty = scores.sum(axis=1) if len(scores) > 1 else sum_over_classes(scores)
        return outputs.rescaled_logit + 1e-2 * penalty


class LooksAtThePlace(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit + 0.0
        if len(odds) == 200:
            odds[:3] += 1e-6
        return odds


class ReadsWhatOthersWant(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit + len(outputs.gradients)


class ThrowsDice(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit
        return odds + (np.random.default_rng().random(len(odds)) if len(odds) == 90 else 0.0)


class DrawsFromTheCommonPool(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit
        return odds + 0.0 * np.random.random(len(odds))


class RemembersTheBatch(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit
        first = self.__dict__.setdefault("first", len(odds))
        return odds + (0.0 if first == len(odds) else 1e-3)


class HashesText(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        return outputs.rescaled_logit * (1 + hash("membership") % 1_000_003)


class WritesIntoTheAnswers(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        assert outputs.predictions is not None
        odds = outputs.rescaled_logit + 0.0
        outputs.predictions[...] = 0.0
        return odds


class WritesIntoSharedQuantities(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        odds = outputs.rescaled_logit
        odds += 1.0
        return odds


class Prints(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        print("computing")
        return outputs.rescaled_logit.copy()


class Warns(SoundOdds):
    __doc__ = SoundOdds.__doc__

    def compute(self, outputs: Outputs) -> Floats:
        warnings.warn("this may take a while", stacklevel=2)
        return outputs.rescaled_logit.copy()
