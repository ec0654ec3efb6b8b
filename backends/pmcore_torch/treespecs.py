"""How a program nests its inputs and outputs: reduced to tuples, lists and dicts, which import nothing."""

from __future__ import annotations

import json
import re
from typing import Any

_KEY = re.compile(r"\w[\w.\- ]{0,200}", re.ASCII)
_DEEPEST = 60
_SEQUENCES = frozenset({"builtins.tuple", "builtins.list"})
_DICTS = frozenset({"builtins.dict", "collections.OrderedDict"})


def plain_treespec(text: object) -> str | None:
    """Return a serialised structure with every other container replaced, or None if it names Python objects.

    Named tuples become tuples; classes with keys, such as the outputs of transformers, become dicts.
    """
    try:
        version, spec = json.loads(text) if isinstance(text, str) else (None, None)
        return json.dumps([1, _plain(spec, _DEEPEST)]) if version == 1 else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _plain(spec: Any, depth: int) -> dict[str, Any]:
    """Return one level of a structure, and those below it.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is not of the form that exporters write.
    """
    if depth == 0:
        raise ValueError("nested too deeply")
    kind, context, children = spec["type"], spec["context"], spec["children_spec"]
    if kind is None:
        if context is not None or children:
            raise ValueError("a leaf with contents")
        return {"type": None, "context": None, "children_spec": []}
    below = [_plain(child, depth - 1) for child in children]
    if kind in _SEQUENCES:
        return {"type": kind, "context": "null", "children_spec": below}
    keys = json.loads(context) if isinstance(context, str) else context
    if isinstance(keys, list) and len(keys) == len(below) and all(_is_key(key) for key in keys):
        name = kind if kind in _DICTS else "builtins.dict"
        return {"type": name, "context": json.dumps(keys), "children_spec": below}
    if kind in _DICTS or "default_factory_module" in str(context) or "__enum__" in str(context):
        raise ValueError("keys that are no names")
    return {"type": "builtins.tuple", "context": "null", "children_spec": below}


def _is_key(key: object) -> bool:
    return isinstance(key, int) or (isinstance(key, str) and _KEY.fullmatch(key) is not None)
