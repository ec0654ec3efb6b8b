"""The linear layer that the predictions of a network leave: found by walking back from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING

from pmcore.last_layer import LastLayer, not_linear
from pmcore_torch.steps import Step, ancestors

if TYPE_CHECKING:
    import torch

REMEDY = "the signal gradient_norm reads any layer"
_SHAPING_WORDS = (
    "view reshape _unsafe_view flatten squeeze unsqueeze view_as clone contiguous alias detach lift_fresh_copy"
)
_SHAPING = frozenset(_SHAPING_WORDS.split())
_CASTS = frozenset({"to", "_to_copy", "type_as", "float", "double", "half"})
_DROPOUTS = frozenset({"dropout", "feature_dropout", "alpha_dropout", "native_dropout"})
_TURNS = _SHAPING | _CASTS | {"t", "permute", "transpose", "numpy_T"}
_LONGEST = 64
_CONVOLUTIONS = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), (4, 5, 6)),
    **dict.fromkeys(("convolution", "_convolution"), (4, 5, 8)),
}
"""Operators -> the places of their padding, dilation and groups."""
PRODUCTS = {
    "linear": (0, 1, 2),
    "addmm": (1, 2, 0),
    "mm": (0, 1, None),
    "matmul": (0, 1, None),
    **dict.fromkeys(_CONVOLUTIONS, (0, 1, 2)),
}
"""Linear operators -> the places of their input, weight and bias."""


@dataclass(frozen=True)
class Found:
    """The last linear layer of a network.

    Parameters
    ----------
    step : the operation that multiplies by the weight
    weight : the parameter
    apart : whether something follows before the predictions
    features, columns : numbers that enter and leave it per record
    bias : whether a parameter is added to its output
    """

    step: Step
    weight: torch.Tensor
    apart: bool
    features: int
    columns: int
    bias: bool

    def named(self, given: str, made: str) -> LastLayer:
        """Return the layer by the names under which a network gives what enters and what leaves it."""
        return LastLayer(given, made if self.apart else None, self.features, self.columns, self.bias)


@dataclass(frozen=True)
class _Linear:
    features: int
    columns: int
    weights: tuple[Step, ...]


def find_last_layer(predictions: Step) -> Found | str:
    """Walk back from the value that is read as predictions to the linear layer that made it.

    Returns
    -------
    Found or str
        What was found, or in one phrase why the layer's gradient has no closed form.
    """
    step = predictions
    passed: list[Step] = []
    while len(passed) < _LONGEST and (before := _passed_by(step)) is not None:
        passed.append(step)
        step = before
    if not step.operator or not step.live or len(passed) == _LONGEST:
        return f"the predictions are no output of a linear layer; {REMEDY}"
    layer = _linear(step)
    for added in reversed(passed):
        if isinstance(layer, _Linear) and _plain(added.operator) in ("add", "sub"):
            layer = _with_bias(layer, added)
    if isinstance(layer, str):
        return layer
    if any(_times_read(source, predictions) > 1 for source in layer.weights):
        return f"the weights of the last linear layer are used elsewhere in the model too; {REMEDY}"
    weight = layer.weights[0].constant
    if weight is None:
        return f"the weight of the last linear layer is no parameter; {REMEDY}"
    return Found(step, weight, bool(passed), layer.features, layer.columns, len(layer.weights) > 1)


def entering(step: Step) -> Step:
    """Return what enters a linear operation."""
    found = step.argument(PRODUCTS[_plain(step.operator)][0])
    return found if isinstance(found, Step) else step


def same_memory(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Tell whether two tensors lie in the same memory, as a parameter and its views do."""
    return one is other or (one.device == other.device and _address(one) == _address(other) != 0)


def _plain(operator: str) -> str:
    """Return the name of an operator without the mark of those that work in place."""
    return operator[:-1] if operator.endswith("_") and not operator.endswith("__") else operator


def _passed_by(step: Step) -> Step | None:
    """Return what an operation passes on with at most a constant added, or None if it does more."""
    kind = _plain(step.operator)
    first = step.argument(0)
    if not isinstance(first, Step):
        return None
    if kind in _SHAPING or (kind in _CASTS and step.floating and first.floating):
        return first
    if kind in _DROPOUTS:
        return first if step.argument(2) is False else None
    if kind == "permute":
        return first if _numbers(step.argument(1))[:1] == [0] else None
    if kind == "transpose":
        rank = len(first.shape) if first.shape is not None else None
        kept = rank is not None and all(step.argument(place) not in (0, -rank) for place in (1, 2))
        return first if kept else None
    second = step.argument(1)
    if kind == "add" and isinstance(second, Step) and second.live and not first.live:
        first, second = second, first
    if not first.live or (isinstance(second, Step) and second.live):
        return None
    if kind in ("add", "sub"):
        return first if step.argument(2, 1) == 1 else None
    return first if kind in ("mul", "div") and _number(second) == 1.0 and step.argument(2) is None else None


def _number(value: object) -> float | None:
    """Return the value of one number, or None for anything else."""
    if isinstance(value, Step):
        own = value.constant
        return float(own) if own is not None and value.floating and own.numel() == 1 else None
    return float(value) if isinstance(value, int | float) else None


def _linear(step: Step) -> _Linear | str:
    """Return the linear layer that an operation is, or why it is none."""
    kind = _plain(step.operator)
    places = PRODUCTS.get(kind)
    if kind in ("mul", "div") and isinstance(step.argument(0), Step) and not _is_live(step.argument(1)):
        return f"the predictions are scaled by a constant that is not 1; {REMEDY}"
    if places is None:
        return not_linear(kind, REMEDY)
    given, weight = step.argument(places[0]), step.argument(places[1])
    if not isinstance(given, Step) or not isinstance(weight, Step):
        return not_linear(kind, REMEDY)
    if weight.live:
        if given.live:
            return f"the predictions come from {kind} of two tensors that both depend on the records; {REMEDY}"
        return f"the weight of the last linear layer stands on the left of its input; {REMEDY}"
    source = _source(weight)
    if source is None or weight.shape is None or not source.trained:
        return f"the weight of the last linear layer is no parameter but computed, quantised or fixed; {REMEDY}"
    layer = _layer(step, kind, tuple(size or 0 for size in weight.shape), source)
    bias = step.argument(places[2]) if places[2] is not None else None
    if isinstance(layer, str) or not isinstance(bias, Step):
        return layer
    return _joined(layer, bias, (None, layer.columns))


def _is_live(value: object) -> bool:
    return isinstance(value, Step) and value.live


def _layer(step: Step, kind: str, shape: Sequence[int], source: Step) -> _Linear | str:
    """Return the layer of a weight of this shape, without its bias."""
    if kind == "linear":
        return _Linear(shape[-1], prod(shape[:-1]), (source,))
    if kind not in _CONVOLUTIONS:
        if len(shape) not in (1, 2):
            return f"the predictions come from {kind} of stacked matrices; {REMEDY}"
        if kind == "addmm" and (step.argument(3, 1), step.argument(4, 1)) != (1, 1):
            return f"the predictions are scaled by a constant that is not 1; {REMEDY}"
        return _Linear(shape[0], prod(shape[1:]), (source,))
    plain = all(size == 1 for size in shape[2:])
    padding, dilation, groups = (step.argument(place) for place in _CONVOLUTIONS[kind])
    transposed = kind in ("convolution", "_convolution") and step.argument(6) is not False
    padded = not plain if padding == "same" else padding != "valid" and any(_numbers(padding))
    spread = not plain and any(factor != 1 for factor in _numbers(dilation))
    if groups != 1 or transposed or padded or spread:
        return f"the predictions come from a convolution with groups, padding or dilation; {REMEDY}"
    return _Linear(prod(shape[1:]), shape[0], (source,))


def _numbers(value: object) -> Sequence[object]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _with_bias(layer: _Linear, step: Step) -> _Linear | str:
    """Return a layer with what is added to its output: its bias, or something that is no parameter."""
    first, second = step.argument(0), step.argument(1)
    data, added = (first, second) if _is_live(first) else (second, first)
    return _joined(layer, added, data.shape) if isinstance(added, Step) else layer


def _joined(layer: _Linear, added: Step, data: Sequence[int | None] | None) -> _Linear | str:
    """Return a layer with a bias, if what is added is one.

    Parameters
    ----------
    data : the shape that it is added to, or None where that is not known
    """
    if added.live:
        return f"what the last linear layer adds depends on the records; {REMEDY}"
    source = _source(added)
    if added.shape is None or source is None:
        return f"the bias of the last linear layer is computed from other tensors; {REMEDY}"
    shape = tuple(size or 0 for size in added.shape)
    if prod(shape) == 1 and (layer.columns > 1 or not shape):
        return layer
    if not _fits(shape, data, layer.columns):
        shown = ",".join(map(str, shape))
        return f"a constant of shape [{shown}] is added, not one number for each of {layer.columns} columns; {REMEDY}"
    return replace(layer, weights=(*layer.weights, source)) if source.trained else layer


def _fits(added: Sequence[int], data: Sequence[int | None] | None, columns: int) -> bool:
    """Tell whether a constant holds one number for each column of a tensor of rows."""
    if prod(added) != columns:
        return False
    place = next((axis - len(added) for axis, size in enumerate(added) if size == columns), -1)
    if data is None:
        return place == -1
    return columns == 1 or (-len(data) + (len(data) > 1) <= place and data[place] == columns)


def _source(step: Step) -> Step | None:
    """Return the tensor of the model that a constant value is, over what only turns it; None for what is computed."""
    for _ in range(_LONGEST):
        if step.constant is not None:
            return step if step.floating else None
        first = step.argument(0)
        if step.operator not in _TURNS or not isinstance(first, Step):
            return None
        step = first
    return None


def _times_read(source: Step, predictions: Step) -> int:
    """Return how often operations on the records read a parameter, among those that the predictions are made of."""
    made = ancestors(predictions)
    derived = {id(step) for step in made if step.constant is not None and _same(step, source)}
    growing = True
    while growing:
        reading = [s for s in made if not s.live and id(s) not in derived and any(id(r) in derived for r in s.sources)]
        derived.update(map(id, reading))
        growing = bool(reading)
    return sum(id(read) in derived for step in made if step.live for read in step.sources)


def _same(step: Step, source: Step) -> bool:
    """Tell whether two constants lie in the same memory."""
    one, other = step.constant, source.constant
    return one is not None and other is not None and same_memory(one, other)


def _address(tensor: torch.Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except Exception:  # kinds of tensors without a storage raise what they like
        return 0
