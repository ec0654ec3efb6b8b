"""The layers of a frozen TorchScript program, and the parameters that its constants were before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pmcore.interfaces import Layer
from pmcore.layers import LayerTable

if TYPE_CHECKING:
    import torch

LAYER = "layer:"
_NO_LAYERS_WORDS = "size dim numel arange zeros ones full warn format device item Int"
_NO_LAYERS = frozenset(_NO_LAYERS_WORDS.split())
_SELF = "self."


def read_layers(graph: Any, module: torch.nn.Module) -> LayerTable:
    """List the operations on the records; a submodule's parameters are counted where they are first used.

    Parameters
    ----------
    graph : frozen
    module : as it was before
    """
    parameters = dict(module.named_parameters())
    left = _counts(parameters)
    owners = frozenset(left)
    live = {value.debugName() for value in list(graph.inputs())[1:]}
    layers: list[Layer] = []
    tensors: list[str] = []
    names: dict[str, int] = {}
    for place, node in enumerate(graph.nodes()):
        sources = list(_read_by(node))
        kind = node.kind().partition("::")[2]
        if live.isdisjoint(source.debugName() for source in sources) and kind != "If":
            continue
        outputs = list(node.outputs())
        live.update(value.debugName() for value in outputs)
        inner = node.kind().startswith("prim::") and kind not in ("If", "TupleUnpack", "Loop")
        if inner or kind in _NO_LAYERS or not outputs or outputs[0].type().kind() != "TensorType":
            continue
        name = next((owner for source in sources for owner in _owners(source, parameters) if owner in owners), kind)
        names[name] = names.get(name, -1) + 1
        unique = f"{name}_{names[name]}" if names[name] else name
        layers.append(Layer(len(layers), unique, kind, None, left.pop(name, 0)))
        tensors.append(f"{LAYER}{place}")
    return LayerTable(tuple(layers), tuple(tensors))


def folded(name: str, held: torch.Tensor, parameters: Mapping[str, torch.Tensor]) -> str | None:
    """Return the parameter that a constant of a frozen program was, or None.

    Parameters
    ----------
    name : the constant's own, "self.block.conv.weight" where freezing kept it
    held : its value
    parameters : those of the module, before it was frozen, by name
    """
    own = name.removeprefix(_SELF)
    if own in parameters:
        return own
    if not held.ndim:
        return None
    return next((known for known, parameter in parameters.items() if _is_turned(held, parameter)), None)


def _is_turned(held: torch.Tensor, parameter: torch.Tensor) -> bool:
    """Tell whether a constant is a parameter, or its transpose."""
    import torch

    if held.numel() != parameter.numel() or held.dtype != parameter.dtype or held.ndim != parameter.ndim:
        return False
    return torch.equal(held, parameter) or (held.ndim == 2 and torch.equal(held, parameter.t()))


def _counts(parameters: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Return the number of parameters that each submodule has of its own."""
    counts: dict[str, int] = {}
    for name, parameter in parameters.items():
        owner = name.rpartition(".")[0]
        counts[owner] = counts.get(owner, 0) + parameter.numel()
    return counts


def _read_by(node: Any) -> Iterator[Any]:
    """Yield the values that a node reads, those in lists too."""
    for value in node.inputs():
        yield value
        if value.node().kind() == "prim::ListConstruct":
            yield from value.node().inputs()


def _owners(value: Any, parameters: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """Yield "block.conv" for a constant that was "self.block.conv.weight" before freezing, or a list of such."""
    import torch

    if value.node().kind() != "prim::Constant":
        return
    name = value.debugName()
    if name.startswith(_SELF):
        yield name.removeprefix(_SELF).rpartition(".")[0]
    elif "Tensor" in str(value.type()):
        held = value.toIValue()
        for part in held if isinstance(held, list) else [held]:
            known = folded(name, part, parameters) if isinstance(part, torch.Tensor) else None
            if known is not None:
                yield known.rpartition(".")[0]
