"""Calls of functions in an ONNX model replaced by what the functions do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from pmcore.errors import InputError, ModelError
from pmcore.quoting import printable

if TYPE_CHECKING:
    from onnx import FunctionProto, ModelProto, NodeProto

_Key: TypeAlias = tuple[str, str, str]
_MOST = 1_000_000
"""Nodes that a model may have when all calls are written out; functions that call functions multiply."""


def inlined(model: ModelProto, path: Path) -> ModelProto:
    """Return a model without calls of functions of its own; the same one where it has none.

    Functions written for another version of the operators are converted to the model's.

    Raises
    ------
    ModelError
        A function calls itself, or the calls written out make too many nodes.
    InputError
        The functions cannot be written out.
    """
    if not model.functions:
        return model
    _check_calls(model, path)
    from onnx import inliner

    try:
        result: ModelProto = inliner.inline_local_functions(model)
        if any(_key(node) in _functions(model) for node in result.graph.node):
            result = inliner.inline_local_functions(model, convert_version=True)
    except Exception as error:  # onnx raises its own kinds
        said = printable(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__, 200)
        raise InputError(
            f"{path}: its functions cannot be written out ({said}); export the model without them"
        ) from None
    return result


def _check_calls(model: ModelProto, path: Path) -> None:
    functions = _functions(model)
    sizes: dict[_Key, int] = {}
    for start in functions:
        open_: list[_Key] = [start]
        while open_:
            key = open_[-1]
            if key in sizes:
                open_.pop()
                continue
            called = [_key(node) for node in _every(functions[key].node)]
            missing = [inner for inner in called if inner in functions and inner not in sizes]
            if not missing:
                sizes[key] = sum(sizes.get(inner, 1) for inner in called)
                open_.pop()
            elif missing[0] in open_:
                shown = printable(missing[0][1], 60)
                raise ModelError(f"{path}: the function '{shown}' calls itself; export the model again")
            else:
                open_.append(missing[0])
    total = sum(sizes.get(_key(node), 1) for node in _every(model.graph.node))
    if total > _MOST:
        raise ModelError(f"{path}: has {total:.3g} nodes when its functions are written out; export it without them")


def _every(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """Yield nodes, and those of the graphs that they hold."""
    for node in nodes:
        yield node
        for found in node.attribute:
            for inner in (*((found.g,) if found.HasField("g") else ()), *found.graphs):
                yield from _every(inner.node)


def _functions(model: ModelProto) -> Mapping[_Key, FunctionProto]:
    return {(found.domain, found.name, getattr(found, "overload", "")): found for found in model.functions}


def _key(node: NodeProto) -> _Key:
    return node.domain, node.op_type, getattr(node, "overload", "")
