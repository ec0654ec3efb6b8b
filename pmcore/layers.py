"""The layers of a model by name and by index."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pmcore.errors import InputError
from pmcore.interfaces import Layer
from pmcore.quoting import quoted


class LayersUnknown(InputError):
    """A model lists no layers, or none with parameters: nothing that its user named wrongly."""


EVERY = "*"
"""Stands for each layer that has parameters."""
LAST = "last"
"""Stands for the last layer that has parameters."""


def chosen(layers: Sequence[Layer], wanted: Sequence[str]) -> tuple[Layer, ...]:
    """Return layers in the order in which they are wanted, each once.

    Parameters
    ----------
    wanted : names, indices (negative ones from the end), `LAST` or `EVERY`; a name goes before all others

    Raises
    ------
    InputError
        There is no such layer.
    LayersUnknown
        The model lists no layers, or none with parameters where such are wanted.
    """
    found: dict[str, Layer] = {}
    for text in wanted:
        for layer in _chosen(layers, text):
            found[layer.name] = layer
    return tuple(found.values())


def _chosen(layers: Sequence[Layer], text: str) -> Sequence[Layer]:
    named = [layer for layer in layers if layer.name == text]
    if named:
        return named
    trained = [layer for layer in layers if layer.parameters]
    if text in (EVERY, LAST) and trained:
        return trained if text == EVERY else trained[-1:]
    try:
        return [layers[int(text)]]
    except (ValueError, IndexError):
        pass
    if not layers:
        raise LayersUnknown(f"layers: {quoted(text)} - the layers of this model cannot be told")
    if text in (EVERY, LAST):
        raise LayersUnknown(f"layers: {quoted(text)} - no layer of this model has parameters")
    near = difflib.get_close_matches(text, [layer.name for layer in layers], n=1)
    hint = f" (did you mean {quoted(near[0])}?)" if near else ""
    raise InputError(
        f"layers: {quoted(text)} - no such layer{hint}; there are 0..{len(layers) - 1}, listed by: pmcore inspect"
    )


@dataclass(frozen=True)
class LayerTable:
    """The layers of a model, and the name by which its runtime gives the output of each."""

    layers: tuple[Layer, ...] = ()
    tensors: tuple[str, ...] = ()

    def tensor(self, wanted: str, path: Path) -> str:
        """Return the tensor of a layer that is given by its name, its index (also negative) or the tensor itself.

        Raises
        ------
        InputError
            There is no such layer.
        """
        names = [layer.name for layer in self.layers]
        if wanted in names:
            return self.tensors[names.index(wanted)]
        if wanted in self.tensors:
            return wanted
        try:
            return self.tensors[int(wanted)]
        except (ValueError, IndexError):
            pass
        if not names:
            raise InputError(f"{path}: has no layer {quoted(wanted)}; its layers cannot be told, so name none")
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f" (did you mean {quoted(near[0])}?)" if near else ""
        raise InputError(
            f"{path}: has no layer {quoted(wanted)}{hint}; it has layers 0..{len(names) - 1}, listed by: pmcore inspect"
        )
