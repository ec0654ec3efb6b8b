"""The source of TorchScript programs: near-Python, which is refused where it does anything but compute."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from pmcore_torch.operators import script_operator_passes
from pmcore_torch.pickles import PACKED

_CALLED_WORDS = (
    "annotate uninitialized unchecked_cast getattr hasattr isinstance len int float bool str complex range enumerate "
    "zip min max abs round sorted list dict tuple set fork wait awaitable awaitable_nowait rangelist device "
    "divmod ord hex oct bin pow sum any all Exception AssertionError RuntimeError ValueError IndexError KeyError "
    "NotImplementedError TypeError StopIteration super"
)
_CALLED = frozenset(_CALLED_WORDS.split())
_TYPES_WORDS = (
    "Tensor List Dict Optional Tuple Union Future Await RRef Final Any NoneType Module Device Generator Stream Storage "
    "Scalar number Number Layout ScalarType MemoryFormat QScheme Interface Enum NamedTuple inf nan infj nanj CONSTANTS "
    "__annotations__ Function Capsule AnyTuple AnyList AnyEnumType Dimname t "
    "BroadcastingList1 BroadcastingList2 BroadcastingList3"
)
_TYPES = frozenset(_TYPES_WORDS.split())
_STATEMENTS = (
    ast.Module
    | ast.ClassDef
    | ast.FunctionDef
    | ast.Assign
    | ast.AnnAssign
    | ast.AugAssign
    | ast.Return
    | ast.If
    | ast.For
)
_MORE_STATEMENTS = ast.While | ast.Expr | ast.Pass | ast.Break | ast.Continue | ast.Raise | ast.Assert | ast.With
_EXPRESSIONS = (
    ast.Constant
    | ast.Name
    | ast.Attribute
    | ast.Call
    | ast.Subscript
    | ast.Slice
    | ast.BinOp
    | ast.UnaryOp
    | ast.BoolOp
)
_MORE_EXPRESSIONS = (
    ast.Compare | ast.IfExp | ast.List | ast.Tuple | ast.Dict | ast.ListComp | ast.comprehension | ast.Starred
)
_GRAMMAR = (
    ast.expr_context | ast.operator | ast.unaryop | ast.boolop | ast.cmpop | ast.arguments | ast.arg | ast.keyword
)
_ALLOWED = _STATEMENTS | _MORE_STATEMENTS | _EXPRESSIONS | _MORE_EXPRESSIONS | _GRAMMAR | ast.withitem
_NO_OPERATORS = frozenset({"classes", "ops", "jit", "distributed", "package", "hub", "serialization", "_C", "utils"})


@dataclass(frozen=True)
class Problem:
    """What a line of a program does that it must not."""

    line: int | None
    what: str


def find_problem(source: bytes) -> Problem | None:
    """Return the first thing in a source that does anything but compute, or None."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return Problem(error.lineno or 1, f"'{_line(source, error.lineno or 1)}' is not read as TorchScript")
    except (ValueError, RecursionError, MemoryError):
        return Problem(None, "is not read as TorchScript")
    try:
        return next(_problems(tree, _bound(tree)), None)
    except RecursionError:
        return Problem(None, "is nested too deeply")


def _bound(tree: ast.AST) -> frozenset[str]:
    """Return the names that a source gives to values of its own."""
    nodes = list(ast.walk(tree))
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    taken = {node.arg for node in nodes if isinstance(node, ast.arg)}
    defined = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return frozenset(stored | taken | defined) - {"torch", "ops", "__torch__"}


def _problems(node: ast.AST, bound: frozenset[str]) -> Iterator[Problem]:
    line = getattr(node, "lineno", None)
    if not isinstance(node, _ALLOWED):
        yield Problem(line, f"uses {type(node).__name__}, which TorchScript does not write")
        return
    inner: list[ast.AST] = list(ast.iter_child_nodes(node))
    what: str | None = None
    if isinstance(node, ast.Attribute):
        names, root = _names(node), _root(node)
        if isinstance(root, ast.Name):
            what = _chain_problem([root.id, *names], bound)
            inner = []
        else:
            what = next((f"uses '{name}'" for name in names if not script_operator_passes("aten", name)), None)
            inner = [root]
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        what = None if _is_plain(node.value) else "holds text that could steer a terminal"
    elif isinstance(node, ast.Name):
        known = bound | _CALLED | _TYPES
        stored = isinstance(node.ctx, ast.Store) and node.id not in ("torch", "ops", "__torch__")
        what = None if stored or node.id in known else f"uses '{node.id}', which is no name of its own"
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("getattr", "hasattr"):
        what = _getattr_problem(node)
    elif isinstance(node, ast.FunctionDef | ast.ClassDef) and node.decorator_list:
        what = f"decorates '{node.name}'"
    if what is not None:
        yield Problem(line, what)
    for child in inner:
        yield from _problems(child, bound)


def _is_plain(text: str) -> bool:
    """Tell whether text can be shown: warnings and errors of a program are, as they are written."""
    return all(letter.isprintable() or letter in "\t\n" for letter in text)


def _chain_problem(parts: list[str], bound: frozenset[str]) -> str | None:
    dotted = ".".join(parts)
    root, *names = parts
    if root == "__torch__":
        custom = names[:2] == ["torch", "classes"] and dotted not in PACKED
        return f"uses '{dotted}'" if custom or names in ([], ["torch"]) else None
    if root == "ops":
        whole = len(names) == 2 and script_operator_passes(names[0], names[1])
        return None if whole else f"calls the operator '{dotted}'"
    if root == "torch":
        plain = len(names) == 1 and names[0] not in _NO_OPERATORS and script_operator_passes("aten", names[0])
        return None if plain else f"calls '{dotted}'"
    if root not in bound | _CALLED | _TYPES:
        return f"uses '{root}', which is no name of its own"
    return next((f"calls '{dotted}'" for name in names if not script_operator_passes("aten", name)), None)


def _getattr_problem(node: ast.Call) -> str | None:
    """Refuse look-ups by a computed name, and of anything but an object's own attributes."""
    if len(node.args) < 2 or not isinstance(node.args[1], ast.Constant) or not isinstance(node.args[1].value, str):
        return "looks an attribute up by a computed name"
    name = node.args[1].value
    names = re.fullmatch(r"[\w\-]{1,200}", name) is not None and script_operator_passes("aten", name)
    return None if names else f"looks up '{name}'"


def _names(node: ast.expr) -> list[str]:
    """Return ["a", "b"] for anything.a.b."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return names[::-1]


def _root(node: ast.expr) -> ast.expr:
    """Return what the attributes are those of."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node


def _line(source: bytes, number: int) -> str:
    return "".join(source.decode("utf-8", "replace").splitlines()[number - 1 : number]).strip()[:80]
