"""What is hung on a module for the length of one call, and taken off again."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pmcore_torch.nesting import leaves

if TYPE_CHECKING:
    import torch

LAYER = "layer:"
"""Begins the names under which the outputs of layers are asked for."""


@contextlib.contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
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
def entered(module: torch.nn.Module, kinds: tuple[type, ...]) -> Iterator[list[tuple[torch.nn.Module, torch.Tensor]]]:
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
def shaped(module: torch.nn.Module, given: torch.Tensor) -> Iterator[dict[str, tuple[int | None, ...]]]:
    """Note the shapes of what modules return during the block, as far as that is one row per record that is given."""
    import torch

    shapes: dict[str, tuple[int | None, ...]] = {}
    names = {part: name for name, part in module.named_modules()}

    def note(part: torch.nn.Module, _: tuple[Any, ...], returned: Any) -> None:
        first = next((value for _, value in leaves(returned) if isinstance(value, torch.Tensor)), None)
        if first is not None and given.ndim > 1 and first.shape[:1] == given.shape[:1]:
            shapes[names[part]] = (None, *first.shape[1:])

    hooks = [part.register_forward_hook(note) for part in names]
    try:
        yield shapes
    finally:
        for hook in hooks:
            hook.remove()


@contextlib.contextmanager
def kept_input(part: torch.nn.Module, name: str, kept: dict[str, torch.Tensor]) -> Iterator[None]:
    def note(_: torch.nn.Module, given: tuple[Any, ...]) -> None:
        kept[name] = given[0]

    hook = part.register_forward_pre_hook(note)
    try:
        yield
    finally:
        hook.remove()


@contextlib.contextmanager
def kept_output(module: torch.nn.Module, name: str, kept: dict[str, torch.Tensor]) -> Iterator[None]:
    """Keep a copy of what a layer returns: what follows may change it in place."""
    import torch

    def note(part: torch.nn.Module, given: tuple[Any, ...], returned: Any) -> None:
        first = next((value for _, value in leaves(returned) if isinstance(value, torch.Tensor)), None)
        if first is not None:
            kept[name] = first.clone()

    hook = module.get_submodule(name.removeprefix(LAYER)).register_forward_hook(note)
    try:
        yield
    finally:
        hook.remove()
