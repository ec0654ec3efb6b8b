"""Modules in memory as networks: asked in evaluation mode, hooked while they are asked, left as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pmcore.errors import ModelError
from pmcore.heads import Ending, Head
from pmcore.interfaces import Layer
from pmcore.last_layer import LastLayer
from pmcore.layers import LayerTable
from pmcore_torch.differentiable import Differentiable
from pmcore_torch.hooks import LAYER, entered, evaluating, kept_input, kept_output, shaped
from pmcore_torch.last_layer import Found, find_last_layer
from pmcore_torch.nesting import leaves
from pmcore_torch.steps import Step
from pmcore_torch.tracing import catching, tracing
from pmcore_torch.watching import watching

if TYPE_CHECKING:
    import torch

_BEFORE = "before the activation of "
_INTO = "what enters the last layer of "
_FROM = "what leaves the last layer of "


class ModuleNetwork:
    """Any `torch.nn.Module`.

    Parameters
    ----------
    module : never changed: its training flags are put back after every call
    keywords : names of the inputs that are passed by name; the others are passed in their order
    """

    def __init__(self, module: torch.nn.Module, keywords: frozenset[str] = frozenset()) -> None:
        self.module = module
        self._keywords = keywords
        self._names: dict[str, tuple[int | str | None, ...]] | None = None
        self._endings: dict[str, Ending] = {}
        self._activations: dict[str, torch.nn.Module] = {}
        self._table: LayerTable | None = None
        self._made: dict[str, Step | None] = {}
        self._last: dict[str, Found | str] = {}
        trained = any(part.training for part in module.modules())
        self.notes: tuple[str, ...] = ()
        if trained:
            self.notes = ("The module was in training mode: it is asked in evaluation mode, and left as it was.",)

    def outputs(self) -> Mapping[str, tuple[int | str | None, ...]] | None:
        """Return the shapes of the outputs of the last `look`."""
        return self._names

    def look(self, inputs: Mapping[str, torch.Tensor]) -> None:
        """Ask once: find the outputs, and what activation each comes from."""
        import torch

        with (
            evaluating(self.module),
            tracing(list(inputs.values())) as trace,
            watching() as sight,
            entered(self.module, _activations()) as calls,
            shaped(self.module, next(iter(inputs.values()))) as shapes,
        ):
            returned = {name: value for name, value in leaves(self._call(inputs)) if isinstance(value, torch.Tensor)}
        floats = {name: value for name, value in returned.items() if value.is_floating_point()}
        self._names = {
            name: (None, *value.shape[1:]) if value.ndim else () for name, value in (floats or returned).items()
        }
        self._endings, self._activations, self._last = {}, {}, {}
        self._table = _read_layers(self.module, shapes)
        self._made = {name: trace.step_of(value) for name, value in returned.items()}
        for name, value in returned.items():
            found = sight.ending_of(value)
            if found is not None:
                self._made[f"{_BEFORE}{name}"] = trace.step_of(found.before)
                self._endings[name] = found.ending
                owners = [part for part, given in calls if given is found.before]
                if owners and len(_calls(calls, owners[-1])) == 1:
                    self._activations[name] = owners[-1]

    def head(self, output: str) -> Head:
        """Return the activation that was seen to make an output."""
        if output not in self._endings:
            return Head(output)
        return Head(output, f"{_BEFORE}{output}", self._endings[output])

    def run(self, inputs: Mapping[str, torch.Tensor], wanted: Sequence[str]) -> list[torch.Tensor]:
        """Return outputs, what enters their last activations, or outputs of layers."""
        before = [name.removeprefix(_BEFORE) for name in wanted if name.startswith(_BEFORE)]
        functional = [name for name in before if name not in self._activations]
        last = {n: found for n, found in self._last.items() if isinstance(found, Found) and f"{_INTO}{n}" in wanted}
        kept: dict[str, torch.Tensor] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(evaluating(self.module))
            for name in wanted:
                if name.startswith(LAYER):
                    stack.enter_context(kept_output(self.module, name, kept))
            for name in before:
                if name in self._activations:
                    stack.enter_context(kept_input(self._activations[name], f"{_BEFORE}{name}", kept))
            caught = {name: stack.enter_context(catching(found.weight)) for name, found in last.items()}
            sight = stack.enter_context(watching()) if functional else None
            named = dict(leaves(self._call(inputs)))
        for name, catch in caught.items():
            if catch.given is not None and catch.made is not None and catch.times == 1:
                kept |= {f"{_INTO}{name}": catch.given, f"{_FROM}{name}": catch.made}
        for name in functional:
            found = sight.ending_of(named[name]) if sight is not None else None
            if found is None:
                raise ModelError(f"output {name!r} came from no activation this time, as it did before")
            kept[f"{_BEFORE}{name}"] = found.before
        missing = [name for name in wanted if name not in kept and name not in named]
        if missing:
            times = " once, as it was before," if missing[0].startswith((_INTO, _FROM)) else ""
            raise ModelError(f"{missing[0].removeprefix(LAYER)!r} was not computed{times} for these records")
        return [kept[name] if name in kept else named[name] for name in wanted]

    def last_layer(self, tensor: str) -> LastLayer | str | None:
        """Return the linear layer that a tensor of predictions leaves, why there is none, or None before a `look`."""
        if tensor not in self._made:
            return None
        if tensor not in self._last:
            step = self._made[tensor]
            unseen = "the operation that made the predictions could not be watched"
            self._last[tensor] = unseen if step is None else find_last_layer(step)
        found = self._last[tensor]
        return found if isinstance(found, str) else found.named(f"{_INTO}{tensor}", f"{_FROM}{tensor}")

    def layers(self) -> LayerTable:
        """Return the innermost modules in the order in which they were made."""
        if self._table is None:
            self._table = _read_layers(self.module, {})
        return self._table

    def differentiable(self, tensor: str) -> Differentiable:
        """Return the module, with the parameters that each of its parts has of its own."""

        def forward(inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
            return self.run(inputs, (tensor,))[0]

        counted: set[int] = set()
        layers: dict[str, list[torch.Tensor]] = {}
        table = self.layers()
        for layer, place in zip(table.layers, table.tensors, strict=True):
            part = self.module.get_submodule(place.removeprefix(LAYER))
            own = [value for value in part.parameters(recurse=False) if id(value) not in counted]
            counted.update(map(id, own))
            layers[layer.name] = list(own)
        return Differentiable(self.module, forward, layers)

    def _call(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        placed = [value for name, value in inputs.items() if name not in self._keywords]
        return self.module(*placed, **{name: value for name, value in inputs.items() if name in self._keywords})


def _activations() -> tuple[type, ...]:
    from torch import nn

    return (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)


def _calls(
    entered: Sequence[tuple[torch.nn.Module, torch.Tensor]], part: torch.nn.Module
) -> list[tuple[torch.nn.Module, torch.Tensor]]:
    return [call for call in entered if call[0] is part]


def _read_layers(module: torch.nn.Module, shapes: Mapping[str, tuple[int | None, ...]]) -> LayerTable:
    layers: list[Layer] = []
    tensors: list[str] = []
    counted: set[int] = set()
    for name, part in module.named_modules():
        own = [value for value in part.parameters(recurse=False) if id(value) not in counted]
        inner = next(part.children(), None) is None
        if not inner and not own:
            continue
        counted.update(map(id, own))
        kind = type(part).__name__
        layers.append(Layer(len(layers), name or kind, kind, shapes.get(name), sum(value.numel() for value in own)))
        tensors.append(f"{LAYER}{name}")
    return LayerTable(tuple(layers), tuple(tensors))
