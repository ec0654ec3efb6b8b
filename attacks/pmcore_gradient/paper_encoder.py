"""The attack model of Nasr, Shokri and Houmansadr: a network for each component, and one that joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pmcore.outputs import Floats
from pmcore_gradient.components import Component, Kind

if TYPE_CHECKING:
    from torch import Generator, Tensor

KERNELS = 100
"""Kernels over a gradient: in the paper each spans a row of the gradient of a layer, here the whole sketch of it."""
COMPONENT = (128, 64)
ENCODER = (256, 128, 64, 1)


def paper_log_odds(
    components: Sequence[Component],
    known: NDArray[np.bool_],
    is_member: NDArray[np.bool_],
    hyper_parameters: Mapping[str, float],
    seed: int,
) -> Floats:
    """Learn from known records, and return the log-odds of membership of all others, shape (q,).

    Adam on the binary cross-entropy, for a number of epochs that is fixed beforehand: the paper keeps the epoch that
    does best on the records it is tested on, which flatters it. Torch's own random numbers are neither read nor set.

    Parameters
    ----------
    components : standardised, each (n, d)
    known : (n,) whether the membership of a record is known
    is_member : (t,) of the known records

    References
    ----------
    Nasr, Shokri, Houmansadr. Comprehensive Privacy Analysis of Deep Learning. S&P 2019 (section III, and the table of
    architectures).
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.tensor(component.values, dtype=torch.float32) for component in components]
    inside, outside = torch.tensor(np.flatnonzero(known)), torch.tensor(np.flatnonzero(~known))
    targets = torch.tensor(is_member, dtype=torch.float32)
    with torch.enable_grad():
        network = _network(components, generator)
        _train(network, [values[inside] for values in inputs], targets, hyper_parameters, generator)
    with torch.no_grad():
        answers = network.answers([values[outside] for values in inputs], lambda hidden: hidden)
        found: Floats = answers.double().numpy()
    return found


@dataclass(frozen=True)
class _Chain:
    """Linear layers with ReLU between them; weights (below, above), biases (below,)."""

    weights: Sequence[Tensor]
    biases: Sequence[Tensor]

    def outputs(self, values: Tensor, drop: Callable[[Tensor], Tensor]) -> Tensor:
        """Return what the last layer puts out, before any ReLU, shape (b, below)."""
        for place, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = (drop(values.relu()) if place else values) @ weight.T + bias
        return values


@dataclass(frozen=True)
class _Network:
    """One chain for each component, and one that reads what they put out, side by side."""

    components: Sequence[_Chain]
    encoder: _Chain

    def parameters(self) -> list[Tensor]:
        """Return every weight and bias."""
        chains = (*self.components, self.encoder)
        return [tensor for chain in chains for tensor in (*chain.weights, *chain.biases)]

    def answers(self, inputs: Sequence[Tensor], drop: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the log-odds of membership, shape (b,)."""
        import torch

        parts = [
            drop(chain.outputs(values, drop).relu()) for chain, values in zip(self.components, inputs, strict=True)
        ]
        return self.encoder.outputs(torch.cat(parts, dim=1), drop)[:, 0]


def _network(components: Sequence[Component], generator: Generator) -> _Network:
    chains = []
    for component in components:
        kernels = (KERNELS,) if component.kind is Kind.GRADIENT else ()
        chains.append(_chain((component.values.shape[1], *kernels, *COMPONENT), generator))
    return _Network(chains, _chain((COMPONENT[-1] * len(chains), *ENCODER), generator))


def _chain(widths: Sequence[int], generator: Generator) -> _Chain:
    import torch

    weights = [
        (np.sqrt(2.0 / above) * torch.randn(below, above, generator=generator)).requires_grad_()
        for above, below in pairwise(widths)
    ]
    return _Chain(weights, [torch.zeros(below, requires_grad=True) for below in widths[1:]])


def _train(
    network: _Network,
    inputs: Sequence[Tensor],
    targets: Tensor,
    hyper_parameters: Mapping[str, float],
    generator: Generator,
) -> None:
    import torch

    share, batch = hyper_parameters["dropout"], int(hyper_parameters["batch_size"])
    optimiser = torch.optim.Adam(
        network.parameters(), lr=hyper_parameters["learning_rate"], weight_decay=hyper_parameters["weight_decay"]
    )

    def drop(hidden: Tensor) -> Tensor:
        return hidden * (torch.rand(hidden.shape, generator=generator) >= share) / (1.0 - share)

    for _ in range(int(hyper_parameters["epochs"])):
        order = torch.randperm(len(targets), generator=generator)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            optimiser.zero_grad()
            answers = network.answers([values[rows] for values in inputs], drop)
            loss = torch.nn.functional.binary_cross_entropy_with_logits(answers, targets[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
