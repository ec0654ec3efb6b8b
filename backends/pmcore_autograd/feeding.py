"""The inputs of a graph taken by order or by name, and checked against what the file declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pmcore.errors import InputError
from pmcore.interfaces import TensorSpec
from pmcore.quoting import quoted

if TYPE_CHECKING:
    import torch


def fed(
    specs: Sequence[TensorSpec], tensors: Sequence[torch.Tensor], named: Mapping[str, torch.Tensor], where: str
) -> dict[str, torch.Tensor]:
    """Return name -> tensor, whole numbers in the type that the file declares.

    Raises
    ------
    InputError
        An input is missing, unknown or given twice, or has a shape or a type that the file does not take.
    """
    import torch

    names = [spec.name for spec in specs]
    if len(tensors) > len(names):
        raise InputError(f"{where}: takes {len(names)} inputs ({', '.join(names)}), {len(tensors)} are given")
    found = dict(zip(names, tensors, strict=False))
    for name, tensor in named.items():
        if name not in names or name in found:
            reason = "given twice" if name in found else f"not among its inputs: {', '.join(names)}"
            raise InputError(f"{where}: input {quoted(name)} is {reason}")
        found[name] = tensor
    missing = [name for name in names if name not in found]
    if missing:
        raise InputError(f"{where}: input {quoted(missing[0])} is missing; it takes {', '.join(names)}")
    for spec in specs:
        tensor = found[spec.name]
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"{where}: input {quoted(spec.name)} is a {type(tensor).__name__}; give a torch tensor")
        _check_shape(spec, tensor, where)
        found[spec.name] = _typed(spec, tensor, where)
    return found


def _check_shape(spec: TensorSpec, tensor: torch.Tensor, where: str) -> None:
    """Refuse a shape that does not fit; how many records a graph takes at once, it tells itself."""
    if not spec.shape:
        return
    fits = tensor.dim() == len(spec.shape)
    pairs = zip(spec.shape[1:], tensor.shape[1:], strict=False)
    if not fits or any(isinstance(wanted, int) and wanted > 0 and size != wanted for wanted, size in pairs):
        raise InputError(f"{where}: takes {spec}, and the tensor given has the shape {tuple(tensor.shape)}")


def _typed(spec: TensorSpec, tensor: torch.Tensor, where: str) -> torch.Tensor:
    import torch

    if spec.dtype.startswith(("float", "bfloat")):
        return tensor if tensor.is_floating_point() else tensor.float()
    if tensor.is_floating_point():
        raise InputError(f"{where}: input {quoted(spec.name)} takes {spec.dtype}; give whole numbers")
    wanted: torch.dtype = getattr(torch, spec.dtype, tensor.dtype)
    return tensor.to(wanted)
