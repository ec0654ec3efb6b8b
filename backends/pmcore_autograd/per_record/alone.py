"""Gradients without knowing how parameters are used: by vmap over single records, or record after record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.network import Network, Tensors, count, mappable, some
from pmcore_autograd.per_record.norms import wide
from pmcore_autograd.per_record.uses import Use
from pmcore_autograd.per_record.views import whole_view
from pmcore_autograd.per_record.written import Absent, Written

if TYPE_CHECKING:
    import torch


def looped_predictions(network: Network, inputs: Tensors) -> torch.Tensor:
    """Return the predictions of records that are asked one by one, (b, ...)."""
    import torch

    with torch.no_grad():
        return torch.cat([network.predict_one(some(inputs, slice(at, at + 1))) for at in range(count(inputs))])


def vmapped(network: Network, inputs: Tensors, cotangents: torch.Tensor, parameters: Sequence[int]) -> dict[int, Use]:
    """Return gradients of single records by one call of vmap, written out.

    Raises
    ------
    Exception
        Of whatever kind, where an operator of the network cannot be mapped.
    """
    import torch

    names = [network.names[parameter] for parameter in parameters]
    values = {name: network.parameters[at].detach() for name, at in zip(names, parameters, strict=True)}

    def weighted(exchanged: dict[str, torch.Tensor], record: Tensors, cotangent: torch.Tensor) -> torch.Tensor:
        predictions = network.predict_with(exchanged, _batch_of_one(record))
        return (predictions[0] * cotangent).sum()

    with torch.no_grad(), mappable():
        gradient = torch.func.vmap(torch.func.grad(weighted), (None, 0, 0))
        found = gradient(values, dict(inputs), cotangents)
    return {
        parameter: Written(whole_view(values[name].shape), wide(found[name]))
        for name, parameter in zip(names, parameters, strict=True)
    }


def looped(network: Network, inputs: Tensors, cotangents: torch.Tensor, parameters: Sequence[int]) -> dict[int, Use]:
    """Return gradients by a backward pass for each record, written out; for one record at a time."""
    import torch

    wholes = [network.parameters[parameter] for parameter in parameters]
    by_parameter: dict[int, list[torch.Tensor | None]] = {parameter: [] for parameter in parameters}
    for at in range(count(inputs)):
        predictions = network.predict_one(some(inputs, slice(at, at + 1)))
        found: Sequence[torch.Tensor | None] = [None] * len(wholes)
        if predictions.requires_grad:
            found = torch.autograd.grad(predictions, wholes, cotangents[at : at + 1], allow_unused=True)
        for parameter, gradient in zip(parameters, found, strict=True):
            by_parameter[parameter].append(gradient)
    return {parameter: _written(network, parameter, several) for parameter, several in by_parameter.items()}


def _written(network: Network, parameter: int, gradients: Sequence[torch.Tensor | None]) -> Use:
    import torch

    whole = network.parameters[parameter].detach()
    view = whole_view(whole.shape)
    if all(gradient is None for gradient in gradients):
        return Absent(view, len(gradients), whole)
    dense = [torch.zeros_like(whole) if gradient is None else gradient.to_dense() for gradient in gradients]
    return Written(view, wide(torch.stack(dense)))


def _batch_of_one(record: Tensors) -> dict[str, torch.Tensor]:
    """Return a batch that holds one record, copied, because a network may write to it."""
    return {name: value[None].clone() for name, value in record.items()}
