"""The JSON of an exported program, walked for whatever its loader would evaluate."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import printable
from pmcore_torch.expressions import is_arithmetic
from pmcore_torch.operators import exported_operator_passes
from pmcore_torch.treespecs import plain_treespec

Json: TypeAlias = Any
"""What `json.loads` returns."""
AGAIN = "export the model again with torch.export.save of a current PyTorch"
DOTTED = re.compile(r"[\w.\-/: ]{0,500}", re.ASCII)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w{0,250}", re.ASCII)
_TEXT = re.compile(r"[ -\[\]-~]{0,1000}")
"""Printable ASCII but for the backslash."""
_STACK = re.compile(r"[\w.,;@\-]{0,4000}", re.ASCII)
_NODE_NAMES = frozenset({"name", "as_name"})
_DOTTED_NAMES = frozenset(
    {"fqn", "parameter_name", "buffer_name", "tensor_constant_name", "user_input_name", "path_name", "type"}
)
_TABLES = frozenset({"tensor_values", "sym_int_values", "sym_bool_values", "sym_float_values", "range_constraints"})
_CUSTOM = frozenset({"as_custom_obj", "custom_obj", "class_fqn", "token"})
_QUOTED = frozenset({"as_string", "as_strings"})
"""Arguments that PyTorch writes into source as quoted text, whatever they hold."""
_OPERATORS = frozenset({"target", "as_operator"})
_DEEPEST = 100


class ProgramCheck:
    """Walks the JSON of a program: refuses what the loader would evaluate, takes out what it does not need.

    Names become Python source where PyTorch compiles the graph, and expressions over sizes are evaluated: both
    must be of the plain kind that exporters write.
    """

    def __init__(self, path: Path, device: Mapping[str, Any], part: str) -> None:
        self._path = path
        self._device = device
        self._part = part

    def check(self, program: dict[str, Json]) -> None:
        """Check a program, in place."""
        for guard in program.pop("guards_code", None) or ():
            if not (isinstance(guard, str) and _is_guard(guard)):
                self._refuse("a guard", guard)
        self.check_tables(program)
        program["guards_code"] = []

    def check_tables(self, value: dict[str, Json]) -> None:
        """Check what describes tensors or a program, in place."""
        self._walk(value, "", _DEEPEST)

    def _walk(self, value: Json, key: str, depth: int) -> None:
        if depth == 0:
            raise InputError(f"{self._path}: {self._part} is nested too deeply; {AGAIN}")
        if isinstance(value, dict):
            self._walk_object(value, key, depth)
        elif isinstance(value, list):
            for item in value:
                self._text(item, key) if isinstance(item, str) else self._walk(item, key, depth - 1)

    def _walk_object(self, value: dict[str, Json], key: str, depth: int) -> None:
        for inner, found in list(value.items()):
            if inner in _CUSTOM or (inner == "custom_obj_values" and found):
                self._refuse("a custom object", inner)
            if not (_IDENTIFIER if key in _TABLES else _TEXT).fullmatch(inner):
                self._refuse("a name", inner)
            if inner in ("device", "as_device") and isinstance(found, dict):
                value[inner] = dict(self._device)
            elif inner == "metadata":
                value[inner] = _kept_metadata(found)
            elif inner in ("in_spec", "out_spec"):
                value[inner] = self._treespec(found)
            elif isinstance(found, str):
                self._text(found, inner)
            else:
                self._walk(found, inner, depth - 1)

    def _text(self, value: str, key: str) -> None:
        if key in _OPERATORS:
            if not exported_operator_passes(value):
                self._refuse("an operator that is not among those allowed", value)
        elif key == "expr_str":
            if not is_arithmetic(value):
                self._refuse("an expression that is no plain arithmetic over sizes", value)
        elif key in _NODE_NAMES or key == "forward_arg_names":
            if value and not _IDENTIFIER.fullmatch(value):
                self._refuse("a name", value)
        elif key not in _QUOTED and not (DOTTED if key in _DOTTED_NAMES else _TEXT).fullmatch(value):
            self._refuse("a text", value)

    def _treespec(self, text: Json) -> str:
        plain = plain_treespec(text)
        if plain is None:
            self._refuse("a structure that names Python objects", text)
        return plain or ""

    def _refuse(self, what: str, value: object) -> None:
        raise UntrustedError(
            f"{self._path}: {self._part} holds {what}, which loading could run: '{printable(str(value), 100)}'; {AGAIN}"
        )


def _kept_metadata(found: Json) -> dict[str, str]:
    """Return what is kept of the exporter's notes: which module an operation came from."""
    stack = found.get("nn_module_stack") if isinstance(found, dict) else None
    whole = (
        isinstance(stack, str) and _STACK.fullmatch(stack) and all(item.count(",") == 2 for item in stack.split(";"))
    )
    return {"nn_module_stack": stack} if whole and isinstance(stack, str) else {}


def _is_guard(text: str) -> bool:
    """Tell whether a guard compares sizes of inputs with numbers, as exporters write them; it is left out anyhow."""
    words: Iterator[str] = iter(re.findall(r"[A-Za-z_]\w*", re.sub(r"'[\w.\[\]]*'", "", text)))
    known = {"L", "size", "stride", "storage_offset", "dim", "len", "and", "or", "not", "is", "None", "True", "False"}
    known |= {"math", "isnan", "inf", "max", "min", "args", "kwargs", "torch", "dtype", "float", "int", "isinstance"}
    return (
        len(text) < 2000 and re.fullmatch(r"[\w\s.\[\]'()=<>!+\-*/%,]*", text) is not None and known.issuperset(words)
    )
