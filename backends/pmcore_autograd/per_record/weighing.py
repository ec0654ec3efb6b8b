"""How much memory a pass through a network takes, told before the passes that have to fit."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.network import Network, Tensors
from pmcore_autograd.per_record.tracing import Call, tracing
from pmcore_autograd.per_record.views import Parameters, memory_of

if TYPE_CHECKING:
    import torch

_PASSING = 4
"""Results of operators that are alive beside what is kept, about."""
_GUESSED = 32
"""Times that a pass may take what its inputs take."""


def bytes_of_one(network: Network, inputs: Tensors) -> int:
    """Return what a pass over one record takes, about."""
    given = sum(value.numel() * value.element_size() for value in inputs.values())
    try:
        with tracing() as calls:
            network.predict_one(inputs)
    except Exception:  # whatever cannot be watched
        return _GUESSED * given
    return given + 3 * _bytes([result for call in calls for result in call.results])


def bytes_of_pass(
    parameters: Parameters, saved: int, kept: Sequence[torch.Tensor | None], calls: Sequence[Call]
) -> int:
    """Return what a pass takes: what autograd holds, the gradients that are kept, and what comes and goes.

    Parameters
    ----------
    saved : bytes that autograd holds; see `weighing`
    kept : like the gradients that are kept
    """
    return saved + _bytes(kept) + _PASSING * _largest(parameters, calls)


@contextlib.contextmanager
def weighing(parameters: Parameters) -> Iterator[dict[int, int]]:
    """Note the bytes of all memory that autograd holds for the way back through the block, but that of parameters."""
    import torch

    held: dict[int, int] = {}

    def save(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.layout is torch.strided and not parameters.touched(tensor):
            held[memory_of(tensor)] = tensor.untyped_storage().nbytes()
        return tensor.detach()

    with torch.autograd.graph.saved_tensors_hooks(save, lambda tensor: tensor):
        yield held


def _bytes(tensors: Sequence[torch.Tensor | None]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


def _largest(parameters: Parameters, calls: Sequence[Call]) -> int:
    """Return the bytes of the largest result."""
    own = (result for call in calls for result in call.results if not parameters.touched(result))
    return max((result.untyped_storage().nbytes() for result in own), default=0)
