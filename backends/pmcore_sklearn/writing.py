"""Writes estimators as `.skops` files that are the same, byte by byte, for the same estimator."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from pmcore_sklearn.files import SCHEMA


def write_estimator(path: Path, estimator: Any) -> None:
    """Write an estimator.

    What skops takes from memory, places of objects and names after them, is replaced by numbers in the order in which
    they are first mentioned.
    """
    from skops.io import dumps

    with zipfile.ZipFile(io.BytesIO(dumps(estimator))) as written, zipfile.ZipFile(path, "w") as archive:
        schema = json.loads(written.read(SCHEMA))
        for old, new in _renamed(schema).items():
            archive.writestr(zipfile.ZipInfo(new), _settled(new, written.read(old)))
        archive.writestr(zipfile.ZipInfo(SCHEMA), json.dumps(schema, indent=2))


def _renamed(schema: Any) -> dict[str, str]:
    """Give the objects of a schema numbers, and return the old name of each file -> the new one.

    Plain values get a number each: whether two of them are one object is chance.
    """
    numbers: dict[int, int] = {}
    names: dict[str, str] = {}
    for count, node in enumerate(_nodes(schema), start=1):
        if isinstance(node.get("__id__"), int):
            own = count if node.get("__loader__") == "JsonNode" else numbers.setdefault(node["__id__"], count)
            node["__id__"] = own
        if isinstance(node.get("file"), str):
            name = node["file"]
            node["file"] = names.setdefault(name, f"{len(names)}{PurePath(name).suffix}")
    return names


def _nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the dictionaries of a schema from the outside in, in the order in which they stand there."""
    waiting = [schema]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
        inside = list(found.values()) if isinstance(found, dict) else found
        waiting.extend(value for value in reversed(inside) if isinstance(value, dict | list))


def _settled(name: str, content: bytes) -> bytes:
    """Return an array whose records have gaps, such as the nodes of trees, with zeros there instead of chance."""
    if not name.endswith(".npy"):
        return content
    array = np.load(io.BytesIO(content), allow_pickle=False)
    if array.dtype.names is None:
        return content
    clean = np.zeros(array.shape, array.dtype)
    for field in array.dtype.names:
        clean[field] = array[field]
    buffer = io.BytesIO()
    np.save(buffer, clean, allow_pickle=False)
    return buffer.getvalue()
