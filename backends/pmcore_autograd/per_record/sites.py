"""Finds the uses of parameters in a traced forward pass, and where the records are in each of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pmcore_autograd.per_record.kinds import Kind
from pmcore_autograd.per_record.layouts import Layout, candidates
from pmcore_autograd.per_record.recognition import Operand, recognised
from pmcore_autograd.per_record.tracing import Asked, Call, Step, tensors_of
from pmcore_autograd.per_record.views import Parameters, ParameterView, memory_of, whole_view

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Site:
    """One use of parameters.

    Parameters
    ----------
    step : number of the operator among those that are given parameters, or what is computed of them alone
    kind : how it uses them
    position, place : of the operand among its arguments
    layout : where the records are in its result
    view : what the operand shows of the parameter, or of what was computed of several
    parameters : the numbers of the parameters that stand behind the operand
    computed : whether the operand is not a parameter itself, but computed of parameters alone
    """

    step: int
    kind: Kind
    position: int
    place: int | None
    layout: Layout
    view: ParameterView
    parameters: tuple[int, ...]
    computed: bool

    @property
    def asked(self) -> Asked:
        """Return what a watcher must know."""
        return Asked(self.kind, self.position, self.place)


@dataclass(frozen=True)
class Evidence:
    """What tells the records in the result of an operator apart.

    Parameters
    ----------
    gradients : at the result, of the predictions of one record after the other; None where nothing passes
    changed : where the result changed when the first record was exchanged
    """

    gradients: Sequence[torch.Tensor | None]
    changed: torch.Tensor | None

    @property
    def absent(self) -> bool:
        """Return whether no prediction is computed from the result."""
        return all(gradient is None for gradient in self.gradients)

    @property
    def seen(self) -> int:
        """Return of how many records gradients arrived."""
        return sum(gradient is not None and bool(gradient.any()) for gradient in self.gradients)

    def layouts(self, found: Sequence[Layout]) -> list[Layout]:
        """Return those that nothing speaks against."""
        records = len(self.gradients)
        return [layout for layout in found if self._agrees(layout, records)]

    def _agrees(self, layout: Layout, records: int) -> bool:
        marks = [(number, g != 0) for number, g in enumerate(self.gradients) if g is not None]
        if self.changed is not None:
            marks.append((0, self.changed))
        return all(layout.holds(marked, records, number) for number, marked in marks)


@dataclass
class Found:
    """The uses of parameters, and the parameters of which not all uses are understood, with the reason.

    Parameters
    ----------
    steps : the operators that are given parameters, or what is computed of them alone, in order
    """

    steps: list[Step] = field(default_factory=list)
    sites: list[Site] = field(default_factory=list)
    rejected: dict[int, str] = field(default_factory=dict)


class Reading:
    """Reads a trace from its first operator to the last."""

    def __init__(self, parameters: Parameters, inputs: Sequence[torch.Tensor]) -> None:
        self._parameters = parameters
        self._of_records = {memory_of(value) for value in inputs}
        self._computed: dict[int, frozenset[int]] = {}

    def touching(self, calls: Sequence[Call]) -> list[int]:
        """Return the numbers of the operators that may use a parameter, or what is computed of parameters alone."""
        reached: list[int] = []
        for number, call in enumerate(calls):
            operands = self._operands(call)
            if operands and call.edge is not None and not self._parameters.touched(call.results[0]):
                reached.append(number)
            self._note(call, bool(self._reads_records(call)), operands)
        return reached

    def read(self, calls: Sequence[Call], evidence: Mapping[int, Evidence]) -> Found:
        """Return the uses in all operators."""
        found = Found()
        for number, call in enumerate(calls):
            operands = self._operands(call)
            of_records = self._reads_records(call)
            if operands:
                sites = self._sites(call, operands, evidence.get(number), of_records, found)
                found.sites += sites
                of_records = of_records or bool(sites)
                found.steps.append(Step(call.operator, computes=not of_records))
            self._note(call, of_records, operands)
        return found

    def _sites(
        self,
        call: Call,
        operands: Sequence[tuple[Operand, torch.Tensor, frozenset[int]]],
        evidence: Evidence | None,
        of_records: bool,
        found: Found,
    ) -> list[Site]:
        """Return the uses in one operator; what is not understood is noted as rejected."""
        sites: list[Site] = []
        if not call.results or not call.results[0].is_floating_point() or (evidence is not None and evidence.absent):
            return sites  # nothing passes back through it
        for operand, tensor, behind in operands:
            site = self._site(len(found.steps), call, operand, tensor, behind, evidence, of_records)
            if isinstance(site, Site):
                sites.append(site)
            elif of_records:
                found.rejected.update(dict.fromkeys(behind, f"{call.operator}: {site}"))
        if of_records:
            for tensor in call.named_tensors:
                behind = self._behind(tensor)
                found.rejected.update(dict.fromkeys(behind, f"{call.operator}: an argument by name"))
        return sites if of_records or len(sites) == len(operands) else []

    def _site(
        self,
        step: int,
        call: Call,
        operand: Operand,
        tensor: torch.Tensor,
        behind: frozenset[int],
        evidence: Evidence | None,
        of_records: bool,
    ) -> Site | str:
        """Return one use, or why it is not understood."""
        if evidence is None:
            return "no gradient passes"
        computed = not self._parameters.touched(tensor)
        view: ParameterView | None
        if computed:
            view = whole_view(operand.size)
        else:
            view = self._parameters.view(tensor, next(iter(behind))) if len(behind) == 1 else None
        if view is None:
            return "shows parameters in a way that is not understood"
        kind = recognised(call.operator, call.given, call.options, call.shape, operand)
        if kind is None:
            return "is not known"
        possible = candidates(call.shape, kind.axes(call.shape), len(evidence.gradients))
        left = evidence.layouts(possible)
        if not of_records and evidence.seen < 2:
            return "belongs to no record"
        if len(left) != 1:
            return "the records are not found in its result" if not left else "the records could be in several places"
        return Site(step, kind, operand.position, operand.place, left[0], view, tuple(sorted(behind)), computed)

    def _operands(self, call: Call) -> list[tuple[Operand, torch.Tensor, frozenset[int]]]:
        """Return the arguments that are parameters or computed of parameters alone."""
        found = []
        for position, place, tensor in tensors_of(call.given):
            behind = self._behind(tensor)
            if behind:
                repeats = zip(tensor.shape, tensor.stride(), strict=True)
                size = tuple(1 if step == 0 else length for length, step in repeats)
                found.append((Operand(position, place, size), tensor, behind))
        return found

    def _behind(self, tensor: torch.Tensor) -> frozenset[int]:
        """Return the parameters that a tensor shows or is computed of, if of nothing else."""
        if memory_of(tensor) in self._of_records:
            return frozenset()
        return frozenset(self._parameters.touched(tensor)) or self._computed.get(memory_of(tensor), frozenset())

    def _reads_records(self, call: Call) -> bool:
        given = [tensor for _, _, tensor in tensors_of(call.given)] + call.named_tensors
        return any(memory_of(tensor) in self._of_records for tensor in given)

    def _note(
        self, call: Call, of_records: bool, operands: Sequence[tuple[Operand, torch.Tensor, frozenset[int]]]
    ) -> None:
        """Note what the results of an operator are computed of."""
        behind = frozenset[int]().union(*(parameters for _, _, parameters in operands))
        for result in call.results:
            memory = memory_of(result)
            if of_records:
                self._of_records.add(memory)
            elif behind and not self._parameters.touched(result):
                self._computed[memory] = self._computed.get(memory, frozenset()) | behind
