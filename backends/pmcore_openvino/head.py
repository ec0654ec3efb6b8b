"""Which tensor holds the predictions, and which one comes before the activation that ends the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pmcore.choosing import Candidate, choose_output, label_note, labels_alone, no_scores, no_such_output
from pmcore.heads import Ending, Head
from pmcore_openvino.graph import Graph, Tensor

_PASS = frozenset({"Convert", "Reshape", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
_LABEL_PASS = _PASS | {"Gather"}
_SIMPLE = {
    "Softmax": Ending.SOFTMAX,
    "LogSoftmax": Ending.LOG_SOFTMAX,
    "Sigmoid": Ending.SIGMOID,
}


def find_head(graph: Graph, wanted: str | None, path: Path) -> Head:
    """Choose the output that holds the predictions and look behind it.

    Parameters
    ----------
    wanted : the name of the output, or None to choose: a row of floats per record first, and among these one
        called logits, then one that ends in an activation; then labels behind which scores are found
    path : the model's file, for messages

    Raises
    ------
    InputError
        The model has no output of the name that is wanted.
    ModelError
        The model returns labels alone.
    """
    if wanted is not None:
        return _named(graph, wanted, path)
    candidates = [_candidate(graph, output) for output in graph.outputs if output.is_real]
    if candidates:
        choice = choose_output(candidates)
        head = trace(graph, graph.tensors[choice.name])
        return replace(head, notes=(*head.notes, *choice.notes))
    for output in graph.outputs:
        behind = _behind(graph, output)
        if behind is not None:
            return behind
    raise labels_alone([output.name for output in graph.outputs], path)


def trace(graph: Graph, output: Tensor) -> Head:
    """Walk back from a tensor to the activation that made it."""
    made = graph.origin(output, _PASS)
    kind = made.kind
    if kind in _SIMPLE:
        return Head(output.name, graph.read_by(made).name, _SIMPLE[kind])
    if kind == "Exp" and _is_log_probability(graph, graph.read_by(made)):
        return Head(output.name, graph.read_by(made).name, Ending.SOFTMAX)
    if kind == "Divide" and (exponent := _decomposed_softmax(graph, made)) is not None:
        return Head(output.name, exponent.name, Ending.SOFTMAX)
    if kind == "Concat" and (score := _one_sigmoid(graph, made)) is not None:
        return Head(output.name, score.name, Ending.COMPLEMENT)
    return Head(output.name)


def _named(graph: Graph, wanted: str, path: Path) -> Head:
    found = next((output for output in graph.outputs if wanted in output.aliases), None)
    if found is None:
        raise no_such_output(wanted, [output.name for output in graph.outputs], path)
    head = _behind(graph, found)
    if head is None:
        raise no_scores(wanted, path)
    return head


def _decomposed_softmax(graph: Graph, made: Tensor) -> Tensor | None:
    """Return x if a Divide is exp(x) / sum(exp(x))."""
    top, bottom = (graph.origin(graph.read_by(made, side), _PASS) for side in (0, 1))
    if (top.kind, bottom.kind) != ("Exp", "ReduceSum"):
        return None
    summed = graph.origin(graph.read_by(bottom), _PASS)
    return graph.read_by(top) if summed.name == top.name else None


def _one_sigmoid(graph: Graph, made: Tensor) -> Tensor | None:
    """Return x if a Concat is (1 - sigmoid(x), sigmoid(x))."""
    if made.node.get_input_size() != 2:
        return None
    minus, sigmoid = (graph.origin(graph.read_by(made, side), _PASS) for side in (0, 1))
    if (minus.kind, sigmoid.kind) != ("Subtract", "Sigmoid"):
        return None
    taken = graph.origin(graph.read_by(minus, 1), _PASS)
    return graph.read_by(sigmoid) if taken.name == sigmoid.name else None


def _is_log_probability(graph: Graph, tensor: Tensor) -> bool:
    """Tell whether a tensor is LogSoftmax, or x - logsumexp(x) as naive Bayes exports write it."""
    if tensor.kind == "LogSoftmax":
        return True
    if tensor.kind != "Subtract":
        return False
    return graph.origin(graph.read_by(tensor, 1), _PASS).kind in ("ReduceLogSumExp", "Log", "Add")


def _behind(graph: Graph, output: Tensor) -> Head | None:
    """Return the head of an output of any type: of labels, that of the scores that they were chosen by."""
    if output.is_real:
        return trace(graph, output)
    chosen = graph.origin(output, _LABEL_PASS)
    if chosen.kind == "Gather":
        chosen = graph.origin(graph.read_by(chosen, 1), _LABEL_PASS)
    if chosen.kind != "TopK":
        return None
    head = trace(graph, graph.read_by(chosen))
    return replace(head, notes=(*head.notes, label_note(output.name)))


def _candidate(graph: Graph, output: Tensor) -> Candidate:
    ended = trace(graph, output).ending is not Ending.NONE
    return Candidate(output.name, output.shape or (), ended, output.aliases)
