"""The layers of a network by name and index."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

from pmcore.errors import InputError
from pmcore.interfaces import Layer


@dataclass(frozen=True)
class LayerTable:
    """The layers of a network, and the name by which it gives the output of each."""

    layers: tuple[Layer, ...]
    tensors: tuple[str, ...]

    def tensor(self, wanted: str, path: Path) -> str:
        """Return the tensor of a layer that is given by name or by index, also negative.

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
            near = difflib.get_close_matches(wanted, names, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            listed = f"it has layers 0..{len(names) - 1}, listed by: pmcore inspect" if names else "none can be told"
            raise InputError(f"{path}: has no layer {wanted!r}{hint}; {listed}") from None
