"""What signals want of a model, put into the words that the model understands: layers by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

from pmcore.errors import InputError
from pmcore.interfaces import Array, GradientRequest, Layer, Model, Outputs, Signal, Want
from pmcore.layers import chosen
from pmcore.quoting import quoted


@dataclass(frozen=True)
class Wish:
    """What a model is asked, and how its answers are handed back to the signals.

    Parameters
    ----------
    want : as the model is asked; layers by name
    activations : layer as a signal calls it -> its name
    gradients : request as a signal makes it -> as the model is asked
    """

    want: Want
    activations: Mapping[str, str]
    gradients: Mapping[GradientRequest, GradientRequest]

    def answers(self, outputs: Outputs) -> Outputs:
        """Return a model's answers under the names by which signals asked for them."""
        if not (self.activations or self.gradients):
            return outputs
        activations: dict[str, Array] = {text: outputs.activations[name] for text, name in self.activations.items()}
        gradients = {asked: outputs.gradients[request] for asked, request in self.gradients.items()}
        return replace(outputs, activations=activations, gradients=gradients)


def wish_of(signals: Iterable[Signal], model: Model) -> Wish:
    """Return everything that signals want, in one wish, the predictions always among it.

    Raises
    ------
    InputError
        The model has no such layer.
    """
    want = reduce(or_, (signal.want for signal in signals), Want(predictions=True))
    if not (want.activations or want.gradients):
        return Wish(want, {}, {})
    layers = model.layers()
    activations = {text: _one(layers, text) for text in sorted(want.activations)}
    gradients = {request: _named(layers, request) for request in want.gradients}
    asked = replace(want, activations=frozenset(activations.values()), gradients=frozenset(gradients.values()))
    return Wish(asked, activations, gradients)


def _one(layers: Sequence[Layer], text: str) -> str:
    found = chosen(layers, (text,))
    if len(found) != 1:
        raise InputError(f"layers: {quoted(text)} - stands for {len(found)} layers; name one at a time")
    return found[0].name


def _named(layers: Sequence[Layer], request: GradientRequest) -> GradientRequest:
    found = chosen(layers, request.layers)
    bare = next((layer for layer in found if not layer.parameters), None)
    if bare is not None:
        near = [str(layer.index) for layer in layers if layer.parameters]
        raise InputError(
            f"layers: {quoted(bare.name)} - has no parameters, so there is no gradient of it; those with some are "
            f"{', '.join(near[:20])}{', …' if len(near) > 20 else ''}"
        )
    return replace(request, layers=tuple(layer.name for layer in found))
