"""An exported graph as a torch module: its weights are parameters, and autograd differentiates it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pmcore.errors import InputError
from pmcore.interfaces import TensorSpec
from pmcore.quoting import quoted
from pmcore_autograd.apart import apart
from pmcore_autograd.batch_statistics import by_batch
from pmcore_autograd.feeding import fed
from pmcore_autograd.initial import before_rectifiers, fresh
from pmcore_autograd.naming import torch_names
from pmcore_autograd.parameters import Buffer, Cut, Parameter
from pmcore_autograd.plan import Plan
from pmcore_autograd.planning import Situation, make_plan
from pmcore_autograd.slots import Role
from pmcore_autograd.tensors import widened

if TYPE_CHECKING:
    from pmcore_autograd.graph import Graph

_PLANS = 8
"""Shapes of inputs for which plans are kept."""


class ExportedModule(nn.Module):
    """What an ONNX or OpenVINO file computes, differentiable by its parameters and its inputs.

    ``module(x)`` takes the inputs in the file's order, or by name, and returns the outputs: a tensor, or a tuple of
    several. It works under ``torch.func`` (``functional_call``, ``vmap``, ``grad``), in float64 after ``.double()``,
    and on the device that it is moved to. Real numbers of any width in the file are computed in the precision of the
    module's parameters.

    A module starts, and computes, as the file does: in evaluation mode. ``train()`` alone changes nothing, since an
    exported graph has no other mode; with `batch_statistics` set, BatchNormalization nodes then normalise by the batch
    and update their running statistics, which are buffers.

    Parameters
    ----------
    cut : the graph and its parameters
    source : the file that it was read from
    """

    def __init__(self, cut: Cut, source: Path) -> None:
        super().__init__()
        self.source = source
        self.graph: Graph = cut.graph
        self.surrogate: bool = cut.surrogate
        self.widened: bool = cut.widened
        self.batch_statistics = False
        self._cut_parameters: dict[str, Parameter] = {}
        self._cut_buffers: dict[str, Buffer] = {}
        self._held: list[tuple[str, dict[str, Any], str]] = []
        self._constants = dict(cut.values)
        self._moved: dict[tuple[torch.dtype, torch.device], dict[str, torch.Tensor]] = {}
        self._plans: OrderedDict[tuple[Any, ...], Plan] = OrderedDict()
        self._working = cut.working
        self._specs = tuple(self._spec(name, self.graph.types.get(name, "float32")) for name in self.graph.inputs)
        self._register(cut)
        self.eval()

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Return what the module takes, in order."""
        return self._specs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Return what the module returns, in order."""
        return tuple(self._spec(name, "float32") for name in self.graph.outputs)

    @property
    def owners(self) -> Mapping[str, str]:
        """Return parameter -> the tensor by which the file's layer that uses it first is called."""
        return {name: parameter.owner for name, parameter in self._cut_parameters.items()}

    @property
    def parameter_facts(self) -> Mapping[str, Parameter]:
        """Return parameter -> what it is and where it stands in the file."""
        return self._cut_parameters

    @property
    def buffer_facts(self) -> Mapping[str, Buffer]:
        """Return buffer -> what it is and where it stands in the file."""
        return self._cut_buffers

    def forward(self, *tensors: torch.Tensor, **named: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        """Return the outputs for inputs in order or by name: a tensor, or a tuple of several.

        Raises
        ------
        InputError
            An input is missing, unknown, or not of the shape that the file declares.
        AuditError
            A node does not take its inputs, or memory runs out.
        """
        found = self._run(self.graph.outputs, tensors, named)
        return found[0] if len(found) == 1 else found

    def forward_until(
        self, names: Sequence[str], *tensors: torch.Tensor, **named: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return tensors of the graph by name, hidden ones too, and compute no more than they need."""
        made = {name for node in self.graph.nodes for name in node.outputs}
        known = made | {*self.graph.inputs, *self._constants, *(held[0] for held in self._held)}
        for name in names:
            if name not in known:
                raise InputError(f"{self.source}: computes no tensor {quoted(name)}; name one that its outputs need")
        return dict(zip(names, self._run(tuple(names), tensors, named), strict=True))

    def reset_parameters(self, seed: int) -> None:
        """Give every parameter a fresh value that suits what it is, the same for the same seed and on any device."""
        random = torch.Generator().manual_seed(seed)
        followed = before_rectifiers(self.graph)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                facts = self._cut_parameters[name]
                parameter.copy_(fresh(facts, parameter.shape, facts.into in followed, random))
            for name, buffer in self.named_buffers():
                buffer.fill_(float(self._cut_buffers[name].role is Role.VARIANCE))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs; plans are made anew there."""
        return {**self.__dict__, "_plans": OrderedDict(), "_moved": {}}

    def _run(
        self, wanted: tuple[str, ...], tensors: Sequence[torch.Tensor], named: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        state = dict(self._state())
        sample = next(iter(state.values()), None)
        given = fed(self.inputs, tensors, named, str(self.source))
        if sample is None:
            sample = next((t for t in given.values() if t.is_floating_point()), torch.empty((), dtype=self._working))
        working, device = sample.dtype, sample.device
        given = {name: widened(tensor, working) for name, tensor in given.items()}
        plan = self._plan(given, state, wanted, working, device)
        return plan.run(iter((*given.items(), *state.items())))

    def _state(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yield parameters and buffers as they are at the moment, by the names of their tensors in the graph."""
        return ((tensor, place[leaf]) for tensor, place, leaf in self._held)

    def _plan(
        self,
        given: Mapping[str, torch.Tensor],
        state: Mapping[str, torch.Tensor],
        wanted: tuple[str, ...],
        working: torch.dtype,
        device: torch.device,
    ) -> Plan:
        by_batch_now = self.training and self.batch_statistics
        shapes = {name: tuple(tensor.shape) for name, tensor in given.items()}
        key = (tuple(shapes.items()), wanted, working, device, by_batch_now)
        plan = self._plans.get(key)
        if plan is None:
            shapes.update((name, tuple(tensor.shape)) for name, tensor in state.items())
            types = {name: tensor.dtype for name, tensor in given.items() if not tensor.is_floating_point()}
            operators = {"BatchNormalization": by_batch} if by_batch_now else {}
            situation = Situation(shapes, types, wanted, working, device, operators)
            plan = apart(lambda: make_plan(self.graph.nodes, self._constants_in(working, device), situation))
            self._plans[key] = plan
            while len(self._plans) > _PLANS:
                self._plans.popitem(last=False)
        self._plans.move_to_end(key)
        return plan

    def _constants_in(self, working: torch.dtype, device: torch.device) -> Mapping[str, torch.Tensor]:
        key = (working, device)
        if key not in self._moved:
            moved = {name: widened(value, working).to(device) for name, value in self._constants.items()}
            self._moved = {key: moved}
        return self._moved[key]

    def _spec(self, name: str, kind: str) -> TensorSpec:
        return TensorSpec(name, tuple(self.graph.shapes.get(name, ())), kind)

    def _register(self, cut: Cut) -> None:
        """Put parameters and buffers into modules within modules, so that each is called as in the file."""
        every: tuple[Parameter | Buffer, ...] = (*cut.parameters, *cut.buffers)
        facts = {found.tensor: found for found in every}
        plain = nn.Module()
        paths = torch_names(facts, lambda part: hasattr(self, part) or hasattr(plain, part))
        for tensor, path in paths.items():
            fact, value = facts[tensor], self._constants.pop(tensor)
            *folders, leaf = path.split(".")
            place: nn.Module = self
            for folder in folders:
                if folder not in place._modules:
                    place.add_module(folder, nn.Module())
                place = place.get_submodule(folder)
            value = value.clone() if fact.origin.made_by is not None else value.contiguous()
            if isinstance(fact, Parameter):
                place.register_parameter(leaf, nn.Parameter(value))
                self._cut_parameters[path] = fact
                self._held.append((tensor, place._parameters, leaf))
            else:
                place.register_buffer(leaf, value)
                self._cut_buffers[path] = fact
                self._held.append((tensor, place._buffers, leaf))
