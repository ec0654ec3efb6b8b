"""What a module takes, as far as its signature and its first layer tell, and in which precision it computes."""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pmcore.errors import InputError
from pmcore.interfaces import TensorSpec

if TYPE_CHECKING:
    import torch

_INTEGERS = re.compile(r"(?:_|\b)(?:ids?|mask|tokens?|indices|index|positions?)$")
_SHARE = 0.01
"""Share of the weights from which a second precision is worth mentioning."""


@dataclass(frozen=True)
class Taken:
    """What a module is fed, and which of it by name."""

    specs: tuple[TensorSpec, ...]
    keywords: frozenset[str]


def module_inputs(module: torch.nn.Module, chosen: Sequence[str], title: Path) -> Taken:
    """Return the inputs of a module: those named, else the parameters of `forward` without a default, else its first.

    Raises
    ------
    InputError
        `forward` takes no parameters, or none of a name that was chosen.
    """
    parameters = _parameters(module)
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if chosen:
        every = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        open_end = any(p.kind is p.VAR_KEYWORD for p in parameters)
        for name in chosen:
            if name not in every and not open_end:
                near = difflib.get_close_matches(name, every, n=1)
                hint = f" (did you mean {near[0]!r}?)" if near else ""
                raise InputError(
                    f"{title}: its forward takes no {name!r}{hint}; it takes {', '.join(every) or 'nothing'}"
                )
        names = tuple(chosen)
        keywords = frozenset(names) if list(names) != positional[: len(names)] else frozenset[str]()
    else:
        required = [p.name for p in parameters if p.default is p.empty and p.kind in _FED]
        if not required and not positional and not any(p.kind is p.VAR_POSITIONAL for p in parameters):
            raise InputError(f"{title}: its forward takes no inputs, so it cannot be asked about records")
        names = tuple(required) or tuple(positional[:1]) or ("x",)
        keywords = frozenset(p.name for p in parameters if p.name in names and p.kind is p.KEYWORD_ONLY)
    floats = float_type(module)
    shape = first_shape(module) if len(names) == 1 else ()
    specs = tuple(
        TensorSpec(name, shape, "int64" if _takes_indices(module, name, len(names)) else floats) for name in names
    )
    return Taken(specs, keywords)


_FED = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.KEYWORD_ONLY,
)


def first_shape(module: torch.nn.Module) -> tuple[int | str | None, ...]:
    """Return the shape of a batch where a plain sequence of layers tells it by its first layer, else ()."""
    from torch import nn

    while isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward and len(module):
        module = module[0]
    if type(module) is nn.Linear:
        return ("batch", module.in_features)
    convolutions: dict[type, int] = {nn.Conv1d: 1, nn.Conv2d: 2, nn.Conv3d: 3}
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and type(module) in convolutions:
        return ("batch", module.in_channels, *[None] * convolutions[type(module)])
    return ()


def float_type(module: torch.nn.Module) -> str:
    """Return the type of a module's first floating-point parameter, "float32" where it has none."""
    kinds = (value.dtype for value in module.parameters() if value.is_floating_point())
    return str(next(kinds, "float32")).removeprefix("torch.")


def precision_of(module: torch.nn.Module) -> str:
    """Return the precision that a module's weights are kept in, such as "float16", "int8" or a mixture."""
    counts: dict[str, int] = {}
    for value in module.parameters():
        if value.is_floating_point():
            kind = str(value.dtype).removeprefix("torch.")
            counts[kind] = counts.get(kind, 0) + value.numel()
    if any(".quantized." in f"{type(part).__module__}." or _is_packed(part) for part in module.modules()):
        counts["int8"] = sum(counts.values()) + 1
    total = sum(counts.values())
    kinds = sorted((kind for kind, count in counts.items() if count >= _SHARE * total), key=lambda kind: -counts[kind])
    if len(kinds) > 1:
        return f"mixed ({', '.join(kinds)})"
    return kinds[0] if kinds else "float32"


def _parameters(module: torch.nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return [inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)]


def _takes_indices(module: torch.nn.Module, name: str, inputs: int) -> bool:
    """Tell whether an input is looked up in a table: by its name, or because a table is a module's first layer."""
    from torch import nn

    if _INTEGERS.search(name):
        return True
    own: Any = next((part for part in module.modules() if next(part.parameters(recurse=False), None) is not None), None)
    return inputs == 1 and isinstance(own, nn.Embedding | nn.EmbeddingBag)


def _is_packed(part: torch.nn.Module) -> bool:
    """Tell whether a TorchScript module was made from a quantized layer."""
    return "quantized" in str(getattr(part, "original_name", "")).lower() or hasattr(part, "_packed_params")
