"""Which tensor holds the predictions, and which one comes before the activation that ends the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pmcore.choosing import Candidate, choose_output, label_note, labels_alone, no_scores, no_such_output
from pmcore.heads import Ending, Head
from pmcore_onnx.graph import Graph, attribute
from pmcore_onnx.layers import shape_of

if TYPE_CHECKING:
    from onnx import NodeProto, ValueInfoProto

_PASS = frozenset(
    {"Identity", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Dropout", "Normalizer"}
)
_LABEL_PASS = _PASS | {"ArrayFeatureExtractor", "Gather"}
_REGRESSORS = frozenset({"LinearRegressor", "TreeEnsembleRegressor", "SVMRegressor"})
_CLASSIFIERS = frozenset({"LinearClassifier", "TreeEnsembleClassifier"})
_FLOATS = frozenset({1, 10, 11, 16})


@dataclass(frozen=True)
class GraphHead(Head):
    """The head of an ONNX graph.

    Parameters
    ----------
    raw : the classifier output whose untransformed scores `before` is to name: that tensor must be made
    """

    raw: str | None = None


def find_head(graph: Graph, wanted: str | None, path: Path) -> GraphHead:
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
    outputs = list(graph.model.graph.output)
    names = [value.name for value in outputs]
    if wanted is not None:
        if wanted not in names:
            raise no_such_output(wanted, names, path)
        head = _behind(graph, outputs[names.index(wanted)])
        if head is None:
            raise no_scores(wanted, path)
        return head
    candidates = [_candidate(graph, value) for value in outputs if _is_float(graph, value)]
    if candidates:
        choice = choose_output(candidates)
        head = trace(graph, choice.name)
        return replace(head, notes=(*head.notes, *choice.notes))
    for value in outputs:
        head = _behind(graph, value)
        if head is not None:
            return head
    raise labels_alone(names, path)


def trace(graph: Graph, output: str) -> GraphHead:
    """Walk back from a tensor to the activation that made it."""
    node = graph.producers.get(output)
    if node is not None and node.op_type == "ZipMap":
        output = node.input[0]
    origin = graph.origin(output, _PASS)
    if origin.node is None:
        return GraphHead(output)
    head = _ended(graph, origin.node, origin.name, output)
    if "Normalizer" in origin.passed and head.ending is not Ending.SOFTMAX:
        return GraphHead(output, probabilities=True)
    return head


def _ended(graph: Graph, node: NodeProto, name: str, output: str) -> GraphHead:
    kind = node.op_type
    simple = {"Softmax": Ending.SOFTMAX, "LogSoftmax": Ending.LOG_SOFTMAX, "Sigmoid": Ending.SIGMOID}
    if kind in simple:
        return GraphHead(output, node.input[0], simple[kind])
    if kind == "Exp" and _is_log_probability(graph, node.input[0]):
        return GraphHead(output, node.input[0], Ending.SOFTMAX)
    if kind == "Div" and (exponent := _decomposed_softmax(graph, node)) is not None:
        return GraphHead(output, exponent, Ending.SOFTMAX)
    if kind == "Concat" and (score := _one_sigmoid(graph, node)) is not None:
        return GraphHead(output, score, Ending.COMPLEMENT)
    if kind in _CLASSIFIERS and len(node.output) > 1 and name == node.output[1]:
        return _classifier(node, output)
    return GraphHead(output, regressor=kind in _REGRESSORS, probabilities=kind == "SVMClassifier")


def _classifier(node: NodeProto, output: str) -> GraphHead:
    transform = attribute(node, "post_transform")
    kind = transform.s.decode(errors="replace") if transform is not None else "NONE"
    if kind == "NONE":
        return GraphHead(output, probabilities=node.op_type == "TreeEnsembleClassifier")
    labels = [found for found in node.attribute if found.name.startswith("classlabels_")]
    classes = max((len(found.ints) + len(found.strings) for found in labels), default=0)
    text = any(found.strings for found in labels)
    notes = ("Classes are counted by position; the file names them by text.",) if text else ()
    raw = node.output[1]
    if kind == "SOFTMAX":
        return _scores_of(output, raw, Ending.SOFTMAX, notes)
    if kind == "LOGISTIC":
        ending = Ending.COMPLEMENT if classes == 2 else Ending.SIGMOID
        return _scores_of(output, raw, ending, notes)
    return GraphHead(output, probabilities=True, notes=notes)


def _scores_of(output: str, raw: str, ending: Ending, notes: tuple[str, ...]) -> GraphHead:
    """Return the head of a classifier that transforms its scores itself; which way it does, data must confirm."""
    others = tuple(e for e in (Ending.COMPLEMENT, Ending.SOFTMAX, Ending.SIGMOID) if e is not ending)
    return GraphHead(output, f"{raw}_before_transform", ending, others, notes=notes, raw=raw)


def _decomposed_softmax(graph: Graph, node: NodeProto) -> str | None:
    """Return x if a Div is exp(x) / sum(exp(x))."""
    top, bottom = (graph.origin(tensor, _PASS).node for tensor in node.input[:2])
    if top is None or bottom is None or (top.op_type, bottom.op_type) != ("Exp", "ReduceSum"):
        return None
    return top.input[0] if graph.origin(bottom.input[0], _PASS).node is top else None


def _one_sigmoid(graph: Graph, node: NodeProto) -> str | None:
    """Return x if a Concat is (1 - sigmoid(x), sigmoid(x))."""
    if len(node.input) != 2:
        return None
    minus, sigmoid = (graph.origin(tensor, _PASS).node for tensor in node.input)
    if minus is None or sigmoid is None or (minus.op_type, sigmoid.op_type) != ("Sub", "Sigmoid"):
        return None
    return sigmoid.input[0] if graph.origin(minus.input[1], _PASS).node is sigmoid else None


def _is_log_probability(graph: Graph, name: str) -> bool:
    """Tell whether a tensor is x - logsumexp(x), as naive Bayes exports write it, or LogSoftmax."""
    node = graph.producers.get(name)
    if node is None:
        return False
    if node.op_type == "LogSoftmax":
        return True
    below = graph.origin(node.input[1], _PASS).node if node.op_type == "Sub" else None
    return below is not None and below.op_type == "ReduceLogSumExp"


def _behind(graph: Graph, value: ValueInfoProto) -> GraphHead | None:
    """Return the head of an output of any type: of labels, that of the scores that they were chosen by."""
    if _is_float(graph, value):
        return trace(graph, value.name)
    node = graph.origin(value.name, _LABEL_PASS).node
    if node is None:
        return None
    if node.op_type == "ArgMax":
        head = trace(graph, node.input[0])
    elif node.op_type in _CLASSIFIERS and any(node.output[1:2]):
        head = trace(graph, node.output[1])
    else:
        return None
    return replace(head, notes=(*head.notes, label_note(value.name)))


def _candidate(graph: Graph, value: ValueInfoProto) -> Candidate:
    head = trace(graph, value.name)
    ended = head.ending is not Ending.NONE or head.probabilities
    return Candidate(value.name, shape_of(value) or (), ended)


def _is_float(graph: Graph, value: ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    if kind == "tensor_type":
        return value.type.tensor_type.elem_type in _FLOATS
    node = graph.producers.get(value.name)
    return node is not None and (node.op_type == "ZipMap" or kind is None)
