"""Steps of gradient descent: one fused pass over all parameters, at the rate that the schedule has for them."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi

import torch

from pmcore_autograd.training.recipe import Recipe
from pmcore_autograd.training.stack import Stack

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class Descent:
    """The optimiser of a stack.

    It calls the fused passes of ``torch.optim`` themselves, whose classes import the compiler of torch, which takes as
    long as torch does. Gradients are handed over contiguous, as the parameters are: these passes read memory in the
    order in which it lies, whatever the strides say.

    Parameters
    ----------
    steps : how many there will be at most, for the schedule

    References
    ----------
    Kingma, Ba. Adam: A Method for Stochastic Optimization. ICLR 2015.
    Loshchilov, Hutter. Decoupled Weight Decay Regularization. ICLR 2019.
    """

    def __init__(self, recipe: Recipe, stack: Stack, steps: int) -> None:
        self._recipe = recipe
        self._stack = stack
        self._steps = steps
        self._parameters = stack.parameters
        self._first = [torch.zeros_like(value) for value in self._parameters]
        self._second = [torch.zeros_like(value) for value in self._parameters] if recipe.optimiser != "sgd" else []
        self._done = torch.zeros(())
        self._count = 0

    def step(self, loss: torch.Tensor) -> None:
        """Change the parameters by one step; the networks of a stack do not see each other's gradients."""
        gradients = torch.autograd.grad(loss, self._parameters, allow_unused=True)
        used = [place for place, gradient in enumerate(gradients) if gradient is not None]
        given = [gradient.contiguous() for gradient in gradients if gradient is not None]
        if self._recipe.clip_gradient is not None:
            given = self._clipped(given, self._recipe.clip_gradient)
        with torch.no_grad():
            self._change(used, given)
        self._count += 1

    def keep(self, kept: Sequence[int]) -> None:
        """Go on with some of the networks, after the stack does."""
        self._parameters = self._stack.parameters
        self._first, self._second = ([value[list(kept)] for value in held] for held in (self._first, self._second))

    def _change(self, used: Sequence[int], gradients: list[torch.Tensor]) -> None:
        recipe, rate = self._recipe, self._rate()
        chosen, first = ([held[place] for place in used] for held in (self._parameters, self._first))
        if recipe.optimiser == "sgd":
            torch._fused_sgd_(
                chosen,
                gradients,
                first if recipe.momentum else [],
                weight_decay=recipe.weight_decay,
                momentum=recipe.momentum,
                lr=rate,
                dampening=0.0,
                nesterov=False,
                maximize=False,
                is_first_step=self._count == 0,
            )
            return
        self._done += 1
        fused = torch._fused_adamw_ if recipe.optimiser == "adamw" else torch._fused_adam_
        fused(
            chosen,
            gradients,
            first,
            [self._second[place] for place in used],
            [],
            [self._done] * len(used),
            lr=rate,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            weight_decay=recipe.weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def _rate(self) -> float:
        share = self._count / self._steps if self._recipe.schedule == "cosine" else 0.0
        return self._recipe.rate * (1 + cos(pi * share)) / 2

    def _clipped(self, gradients: Sequence[torch.Tensor], longest: float) -> list[torch.Tensor]:
        """Shorten the gradient of each network."""
        squares = [g.square().sum() if self._stack.alone else g.flatten(1).square().sum(1) for g in gradients]
        factor = (longest / torch.stack(squares).sum(0).sqrt()).clamp_max(1.0)
        return [g * factor.view(*factor.shape, *[1] * (g.dim() - factor.dim())) for g in gradients]
