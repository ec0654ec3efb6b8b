"""What a SavedModel would do, read from its protocol buffer: every operation of every graph and function of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import printable
from pmcore.trust import how_to_trust, vouched
from pmcore_tensorflow.operations import PURE, SAVING, reason

GRAPH = "saved_model.pb"
_OTHER_FORMS = ("saved_model.pbtxt", "saved_model.cpb")
_LARGEST = 2**31 - 1
_CHECKED = (
    "A SavedModel is a program: its operations were checked for files, processes and Python before it was loaded; "
    "such a check is no proof that it is harmless."
)
_TRUSTED = "The SavedModel was not checked: its SHA-256 was vouched for with trust_model."


@dataclass(frozen=True)
class SavedFolder:
    """What a SavedModel says of itself, and what a reader of the report must know."""

    files: tuple[Path, ...]
    properties: Mapping[str, str]
    notes: tuple[str, ...]


def is_saved_model(path: Path) -> bool:
    """Tell a folder with a SavedModel."""
    return any((path / name).is_file() for name in (GRAPH, *_OTHER_FORMS))


def check_saved_model(folder: Path, trust_model: str | None) -> SavedFolder:
    """Refuse a SavedModel that would do more than compute, unless somebody vouched for exactly these files.

    Parsing the protocol buffer runs nothing.

    Raises
    ------
    InputError
        A file is missing or damaged.
    UntrustedError
        An operation reads or writes files, calls Python, talks to other processes, or is not known.
    """
    files = files_of(folder)
    trusted = vouched(files, trust_model)
    proto = _read(folder)
    for name in ("variables.index", "variables.data-00000-of-*"):
        if not any((folder / "variables").glob(name)):
            raise InputError(
                f"{folder}: its numbers (variables/{name}) are missing; copy the whole folder, or save the model again"
            )
    if not trusted:
        complaint = next(_complaints(proto), None)
        if complaint is not None:
            raise UntrustedError(f"{folder}: {complaint}; {how_to_trust(files)}")
    said = proto.meta_graphs[0].meta_info_def
    properties = {"tensorflow_version": said.tensorflow_version} if said.tensorflow_version else {}
    return SavedFolder(files, properties, (_TRUSTED if trusted else _CHECKED,))


def files_of(folder: Path) -> tuple[Path, ...]:
    """Return all files of a SavedModel, in order."""
    found = {*folder.rglob("*"), *(folder / "variables").glob("*")}
    return tuple(sorted(path for path in found if path.is_file()))


def _read(folder: Path) -> Any:
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / GRAPH
    if not path.is_file():
        raise InputError(f"{folder}: holds no {GRAPH} (other forms are not read); save the model again")
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path}: is larger than a protocol buffer can be; save the model again")
        payload = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    proto = saved_model_pb2.SavedModel()
    try:
        proto.ParseFromString(payload)
    except Exception:  # protobuf's DecodeError, wherever this version of it keeps it
        raise InputError(f"{path}: is damaged, or no SavedModel; copy or save it again") from None
    if not payload or not proto.meta_graphs:
        raise InputError(f"{path}: holds no graph, so it is truncated or no SavedModel; copy or save it again")
    return proto


def _complaints(proto: Any) -> Iterator[str]:
    """Yield what speaks against loading a SavedModel unseen, one phrase each."""
    if len(proto.meta_graphs) != 1 or not proto.meta_graphs[0].HasField("object_graph_def"):
        yield "is a SavedModel of TensorFlow 1, which is restored by a program of its own"
        return
    graph = proto.meta_graphs[0]
    if len(graph.asset_file_def) or any(node.HasField("asset") for node in graph.object_graph_def.nodes):
        yield "reads asset files when it is loaded"
    saver = _Saver.of(graph)
    for where, nodes in _bodies(graph):
        allowed = PURE | SAVING if where in saver.functions else PURE
        for node in nodes:
            if node.op not in allowed:
                place = f"function '{printable(where, 100)}'" if where else "its graph"
                called = f"operation {printable(node.op, 60)} (node '{printable(node.name, 100)}' of {place})"
                if node.op in SAVING and where:
                    yield f"{called} {reason(node.op)} outside the functions by which the model is saved"
                else:
                    yield f"{called} {reason(node.op)}"


@dataclass(frozen=True)
class _Saver:
    """The functions by which a SavedModel is saved and restored, which nothing else may call.

    TensorFlow restores what it loads by the names of variables, and leaves these functions alone.
    """

    functions: frozenset[str]

    @classmethod
    def of(cls, graph: Any) -> _Saver:
        entries = {graph.saver_def.save_tensor_name.partition(":")[0], graph.saver_def.restore_op_name}
        named = {name for node in graph.graph_def.node if node.name in entries for name in _called(node)}
        bodies = {where: nodes for where, nodes in _bodies(graph) if where}
        members: set[str] = set()
        waiting = list(named)
        while waiting:
            name = waiting.pop()
            if name in bodies and name not in members:
                members.add(name)
                waiting.extend(inner for node in bodies[name] for inner in _called(node))
        library = graph.graph_def.library
        reachable = set(graph.object_graph_def.concrete_functions)
        for entry in graph.object_graph_def.nodes:  # which name functions whether or not the list above has them
            reachable.update(entry.function.concrete_functions)
            reachable.add(entry.bare_concrete_function.concrete_function_name)
            reachable.add(entry.captured_tensor.concrete_function)
        reachable |= {name for pair in library.gradient for name in (pair.function_name, pair.gradient_func)}
        reachable |= {function.signature.name for function in library.function if "api_implements" in function.attr}
        for where, nodes in _bodies(graph):
            if where not in members:
                for node in nodes:
                    if where or node.name not in entries:
                        reachable.update(_called(node))
        return cls(frozenset() if members & reachable else frozenset(members))


def _bodies(graph: Any) -> Iterator[tuple[str, Any]]:
    """Yield the name and the nodes of every function, and of the graph itself under the name ""."""
    yield "", graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield function.signature.name, function.node_def


def _called(node: Any) -> Iterator[str]:
    """Yield what a node may call: the functions that it names, and one of the name of its operation, if any."""
    yield node.op
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name
