"""A model as one tf.function, traced once: from named arrays to the tensors that are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pmcore.errors import ModelError
from pmcore.heads import Head
from pmcore.intake import Shape, refuse_misfit
from pmcore.interfaces import Array, TensorSpec
from pmcore.runtime_failures import SEE_RECORDS
from pmcore_tensorflow.device import Device, explained
from pmcore_tensorflow.head import Origin, Output, choose, origin_of
from pmcore_tensorflow.inlining import inlined
from pmcore_tensorflow.linear import LastLayer, linear_layer
from pmcore_tensorflow.starting import unnoticed

_NUMPY: Mapping[str, str] = {"string": "str", "bfloat16": "float32"}
"""Types of TensorFlow that arrays carry under another name or in another type."""
_CALLS = re.compile(r"^(?:(?:Stateful)?PartitionedCall(?:_\d+)?/)+")
"""What inlining puts before the name of a tensor."""
_ENTERING = "what enters the last layer"
_CARRIED = frozenset({"str", "bool", "float16", "float32", "float64"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}


@dataclass(frozen=True)
class Answer:
    """What a model computes from symbolic tensors: its outputs by name, and the layers that were asked for."""

    outputs: Mapping[str, Any]
    layers: Mapping[str, Any] = field(default_factory=dict)


Body = Callable[[Sequence[Any]], Answer]
"""Computes with symbolic tensors, one per input, in the order of the inputs."""


@dataclass(frozen=True)
class Program:
    """A traced function of a model; it answers for the tensors that its trace returns.

    Parameters
    ----------
    head : how the model ends; `before` is given only if the tensor was found
    specs : the inputs, batch axis first where there is one
    shapes : the tensors that can be had, with the shapes that TensorFlow infers
    body : what was traced
    last : the linear layer at the end, before its activation if it has one; None if there is none
    outer : the same model as it stands, where this program was made by looking into its functions
    """

    tf: Any
    function: Any
    body: Body
    head: Head
    specs: tuple[TensorSpec, ...]
    shapes: Mapping[str, Shape]
    device: Device
    path: Path
    last: LastLayer | None = None
    outer: Program | None = None

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        """Return the named tensors for one batch.

        Raises
        ------
        OutOfMemory
            The batch did not fit.
        ModelError
            TensorFlow failed for another reason, or the records have another shape than the model takes.
        """
        for spec in self.specs:
            if spec.shape:
                refuse_misfit(spec.name, spec.shape, feeds[spec.name].shape, self.path)
        arrays = [feeds[spec.name] for spec in self.specs]
        with (
            explained(self.path, "TensorFlow failed", SEE_RECORDS),
            self.device.computing(self.tf),
        ):
            answers = dict(zip(self.shapes, self.function(*map(self.tf.constant, arrays)), strict=True))
            return [answers[name].numpy() for name in outputs]


def trace(tf: Any, body: Body, specs: Sequence[TensorSpec], wanted: str | None, device: Device, path: Path) -> Program:
    """Trace a model as one tf.function, and look behind the output that holds the predictions.

    Where the output comes out of a function of its own, as it does in a SavedModel, that function is inlined
    and looked into.

    Parameters
    ----------
    wanted : the name of the output that holds the predictions, or None to choose

    Raises
    ------
    ModelError
        TensorFlow does not take the model.
    """
    program, inside = _traced(tf, body, specs, wanted, device, path)
    if not inside:
        return program
    flat = inlined(tf, program.function)
    if flat is None:
        return program
    names = tuple(program.shapes)

    def body_of_graph(inputs: Sequence[Any]) -> Answer:
        found = dict(zip(names, flat(inputs), strict=True))
        output = {program.head.output: found.pop(program.head.output)}
        return Answer(output, found)

    try:
        opened, _ = _traced(tf, body_of_graph, specs, program.head.output, device, path)
    except ModelError:
        return program
    if opened.head.before is None and opened.last is None:
        return program
    head = replace(opened.head, notes=program.head.notes)
    return replace(opened, head=head, outer=program)


@dataclass(frozen=True)
class Ends:
    """How a model ends, in the tensors that it makes of symbolic inputs.

    Parameters
    ----------
    output : the predictions as the model returns them
    before : the tensor before their activation, or None
    inside : whether the predictions come out of a function, so that only an inlined graph shows more
    """

    head: Head
    output: Any
    before: Any
    inside: bool
    layers: Mapping[str, Any]


def ends(tf: Any, body: Body, inputs: Sequence[Any], wanted: str | None, path: Path) -> Ends:
    """Compute with symbolic inputs and tell how the model ends; `wanted` as for `trace`."""
    answer = body(inputs)
    outputs = {name: tf.convert_to_tensor(tensor) for name, tensor in answer.outputs.items()}
    origins = {name: origin_of(tensor) for name, tensor in outputs.items()}
    head = choose([_described(name, outputs[name], origins[name]) for name in outputs], wanted, path)
    origin = origins[head.output]
    if origin.before is not None:
        name = _CALLS.sub("", origin.before.name.partition(":")[0])
        head = replace(head, before=name if name != head.output else f"{name} before {origin.ending}")
    return Ends(head, outputs[head.output], origin.before, origin.inside, answer.layers)


@dataclass
class _Seen:
    """What a trace found out."""

    ends: Ends | None = None
    names: tuple[str, ...] = ()
    last: LastLayer | None = None


def _traced(
    tf: Any, body: Body, specs: Sequence[TensorSpec], wanted: str | None, device: Device, path: Path
) -> tuple[Program, bool]:
    seen = _Seen()

    def asked(*inputs: Any) -> list[Any]:
        found = ends(tf, body, inputs, wanted, path)
        tensors = {} if found.before is None else {str(found.head.before): found.before}
        tensors[found.head.output] = found.output
        tensors |= found.layers
        linear = linear_layer(found.output if found.before is None else found.before)
        if linear is not None:
            seen.last = LastLayer(_ENTERING, linear.bias)
            tensors[_ENTERING] = linear.entering
        seen.ends, seen.names = found, tuple(tensors)
        return [_carried(tf, tensor) for tensor in tensors.values()]

    signature = [tf.TensorSpec(_open_shape(spec), "string" if spec.dtype == "str" else spec.dtype) for spec in specs]
    remedy = "save it again with this version of TensorFlow and Keras, or name what it needs"
    with explained(path, "TensorFlow does not take the model", remedy), unnoticed(), device.computing(tf):
        function = tf.function(asked, input_signature=signature, autograph=False, jit_compile=False)
        concrete = function.get_concrete_function()
    assert seen.ends is not None
    shapes = {name: shape_of(tensor) or () for name, tensor in zip(seen.names, concrete.outputs, strict=True)}
    program = Program(tf, concrete, body, seen.ends.head, tuple(specs), shapes, device, path, seen.last)
    return program, seen.ends.inside


def shape_of(tensor: Any) -> tuple[int | None, ...] | None:
    """Return the shape of a symbolic tensor or a specification, or None if not even its rank is known."""
    if tensor.shape.rank is None:
        return None
    return tuple(tensor.shape.as_list())


def array_type(dtype: Any, name: str, path: Path) -> str:
    """Return the type of the arrays that an input takes.

    Raises
    ------
    ModelError
        Arrays cannot carry it.
    """
    kind = _NUMPY.get(str(dtype), str(dtype))
    if kind not in _CARRIED:
        raise ModelError(
            f"{path}: input {name!r} is of type {kind}, which arrays cannot carry; save the model with float32 inputs"
        )
    return kind


def _described(name: str, tensor: Any, origin: Origin) -> Output:
    return Output(name, shape_of(tensor), tensor.dtype.is_floating, origin.ending)


def _carried(tf: Any, tensor: Any) -> Any:
    """Return a tensor in a type that arrays have, and which holds all of its numbers."""
    return tf.cast(tensor, tf.float32) if tensor.dtype == tf.bfloat16 else tf.identity(tensor)


def _open_shape(spec: TensorSpec) -> list[int | None] | None:
    return [size if isinstance(size, int) else None for size in spec.shape] if spec.shape else None
