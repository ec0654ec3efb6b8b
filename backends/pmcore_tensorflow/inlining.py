"""A traced function without the functions that it calls: their operations stand where the calls stood."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

_BRANCHES = frozenset({"Case", "If", "StatelessCase", "StatelessIf", "StatelessWhile", "While"})


def inlined(tf: Any, function: Any) -> Callable[[Sequence[Any]], list[Any]] | None:
    """Return what computes the outputs of a function from symbolic inputs with all calls inlined.

    Returns None where TensorFlow cannot inline it. Weights stay variables: nothing is copied.
    """
    try:
        graph = _inlined_graph(tf, function)
    except Exception:  # a model that cannot be looked into is read as it stands
        return None
    own = len(function.inputs) - len(function.captured_inputs)
    places = [tensor.name for tensor in function.inputs]
    results = [tensor.name for tensor in function.outputs]

    def compute(inputs: Sequence[Any]) -> list[Any]:
        scope = tf.compat.v1.get_default_graph()
        captured = [scope.capture(tensor) for tensor in function.captured_inputs]
        feeds = dict(zip(places, [*inputs[:own], *captured], strict=True))
        found: list[Any] = tf.graph_util.import_graph_def(graph, input_map=feeds, return_elements=results, name="")
        return found

    return compute


def _inlined_graph(tf: Any, function: Any) -> Any:
    """Let TensorFlow's own optimiser inline functions, with every other optimisation off."""
    optimizer = importlib.import_module("tensorflow.python.grappler.tf_optimizer")
    protos = importlib.import_module("tensorflow.core.protobuf.meta_graph_pb2")
    graph = function.graph.as_graph_def()
    for inner in graph.library.function:
        inner.attr.pop("api_implements", None)  # a function that could be swapped for another is never inlined
    _lower(graph, False)  # loops and branches stay operations: what they are made of cannot be imported again
    described = tf.compat.v1.train.export_meta_graph(graph_def=graph, graph=function.graph)
    kept = protos.CollectionDef()
    kept.node_list.value.extend(tensor.name for tensor in (*function.inputs, *function.outputs))
    described.collection_def["train_op"].CopyFrom(kept)
    config = tf.compat.v1.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1
    rewriting.optimizers.append("function")
    rewriting.function_optimization = rewriting.AGGRESSIVE
    flat = optimizer.OptimizeGraph(config, described)
    _lower(flat, True)
    return flat


def _lower(graph: Any, wanted: bool) -> None:
    """Say of every loop and branch whether TensorFlow may replace it by its parts, in place."""
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            if node.op in _BRANCHES:
                node.attr["_lower_using_switch_merge"].b = wanted
