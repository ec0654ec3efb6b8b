"""Operators that do something while a network is trained only, and its losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, numbers, optional, real, refusal, version, whole, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")

_UNUSED = -100  # no class has this number


def dropout(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the input, as dropout does once training is over, and a mask that keeps everything."""
    value, training = given(node, values, 0), optional(values, 2)
    if version(node) < 7:
        on = not flag(node, "is_test")
        ratio = real(node, "ratio", 0.5)
    else:
        on = training is not None and bool(numbers(node, training)[0])
        given_ratio = optional(values, 1)
        ratio = 0.5 if given_ratio is None or not on else float(numbers(node, given_ratio)[0])
    if on and ratio:
        raise refusal(node, "it drops out at random, as in training; export the model in evaluation mode")
    return (value, torch.ones_like(value, dtype=torch.bool)) if any(node.outputs[1:]) else (value,)


def negative_log_likelihood(node: Node, values: Values) -> torch.Tensor:
    """Return the loss of log-probabilities, shape (n, k, ...), with classes, shape (n, ...)."""
    return _loss(node, given(node, values, 0), values)


def cross_entropy(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
    """Return the loss of logits with classes, and the logarithms of their probabilities."""
    logarithms = torch.log_softmax(given(node, values, 0), 1)
    return _loss(node, logarithms, values), logarithms


def _loss(node: Node, logarithms: torch.Tensor, values: Values) -> torch.Tensor:
    return functional.nll_loss(
        logarithms,
        given(node, values, 1).to(torch.int64),
        optional(values, 2),
        ignore_index=whole(node, "ignore_index", _UNUSED),
        reduction=word(node, "reduction", "mean sum none"),
    )


TABLE = {
    "Dropout": Known(dropout, "ratio seed is_test consumed_inputs"),
    "NegativeLogLikelihoodLoss": Known(negative_log_likelihood, "ignore_index reduction"),
    "SoftmaxCrossEntropyLoss": Known(cross_entropy, "ignore_index reduction"),
}
