"""Finds out how a network uses its parameters: a few records are traced, asked about again, and one exchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pmcore.errors import ModelError
from pmcore_autograd.per_record.network import Network, Tensors, count, some
from pmcore_autograd.per_record.plan import Plan, switched_off
from pmcore_autograd.per_record.sites import Evidence, Reading
from pmcore_autograd.per_record.tracing import seeing, tracing
from pmcore_autograd.per_record.views import Parameters
from pmcore_autograd.per_record.weighing import bytes_of_pass, weighing

if TYPE_CHECKING:
    import torch

_SAME = 1e-5
"""Of the largest number: what two computations of the same may differ by."""
_FAR = 0.05
"""Of the largest number: what a prediction may differ by when its record comes alone."""
_MIXED = (
    "the prediction of a record depends on the others in its batch (batch statistics, or records along another axis), "
    "so it has no gradient of its own; put the model into evaluation mode"
)
_FUSED = {"mkldnn_rnn_layer": "mkldnn", "_cudnn_rnn": "cudnn"}
"""Operators that hide many uses of parameters, and the library without which torch computes them step by step."""


@dataclass(frozen=True)
class Probe:
    """A plan, and the gradients that it must reproduce.

    Parameters
    ----------
    inputs : of the probed records
    cotangents : at their predictions, (b, ...)
    graph : the predictions, still with their history
    """

    plan: Plan
    inputs: Tensors
    cotangents: torch.Tensor
    graph: torch.Tensor


def probe(network: Network, inputs: Tensors, without: frozenset[str] = frozenset()) -> Probe:
    """Trace a few records and return what was found; `Network.differentiable` holds around it.

    Raises
    ------
    ModelError
        A record's prediction depends on the other records, or on chance.
    """
    import torch

    records = count(inputs)
    fed = _copied(inputs)
    with switched_off(without), tracing() as calls:
        predictions = network.predict(fed)
    fused = {library for call in calls for name, library in _FUSED.items() if name in str(call.operator)} - without
    if fused:
        return probe(network, inputs, without | fused)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(predictions.shape, generator=generator, dtype=torch.float64)
    drawn /= drawn.reshape(records, -1).norm(dim=1).reshape(-1, *(1,) * (drawn.ndim - 1))
    cotangents = drawn.to(predictions)
    parameters = Parameters(network.parameters)
    touching = Reading(parameters, list(fed.values())).touching(calls)
    with weighing(parameters) as saved:
        again = _again(network, inputs, predictions, frozenset(touching), without)
    changed = _exchanged(network, inputs, again, frozenset(touching), without)
    _check_alone(network, inputs, predictions, without)
    gradients = _gradients(predictions, [calls[number].edge for number in touching], cotangents)
    evidence = {
        number: Evidence([of_record[place] for of_record in gradients], changed.get(number))
        for place, number in enumerate(touching)
    }
    found = Reading(parameters, list(fed.values())).read(calls, evidence)
    each = bytes_of_pass(parameters, sum(saved.values()), gradients[0], calls) // records
    plan = Plan(parameters, tuple(found.steps), tuple(found.sites), found.rejected, each, without)
    return Probe(plan, inputs, cotangents, predictions)


def probed_records(inputs: Tensors, records: int) -> dict[str, torch.Tensor]:
    """Return a few records to probe with; where there are fewer, some whose numbers are moved around."""
    import torch

    found = {}
    for name, value in inputs.items():
        rows = [value[at] if at < len(value) else value[0].roll(at) for at in range(records)]
        found[name] = torch.stack(rows).detach()
    return found


def check_same(predictions: torch.Tensor, again: torch.Tensor) -> None:
    """Refuse a network that does not answer twice alike.

    Raises
    ------
    ModelError
        The predictions differ.
    """
    if bool(_differs(again, predictions).any()):
        raise ModelError("the predictions of the same records differ from one time to the next; remove what is random")


@dataclass(frozen=True)
class _Again:
    """A second pass over the same records: predictions, and the results of some operators by their numbers."""

    predictions: torch.Tensor
    results: Mapping[int, torch.Tensor]


def _again(
    network: Network, inputs: Tensors, predictions: torch.Tensor, wanted: frozenset[int], without: frozenset[str]
) -> _Again:
    """Ask a second time.

    Raises
    ------
    ModelError
        Predictions are not what they were.
    """
    fed = _copied(inputs)
    with switched_off(without), seeing(wanted) as results:
        again = network.predict(fed)
    check_same(predictions, again)
    return _Again(again.detach(), results)


def _exchanged(
    network: Network, inputs: Tensors, before: _Again, wanted: frozenset[int], without: frozenset[str]
) -> dict[int, torch.Tensor]:
    """Return where the results of operators change when the first record is exchanged for another.

    Raises
    ------
    ModelError
        Predictions of other records change, too.
    """
    other = _copied(inputs)
    for value in other.values():
        value[0] = value[1]
    with switched_off(without), seeing(wanted) as after:
        exchanged = network.predict(other)
    if bool(_differs(exchanged, before.predictions)[1:].any()):
        raise ModelError(_MIXED)
    return {
        number: _differs(after[number], result)
        for number, result in before.results.items()
        if number in after and after[number].shape == result.shape
    }


def _check_alone(network: Network, inputs: Tensors, predictions: torch.Tensor, without: frozenset[str]) -> None:
    """Refuse a network that answers otherwise about a record that comes alone.

    What rounds, as quantised networks do, may round to the other side: only what is far off is refused.
    """
    bound = _FAR * float(predictions.detach().abs().max())
    for record, together in enumerate(predictions.detach()):
        try:
            with switched_off(without):
                alone = network.predict_one(some(inputs, slice(record, record + 1))).detach()[0]
        except Exception:  # what insists on several records at once is seen by exchanging one of them
            return
        if not bool(((alone - together).abs() <= bound).all()):
            raise ModelError(_MIXED)


def _gradients(
    predictions: torch.Tensor, edges: Sequence[Any], cotangents: torch.Tensor
) -> list[tuple[torch.Tensor | None, ...]]:
    """Return the gradients at some edges of each record's prediction by itself."""
    import torch

    found: list[tuple[torch.Tensor | None, ...]] = [(None,) * len(edges)] * len(predictions)
    if not edges or not predictions.requires_grad:
        return found
    for record in range(len(predictions)):
        alone = torch.zeros_like(cotangents)
        alone[record] = cotangents[record]
        found[record] = torch.autograd.grad(predictions, edges, alone, retain_graph=True, allow_unused=True)
    return found


def _differs(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return where two tensors differ by more than rounding."""
    import torch

    one, other = one.detach(), other.detach()
    if not one.is_floating_point():
        return one != other
    largest = float(torch.nan_to_num(one.abs(), 0.0, 0.0).amax()) if one.numel() else 0.0
    return ~((one - other).abs() <= _SAME * largest) & (one != other)


def _copied(inputs: Tensors) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in inputs.items()}
