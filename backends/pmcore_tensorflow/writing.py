"""Writes models as .keras files that are the same, byte by byte, for the same layers and weights."""

from __future__ import annotations

import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from pmcore_tensorflow.archive import CONFIG, METADATA
from pmcore_tensorflow.device import explained
from pmcore_tensorflow.starting import unnoticed

_DATE = "date_saved"
_SHARED = "shared_object_id"


def write_model(path: Path, model: Any) -> None:
    """Write a model as Keras does, without the time at which that was, and the places of objects in memory."""
    remedy = "free some space, or choose another folder"
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        dated = Path(folder) / path.name
        with explained(path, "Keras does not write the model", remedy), unnoticed():
            model.save(dated)
        with zipfile.ZipFile(dated) as written, zipfile.ZipFile(path, "w") as archive:
            for name in written.namelist():
                archive.writestr(zipfile.ZipInfo(name), _settled(name, written.read(name)))


def _settled(name: str, content: bytes) -> bytes:
    if name == METADATA:
        return json.dumps({key: value for key, value in json.loads(content).items() if key != _DATE}).encode()
    return json.dumps(_numbered(json.loads(content), {})).encode() if name == CONFIG else content


def _numbered(found: Any, numbers: dict[int, int]) -> Any:
    """Return a description whose shared objects have numbers in the order in which they are first mentioned."""
    if isinstance(found, list):
        return [_numbered(value, numbers) for value in found]
    if not isinstance(found, dict):
        return found
    return {
        key: numbers.setdefault(value, len(numbers) + 1)
        if key == _SHARED and isinstance(value, int)
        else _numbered(value, numbers)
        for key, value in found.items()
    }
