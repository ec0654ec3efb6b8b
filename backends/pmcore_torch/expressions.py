"""Expressions over sizes in an exported program, which the loader evaluates: only plain arithmetic passes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

LONGEST = 2000
"""Characters of an expression."""
DEEPEST = 30
POWERS = 3
"""Powers in one expression: towers of them would fill the memory."""
_LARGEST = 2**63
_FUNCTIONS_WORDS = (
    "FloorDiv ModularIndexing Where PythonMod Mod CleanDiv CeilToInt FloorToInt CeilDiv LShift RShift IntTrueDiv "
    "FloatTrueDiv TruncToFloat TruncToInt RoundToInt RoundDecimal ToFloat Identity IsNonOverlappingAndDenseIndicator "
    "Add Mul Max Min Eq Ne Lt Le Gt Ge And Or Not Equality Unequality StrictLessThan LessThan StrictGreaterThan "
    "GreaterThan floor ceiling Abs Rational"
)
_FUNCTIONS = frozenset(_FUNCTIONS_WORDS.split())
_POWERS = frozenset({"Pow", "PowByNatural", "FloatPow"})
_NAMES = frozenset({"true", "false", "oo", "zoo"})
_SYMBOL = re.compile(r"[a-z]\w{0,40}", re.ASCII)
_ASSUMPTIONS = frozenset({"positive", "integer", "nonnegative", "real", "negative", "zero", "nonzero"})


def is_arithmetic(text: str) -> bool:
    """Tell whether an expression is arithmetic over sizes: known functions, symbols and numbers of bounded size."""
    if len(text) > LONGEST or not text.isascii():
        return False
    try:
        tree = ast.parse(text, mode="eval")
        return _passes(tree.body, DEEPEST) and sum(map(_is_power, ast.walk(tree))) <= POWERS
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _passes(node: ast.expr, depth: int) -> bool:
    if depth == 0:
        return False
    if isinstance(node, ast.Constant):
        return _is_number(node.value)
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, ast.USub) and _passes(node.operand, depth - 1)
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.FloorDiv | ast.Mod | ast.Div) and all(
            _passes(side, depth - 1) for side in (node.left, node.right)
        )
    if isinstance(node, ast.Compare):
        return all(_passes(side, depth - 1) for side in (node.left, *node.comparators))
    if isinstance(node, ast.Name):
        return node.id in _NAMES or _is_plain_symbol(node.id)
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and _call_passes(node, node.func.id, depth)


def _call_passes(node: ast.Call, name: str, depth: int) -> bool:
    if name == "Symbol":
        return _is_symbol(node)
    if name in ("Integer", "Float"):
        precise = all(key.arg == "precision" and _is_literal(key.value) for key in node.keywords)
        return precise and len(node.args) <= 2 and all(_is_literal(argument) for argument in node.args)
    if node.keywords:
        return False
    if name in _POWERS:
        return len(node.args) == 2 and _passes(node.args[0], depth - 1) and _is_small(node.args[1])
    return name in _FUNCTIONS and all(_passes(argument, depth - 1) for argument in node.args)


def _is_symbol(node: ast.Call) -> bool:
    """Tell whether a call makes a symbol of an ordinary name, with yes or no for each assumption."""
    named = len(node.args) == 1 and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str)
    if not named or not _SYMBOL.fullmatch(str(node.args[0].value)):  # type: ignore[attr-defined]
        return False
    return all(
        key.arg in _ASSUMPTIONS and isinstance(key.value, ast.Constant) and isinstance(key.value.value, bool)
        for key in node.keywords
    )


def _is_plain_symbol(name: str) -> bool:
    """Tell whether a bare name is one that the exporter gives sizes: a letter or two and a number."""
    return re.fullmatch(r"[a-z]{1,3}\d{1,6}", name) is not None


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    if not isinstance(node, ast.Constant):
        return False
    text = isinstance(node.value, str) and re.fullmatch(r"-?[\d.]{1,40}(?:e-?\d{1,3})?", node.value) is not None
    return text or _is_number(node.value)


def _is_small(node: ast.expr) -> bool:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Integer", "Rational"):
        return not node.keywords and all(_is_small(argument) for argument in node.args)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        node = node.operand
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float) and abs(node.value) <= 16


def _is_number(value: object) -> bool:
    return isinstance(value, bool | int | float) and abs(value) <= _LARGEST


def _is_power(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _POWERS


def strings_under(value: object, key: str) -> Iterator[object]:
    """Yield everything that stands under a key, at any depth of a JSON value."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if key in found:
                yield found[key]
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
