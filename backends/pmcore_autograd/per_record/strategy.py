"""Which way each parameter is taken, settled on a few records: by its uses, by vmap, or record after record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore.errors import AuditError
from pmcore.runtime_failures import first_line
from pmcore_autograd.per_record.alone import looped, looped_predictions, vmapped
from pmcore_autograd.per_record.checking import Fingerprints, reference
from pmcore_autograd.per_record.network import Network, Tensors, count, some
from pmcore_autograd.per_record.passes import passed
from pmcore_autograd.per_record.plan import Plan
from pmcore_autograd.per_record.probing import check_same, probe, probed_records
from pmcore_autograd.per_record.sketching import Tables
from pmcore_autograd.per_record.tracing import Diverged
from pmcore_autograd.per_record.weighing import bytes_of_one

if TYPE_CHECKING:
    import torch

_PROBED = 3
_COPIES = 3
"""Times that a written gradient is held while vmap works."""


@dataclass(frozen=True)
class Strategy:
    """The ways of all parameters for inputs of one shape.

    Parameters
    ----------
    plan : the uses of the parameters that are taken by them; None if there are none
    mapped, looped : the numbers of the parameters that are taken by vmap, and record after record
    reasons : number of a parameter -> why it is not taken by its uses
    each : bytes that a pass takes per record
    """

    plan: Plan | None
    mapped: tuple[int, ...]
    looped: tuple[int, ...]
    reasons: Mapping[int, str]
    each: int

    def planned(self, parameters: Sequence[int]) -> list[int]:
        """Return those of some parameters that are taken by their uses."""
        others = {*self.mapped, *self.looped}
        return [parameter for parameter in parameters if parameter not in others]

    def methods(self, network: Network) -> dict[str, int]:
        """Return the ways in words, with how many parameters go each."""
        counts: dict[str, int] = {}
        for parameter in range(len(network.parameters)):
            words = "vmap" if parameter in self.mapped else "record by record"
            if self.plan is not None and parameter not in self.reasons:
                kinds = [site.kind.method for site in self.plan.of(parameter)]
                words = kinds[0] if kinds else "without influence"
            counts[words] = counts.get(words, 0) + 1
        return counts


def settle(network: Network, inputs: Tensors, budget: int) -> Strategy:
    """Find the way of each parameter, and hold it against plain backward passes.

    Raises
    ------
    ModelError
        A record's prediction depends on the other records, or on chance.
    """
    records, tables = probed_records(inputs, _PROBED), Tables()
    every = range(len(network.parameters))
    try:
        probed = probe(network, records)
    except AuditError:
        raise
    except Exception as error:  # what cannot be watched may still be asked, or fails in its own words
        return by_records(network, inputs, budget, f"cannot be watched: {first_line(error)}")
    truth = reference(network, probed.graph, probed.cotangents, budget // 4, tables)
    plan = probed.plan
    planned = [parameter for parameter in every if parameter not in plan.rejected]
    try:
        copies = {name: value.clone() for name, value in records.items()}
        uses = passed(network, plan, copies).uses(probed.cotangents, planned)
        plan = plan.rejecting(Fingerprints.of(network, uses, budget // 4, tables).disagreeing(truth))
    except Diverged as error:
        plan = plan.rejecting(dict.fromkeys(planned, str(error)))
    rejected = tuple(plan.rejected)
    mapped = _mapped(network, records, probed.cotangents, rejected, truth, plan.each, budget, tables)
    return Strategy(
        plan if len(rejected) < len(every) else None,
        mapped,
        tuple(parameter for parameter in rejected if parameter not in mapped),
        plan.rejected,
        plan.each,
    )


def run_of_records(each: int, entries: int, budget: int) -> int:
    """Return how many records vmap takes at once, with gradients of so many entries written out for each."""
    return budget // (2 * each + _COPIES * 4 * entries + 1)


def by_records(network: Network, inputs: Tensors, budget: int, reason: str) -> Strategy:
    """Return the strategy for a network of whose uses nothing is known, for some reason.

    Raises
    ------
    ModelError
        Its predictions depend on chance.
    """
    import torch

    records, tables = probed_records(inputs, _PROBED), Tables()
    every = tuple(range(len(network.parameters)))
    predictions = looped_predictions(network, records)
    check_same(predictions, looped_predictions(network, records))
    cotangents = torch.ones_like(predictions)
    each = bytes_of_one(network, some(records, slice(0, 1)))
    entries = sum(parameter.numel() for parameter in network.parameters)
    mapped: tuple[int, ...] = ()
    if run_of_records(each, entries, budget) > 1:
        truth = Fingerprints.of(network, looped(network, records, cotangents, every), budget // 4, tables)
        mapped = _mapped(network, records, cotangents, every, truth, each, budget, tables)
    rest = tuple(parameter for parameter in every if parameter not in mapped)
    return Strategy(None, mapped, rest, dict.fromkeys(every, reason), each)


def _mapped(
    network: Network,
    records: Tensors,
    cotangents: torch.Tensor,
    parameters: tuple[int, ...],
    truth: Fingerprints,
    each: int,
    budget: int,
    tables: Tables,
) -> tuple[int, ...]:
    """Return those of some parameters that vmap takes rightly, and for more than one record at a time."""
    entries = sum(network.parameters[parameter].numel() for parameter in parameters)
    if not parameters or run_of_records(each, entries, budget) < min(2, count(records)):
        return ()
    try:
        uses = vmapped(network, records, cotangents, parameters)
    except Exception:  # operators without a rule for vmap, branches on values, modules that cannot be exchanged
        return ()
    wrong = Fingerprints.of(network, uses, budget // 4, tables).disagreeing(truth)
    return tuple(parameter for parameter in parameters if parameter not in wrong)
