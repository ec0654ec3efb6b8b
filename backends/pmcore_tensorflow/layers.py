"""The layers of a Keras network, those of networks within it too, and how to have what they compute."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from pmcore.errors import InputError
from pmcore.interfaces import Layer
from pmcore.layers import LayerTable
from pmcore.quoting import quoted


@dataclass(frozen=True)
class Tap:
    """Where a layer's output stands: behind the calls of networks within networks, then a tensor of the last."""

    calls: tuple[Any, ...]
    tensor: Any


@dataclass(frozen=True)
class KerasLayers:
    """The layers of a model, by name where the output of each stands, and the parameters that it is first to use."""

    table: LayerTable = field(default_factory=LayerTable)
    taps: Mapping[str, Tap] = field(default_factory=dict)
    variables: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def tap(self, wanted: str, path: Path) -> Tap:
        """Return where the output of a layer stands that is given by index (also negative) or by name.

        Raises
        ------
        InputError
            There is no such layer.
        """
        if not self.taps:
            raise InputError(
                f"{path}: has no layers that can be read (layer {quoted(wanted)} was asked for); "
                "give a functional or sequential Keras model"
            )
        return self.taps[self.table.tensor(wanted, path)]


def network_of(model: Any) -> Any:
    """Return the functional network of a functional or sequential Keras model, or None for any other."""
    network = getattr(model, "_functional", model)
    return network if hasattr(network, "_nodes_by_depth") else None


def read_layers(model: Any) -> KerasLayers:
    """List the layers and operations of a functional or sequential model in order of computation.

    A parameter is an element of a variable that training changes, or would if nothing were frozen; a shared one is
    counted where it is first used. Running means and variances are none. What a layer does inside is not listed,
    networks excepted.
    """
    network = network_of(model)
    if network is None:
        return KerasLayers()
    found = list(_walk(network, (), "", set()))
    names = _distinct([one.name for one in found])
    layers = tuple(
        Layer(
            index,
            name,
            type(one.operation).__name__,
            tuple(one.tap.tensor.shape),
            sum(prod(variable.shape) for variable in one.variables),
        )
        for index, (name, one) in enumerate(zip(names, found, strict=True))
    )
    taps = dict(zip(names, (one.tap for one in found), strict=True))
    variables = dict(zip(names, (one.variables for one in found), strict=True))
    return KerasLayers(LayerTable(layers, tuple(names)), taps, variables)


def variables_of(operation: Any, seen: set[int]) -> tuple[Any, ...]:
    """Return the parameters of a layer or a model, those of frozen parts too, without those that were seen before."""
    found = []
    parts = operation._flatten_layers() if hasattr(operation, "_flatten_layers") else ()
    for variable in (variable for part in parts for variable in part._trainable_variables):
        if id(variable) not in seen:
            seen.add(id(variable))
            found.append(variable)
    return tuple(found)


def tapped(keras: Any, model: Any, inputs: Any, taps: Mapping[str, Tap]) -> dict[str, Any]:
    """Return the model's output under the name "", and what layers compute from symbolic inputs, by name.

    The model is called through a second network over the same layers: it is not changed.
    """
    network = network_of(model)
    direct = {name: tap.tensor for name, tap in taps.items() if not tap.calls}
    nested: dict[int, _Nested] = {}
    for name, tap in taps.items():
        if tap.calls:
            call, *inner = tap.calls
            nested.setdefault(id(call), _Nested(call)).taps[name] = Tap(tuple(inner), tap.tensor)
    entries = {f"{index}": list(one.call.input_tensors) for index, one in enumerate(nested.values())}
    second = keras.Model(
        network.input, {"output": network.output, "direct": direct, "nested": entries}, name="pmcore_layers"
    )
    answer = second(inputs, training=False)
    found = {"": answer["output"], **answer.get("direct", {})}
    for index, one in enumerate(nested.values()):
        operation = one.call.operation
        values = answer["nested"][f"{index}"]
        packed = keras.tree.pack_sequence_as(network_of(operation).input, list(values))
        inside = tapped(keras, operation, packed, one.taps)
        found |= {name: inside[name] for name in one.taps}
    return found


@dataclass
class _Nested:
    call: Any
    taps: dict[str, Tap] = field(default_factory=dict)


@dataclass(frozen=True)
class _Found:
    name: str
    operation: Any
    tap: Tap
    variables: tuple[Any, ...]


def _walk(network: Any, calls: tuple[Any, ...], prefix: str, seen: set[int]) -> Iterator[_Found]:
    for depth in sorted(network._nodes_by_depth, reverse=True):
        for node in network._nodes_by_depth[depth]:
            operation = node.operation
            if node.is_input:
                continue
            inner = network_of(operation)
            if inner is not None and len(inner.inputs) == len(node.input_tensors):
                yield from _walk(inner, (*calls, node), f"{prefix}{operation.name}/", seen)
            else:
                tap = Tap(calls, node.output_tensors[0])
                yield _Found(f"{prefix}{operation.name}", operation, tap, variables_of(operation, seen))


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names with a number after those that came before: a layer may be called more than once."""
    seen: dict[str, int] = {}
    result = []
    for name in names:
        seen[name] = seen.get(name, -1) + 1
        result.append(f"{name}#{seen[name]}" if seen[name] else name)
    return result
