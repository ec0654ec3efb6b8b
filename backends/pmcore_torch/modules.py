"""Modules in memory as networks: asked in evaluation mode, hooked while they are asked, left as they were."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pmcore.errors import ModelError
from pmcore.heads import Ending, Head
from pmcore.interfaces import Layer
from pmcore.layers import LayerTable
from pmcore_torch.nesting import leaves
from pmcore_torch.watching import watching

if TYPE_CHECKING:
    import torch

_BEFORE = "before the activation of "
_LAYER = "layer:"


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

        with _evaluating(self.module), watching() as sight, _entered(self.module, _activations()) as entered:
            returned = {name: value for name, value in leaves(self._call(inputs)) if isinstance(value, torch.Tensor)}
        floats = {name: value for name, value in returned.items() if value.is_floating_point()}
        self._names = {
            name: (None, *value.shape[1:]) if value.ndim else () for name, value in (floats or returned).items()
        }
        self._endings, self._activations = {}, {}
        for name, value in returned.items():
            found = sight.ending_of(value)
            if found is not None:
                self._endings[name] = found.ending
                owners = [part for part, given in entered if given is found.before]
                if owners and len(_calls(entered, owners[-1])) == 1:
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
        kept: dict[str, torch.Tensor] = {}
        with contextlib.ExitStack() as stack:
            stack.enter_context(_evaluating(self.module))
            for name in wanted:
                if name.startswith(_LAYER):
                    stack.enter_context(_kept_output(self.module, name, kept))
            for name in before:
                if name in self._activations:
                    stack.enter_context(_kept_input(self._activations[name], f"{_BEFORE}{name}", kept))
            sight = stack.enter_context(watching()) if functional else None
            named = dict(leaves(self._call(inputs)))
        for name in functional:
            found = sight.ending_of(named[name]) if sight is not None else None
            if found is None:
                raise ModelError(f"output {name!r} came from no activation this time, as it did before")
            kept[f"{_BEFORE}{name}"] = found.before
        missing = [name for name in wanted if name not in kept and name not in named]
        if missing:
            raise ModelError(f"{missing[0].removeprefix(_LAYER)!r} was not computed for these records")
        return [kept[name] if name in kept else named[name] for name in wanted]

    def layers(self) -> LayerTable:
        """Return the innermost modules in the order in which they were made."""
        if self._table is None:
            self._table = _read_layers(self.module)
        return self._table

    def _call(self, inputs: Mapping[str, torch.Tensor]) -> Any:
        placed = [value for name, value in inputs.items() if name not in self._keywords]
        return self.module(*placed, **{name: value for name, value in inputs.items() if name in self._keywords})


@contextlib.contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Switch training flags off for the block, without calling anything that a module may make of `train`."""
    trained = [part for part in module.modules() if part.training]
    for part in trained:
        part.training = False
    try:
        yield
    finally:
        for part in trained:
            part.training = True


@contextlib.contextmanager
def _entered(module: torch.nn.Module, kinds: tuple[type, ...]) -> Iterator[list[tuple[torch.nn.Module, torch.Tensor]]]:
    """Note what enters modules of these kinds during the block."""
    seen: list[tuple[torch.nn.Module, torch.Tensor]] = []

    def note(part: torch.nn.Module, given: tuple[Any, ...]) -> None:
        if given:
            seen.append((part, given[0]))

    hooks = [part.register_forward_pre_hook(note) for part in module.modules() if type(part) in kinds]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def _kept_input(part: torch.nn.Module, name: str, kept: dict[str, torch.Tensor]) -> Iterator[None]:
    def note(_: torch.nn.Module, given: tuple[Any, ...]) -> None:
        kept[name] = given[0]

    hook = part.register_forward_pre_hook(note)
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def _kept_output(module: torch.nn.Module, name: str, kept: dict[str, torch.Tensor]) -> Iterator[None]:
    """Keep a copy of what a layer returns: what follows may change it in place."""
    import torch

    def note(part: torch.nn.Module, given: tuple[Any, ...], returned: Any) -> None:
        first = next((value for _, value in leaves(returned) if isinstance(value, torch.Tensor)), None)
        if first is not None:
            kept[name] = first.clone()

    hook = module.get_submodule(name.removeprefix(_LAYER)).register_forward_hook(note)
    try:
        yield
    finally:
        hook.remove()


def _activations() -> tuple[type, ...]:
    from torch import nn

    return (nn.Softmax, nn.LogSoftmax, nn.Sigmoid)


def _calls(
    entered: Sequence[tuple[torch.nn.Module, torch.Tensor]], part: torch.nn.Module
) -> list[tuple[torch.nn.Module, torch.Tensor]]:
    return [call for call in entered if call[0] is part]


def _read_layers(module: torch.nn.Module) -> LayerTable:
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
        layers.append(Layer(len(layers), name or kind, kind, None, sum(value.numel() for value in own)))
        tensors.append(f"{_LAYER}{name}")
    return LayerTable(tuple(layers), tuple(tensors))
