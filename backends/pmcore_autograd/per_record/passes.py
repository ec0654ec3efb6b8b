"""One batch through a planned network: predictions, then one backward pass to the uses of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.combining import united
from pmcore_autograd.per_record.network import Network, Tensors
from pmcore_autograd.per_record.plan import Plan, switched_off
from pmcore_autograd.per_record.pulled import Pulled, narrowed
from pmcore_autograd.per_record.tracing import Asked, Kept, keeping
from pmcore_autograd.per_record.uses import Use
from pmcore_autograd.per_record.views import whole_view
from pmcore_autograd.per_record.written import Absent

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Passed:
    """A batch that was passed forward.

    Parameters
    ----------
    predictions : (b, ...), with their history
    kept : number of an operator -> what its uses of parameters need
    """

    network: Network
    plan: Plan
    predictions: torch.Tensor
    kept: Mapping[int, Kept]

    def uses(self, cotangents: torch.Tensor, parameters: Sequence[int]) -> dict[int, Use]:
        """Return the uses of some parameters; may be asked once.

        Raises
        ------
        Diverged
            The network overwrote what a use needs.
        """
        import torch

        chosen = frozenset(parameters)
        sites = [site for site in self.plan.sites if chosen & set(site.parameters)]
        numbers = list(dict.fromkeys(site.step for site in sites))
        passing = [number for number in numbers if self.kept[number].edge is not None]
        gradients: dict[int, torch.Tensor | None] = {}
        if passing and self.predictions.requires_grad:
            edges = [self.kept[number].edge for number in passing]
            found = torch.autograd.grad(self.predictions, edges, cotangents, allow_unused=True)
            gradients = dict(zip(passing, found, strict=True))
        uses: dict[int, list[Use]] = {parameter: [] for parameter in parameters}
        records = len(self.predictions)
        for number in numbers:
            gradient = gradients.get(number)
            if gradient is None:
                continue
            kept = self.kept[number]
            kept.check()
            at_call = [site for site in self.plan.sites if site.step == number]
            for site, arguments, operand in zip(at_call, kept.arguments, kept.operands, strict=True):
                wanted = chosen & set(site.parameters)
                if not wanted:
                    continue
                use = site.kind.use(arguments, gradient, site.view, site.layout, records)
                for parameter in wanted:
                    whole = self.network.parameters[parameter]
                    uses[parameter].append(Pulled(use, narrowed(operand), whole) if site.computed else use)
        return {
            parameter: united(several) if several else self._absent(parameter) for parameter, several in uses.items()
        }

    def _absent(self, parameter: int) -> Use:
        whole = self.network.parameters[parameter].detach()
        return Absent(whole_view(whole.shape), len(self.predictions), whole)


def passed(network: Network, plan: Plan, inputs: Tensors) -> Passed:
    """Pass a batch forward; `Network.differentiable` holds around it.

    Raises
    ------
    Diverged
        The network does something else than for the records by which it was planned.
    """
    asked: dict[int, list[Asked]] = {}
    for site in plan.sites:
        asked.setdefault(site.step, []).append(site.asked)
    with switched_off(plan.without), keeping(plan.parameters, plan.steps, asked) as kept:
        predictions = network.predict(inputs)
    return Passed(network, plan, predictions, kept)
