"""The layers of a model by name and by index."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pmcore.errors import InputError
from pmcore.interfaces import Layer
from pmcore.quoting import quoted


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
