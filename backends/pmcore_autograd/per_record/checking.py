"""Holds gradients against plain backward passes of single records, and names the parameters that disagree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.network import Network
from pmcore_autograd.per_record.norms import wide
from pmcore_autograd.per_record.reducing import reduced
from pmcore_autograd.per_record.sketching import Tables
from pmcore_autograd.per_record.uses import Use, chunks
from pmcore_autograd.per_record.views import whole_view
from pmcore_autograd.per_record.written import Written

if TYPE_CHECKING:
    import torch

_RELATIVE = 1e-4
"""Of the norm of a parameter's gradient: what two ways of taking it may differ by."""
_ROUNDING = 1e-6
"""Of the norm of a record's whole gradient: what rounding leaves where a parameter's own gradient nearly vanishes."""
_SIZE = 32
"""Numbers of the sketch by which gradients of the same norm are told apart."""


@dataclass(frozen=True)
class Fingerprints:
    """What tells the gradients of a few records from others.

    Parameters
    ----------
    norms : of each parameter, (b,) float64
    sketches : of each parameter, (b, size) float64
    """

    norms: Mapping[int, torch.Tensor]
    sketches: Mapping[int, torch.Tensor]

    @classmethod
    def of(cls, network: Network, uses: Mapping[int, Use], room: int, tables: Tables) -> Fingerprints:
        """Reduce the uses of parameters."""
        norms, sketches = {}, {}
        for parameter, use in uses.items():
            found = reduced(use, [2], [tables.of(network.parameters[parameter], _SIZE, 0)], room)
            norms[parameter], sketches[parameter] = found.powers[0].sqrt(), found.sketches[0]
        return cls(norms, sketches)

    def disagreeing(self, reference: Fingerprints) -> dict[int, str]:
        """Return the parameters for which a reference has something else, with the reason."""
        import torch

        total = torch.stack([norm.square() for norm in reference.norms.values()]).sum(0).sqrt()
        wrong = {}
        for parameter, norm in self.norms.items():
            true = reference.norms[parameter]
            apart = (self.sketches[parameter] - reference.sketches[parameter]).norm(dim=1)
            off = torch.maximum((norm - true).abs(), apart)
            if not bool((off <= _RELATIVE * true + _ROUNDING * total).all()):
                relative = float((off / torch.where(true > 0, true, 1)).max())
                wrong[parameter] = f"off by {relative:.1e} of its norm on a few records"
        return wrong


def reference(
    network: Network, predictions: torch.Tensor, cotangents: torch.Tensor, room: int, tables: Tables
) -> Fingerprints:
    """Return the gradients of each record's prediction by itself, from predictions that still have their history."""
    import torch

    parts = []
    bytes_each = sum(whole.numel() * whole.element_size() for whole in network.parameters)
    for run in chunks(len(predictions), 2 * bytes_each, room):
        gradients = [_alone(network, predictions, cotangents, record) for record in range(run.start, run.stop)]
        uses: dict[int, Use] = {}
        for parameter, several in enumerate(zip(*gradients, strict=True)):
            view = whole_view(network.parameters[parameter].shape)
            uses[parameter] = Written(view, wide(torch.stack(several)))
        del gradients
        parts.append(Fingerprints.of(network, uses, room, tables))
    every = range(len(network.parameters))
    return Fingerprints(
        {parameter: torch.cat([part.norms[parameter] for part in parts]) for parameter in every},
        {parameter: torch.cat([part.sketches[parameter] for part in parts]) for parameter in every},
    )


def _alone(network: Network, predictions: torch.Tensor, cotangents: torch.Tensor, record: int) -> list[torch.Tensor]:
    """Return the gradients of one record's prediction with respect to all parameters."""
    import torch

    alone = torch.zeros_like(cotangents)
    alone[record] = cotangents[record]
    found: Sequence[torch.Tensor | None] = [None] * len(network.parameters)
    if predictions.requires_grad:
        found = torch.autograd.grad(predictions, network.parameters, alone, retain_graph=True, allow_unused=True)
    return [
        torch.zeros_like(whole) if gradient is None else gradient.to_dense()
        for whole, gradient in zip(network.parameters, found, strict=True)
    ]
