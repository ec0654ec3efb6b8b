"""Gradients of single records: one backward pass for a chunk of them, or, where that cannot be, one for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

import numpy as np

from pmcore.cotangents import Cotangents
from pmcore.errors import ModelError, OutOfMemory
from pmcore.intake import Intake
from pmcore.interfaces import Array, Floats, GradientRequest
from pmcore.runtime_failures import SEE_RECORDS
from pmcore_tensorflow.device import explained
from pmcore_tensorflow.head import CALLS
from pmcore_tensorflow.parameters import Parameters
from pmcore_tensorflow.reductions import Reductions, reductions
from pmcore_tensorflow.starting import unnoticed
from pmcore_tensorflow.trace import Program, ends, shape_of

VECTORISED = "tf.vectorized_map"
LOOP = "a compiled loop of backward passes"
_BUDGET = 2**28
"""Bytes that the gradients of a chunk, and what is kept to compute them, may have."""
_LARGEST = 2**20
"""Bytes of one gradient up to which a shared pass is the quicker one: more of them together fit no cache."""
_AT_ONCE = 8
"""Backward passes of the loop that may be under way at once."""
_LOOPS = frozenset({"While", "StatelessWhile"})
"""Operations whose gradients TensorFlow cannot vectorise, and takes long to find that out."""
_LOOPED = 4096
"""Records at a time of the loop, which holds the gradient of none for long."""
_PROBE = 2
"""Records on which the vectorised pass is held against the loop."""
_CLOSE = 1e-3
"""How far apart the two may be, relative to the largest number; float16 is not better than that."""


@dataclass(frozen=True)
class Question:
    """What is asked: of which model, and what is kept.

    Parameters
    ----------
    tensor : the predictions, as `program` calls them
    """

    program: Program
    tensor: str
    intake: Intake
    parameters: Parameters
    requests: tuple[GradientRequest, ...]


@dataclass(frozen=True)
class RecordGradients:
    """A compiled function of directions (c, k) and records (c, ...) that gives what `Reductions.compute` gives.

    Parameters
    ----------
    chunk : records at a time
    method : in words
    """

    question: Question
    reductions: Reductions
    function: Any
    chunk: int
    method: str

    def answers(self, feeds: Mapping[str, Array], cotangents: Cotangents) -> dict[GradientRequest, Floats]:
        """Return what `Model.gradients` returns.

        Raises
        ------
        OutOfMemory
            A chunk did not fit.
        ModelError
            TensorFlow failed for another reason.
        """
        found = self.reductions.answers(self.reduced(feeds, cotangents.directions))
        return {request: cotangents.restored(array) for request, array in found.items()}

    def reduced(self, feeds: Mapping[str, Array], directions: Floats) -> list[Array]:
        """Return what the function gives for all records, (n, ...) each."""
        program = self.question.program
        tf = program.tf
        parts = []
        with explained(program.path, "TensorFlow failed", SEE_RECORDS), program.device.computing(tf):
            for start in range(0, len(directions), self.chunk):
                some = slice(start, start + self.chunk)
                arrays = [directions[some], *(feeds[spec.name][some] for spec in program.specs)]
                parts.append([tensor.numpy() for tensor in self.function(*map(tf.constant, arrays))])
        return [np.concatenate(column) for column in zip(*parts, strict=True)]


def compile_gradients(question: Question, feeds: Mapping[str, Array], cotangents: Cotangents) -> RecordGradients:
    """Choose how gradients are taken, and compile it for records of these shapes.

    A chunk of records shares one backward pass where that is quicker, if TensorFlow can vectorise it, and if it gives
    the same as a loop over a few of the records.

    Raises
    ------
    ModelError
        TensorFlow cannot differentiate the model.
    """
    program = question.program
    tf = program.tf
    signature = [tf.TensorSpec((None, cotangents.directions.shape[1]), tf.float64)]
    for spec in program.specs:
        kind = "string" if spec.dtype == "str" else spec.dtype
        signature.append(tf.TensorSpec((None, *feeds[spec.name].shape[1:]), kind))
    kept = reductions(tf, question.parameters, question.requests)
    gradient = _bytes(question.parameters.variables)
    chunk = _BUDGET // max(1, gradient + _bytes(_computed(program)))
    of_record = partial(_of_record, question)

    def looped(*records: Any) -> list[Any]:
        def one(record: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(found[0] for found in kept.compute([gradient[None] for gradient in of_record(*record)]))

        at_once = max(1, min(_AT_ONCE, chunk))
        return list(tf.map_fn(one, records, fn_output_signature=kept.signature, parallel_iterations=at_once))

    def vectorised(*records: Any) -> list[Any]:
        return kept.compute(tf.vectorized_map(lambda record: of_record(*record), records))

    loop = RecordGradients(question, kept, _compiled(question, looped, signature), _LOOPED, LOOP)
    stepwise = any(op.type in _LOOPS for op in program.function.graph.get_operations())
    if gradient > _LARGEST or chunk < _PROBE or stepwise:
        return loop
    try:
        fast = RecordGradients(question, kept, _compiled(question, vectorised, signature), chunk, VECTORISED)
        few = {name: array[:_PROBE] for name, array in feeds.items()}, cotangents.directions[:_PROBE]
        if _unsafe(fast.function.graph) or not _same(fast.reduced(*few), loop.reduced(*few)):
            return loop
    except OutOfMemory:
        raise
    except ModelError:
        return loop
    return fast


def _of_record(question: Question, direction: Any, *arrays: Any) -> list[Any]:
    """Return the gradient of one record, one tensor per variable, within TensorFlow.

    Parameters
    ----------
    direction : (k,) what is propagated back from its predictions
    arrays : its inputs, without a batch axis
    """
    program, batch = question.program, question.intake.batch or 1
    tf = program.tf
    given = arrays if question.intake.single else [tf.repeat(array[None], batch, axis=0) for array in arrays]
    found = ends(tf, program.body, given, program.head.output, program.path)
    scores = found.output if question.tensor == program.head.output else found.before
    rows = direction[None] if batch == 1 else tf.pad(direction[None], [[0, batch - 1], [0, 0]])
    seed = tf.reshape(tf.cast(rows, scores.dtype), tf.shape(scores))
    variables = question.parameters.variables
    gradients = tf.gradients(scores, variables, grad_ys=seed)
    if all(gradient is None for gradient in gradients):
        raise ModelError(f"{program.path}: no weight changes its predictions smoothly; ask for no gradients")
    return [
        tf.zeros(variable.shape, variable.dtype) if gradient is None else tf.convert_to_tensor(gradient)
        for gradient, variable in zip(gradients, variables, strict=True)
    ]


def _computed(program: Program) -> list[Any]:
    """Return the numbers that a model computes on the way to its predictions."""
    tensors = [output for op in program.function.graph.get_operations() for output in op.outputs]
    return [tensor for tensor in tensors if tensor.dtype.is_floating]


def _bytes(tensors: Iterable[Any]) -> int:
    """Return what tensors or variables take for one record."""
    sizes = [(shape_of(tensor) or (), int(tensor.dtype.size)) for tensor in tensors]
    return sum(prod(size or 1 for size in shape) * width for shape, width in sizes)


def _compiled(question: Question, function: Callable[..., list[Any]], signature: Sequence[Any]) -> Any:
    program = question.program
    tf = program.tf
    failing = explained(program.path, "TensorFlow cannot differentiate the model", "ask for no gradients")
    with failing, unnoticed(), program.device.computing(tf):
        compiled = tf.function(function, input_signature=signature, autograph=False, jit_compile=False)
        return compiled.get_concrete_function()


def _unsafe(graph: Any) -> bool:
    """Tell whether a vectorised graph may have a product that oneDNN computes wrongly, writing where it must not.

    TensorFlow 2.21 does so for batches of (n, 1) matrices times one matrix, which is what becomes of a dense layer
    over a sequence: https://github.com/tensorflow/tensorflow/issues/123109. What a called function does is not seen.
    """
    for op in graph.get_operations():
        if op.type in CALLS:
            return True
        if op.type.startswith("BatchMatMul"):
            left, right = (shape_of(tensor) for tensor in op.inputs)
            if left is None or right is None or (left[:-2] != right[:-2] and max(len(left), len(right)) > 3):
                return True
    return False


def _same(found: Sequence[Array], expected: Sequence[Array]) -> bool:
    return all(
        np.allclose(one, other, rtol=0.0, atol=_CLOSE * float(np.nanmax(np.abs(other), initial=0.0)), equal_nan=True)
        for one, other in zip(found, expected, strict=True)
    )
