"""The numbers of a .keras file: an HDF5 file may point at other files, or claim far more than it holds."""

from __future__ import annotations

import importlib
from math import prod
from pathlib import Path
from typing import IO, Any

from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import printable
from pmcore_tensorflow.starting import environment

_SMALL = 2**28
"""Bytes that an array may have whatever is stored of it."""
_GROWTH = 1000
"""How many times more bytes than are stored an array may have."""
_DEEPEST = 100


def check_weights(stream: IO[bytes], path: Path) -> None:
    """Refuse links to other files, arrays kept in other files, and arrays much larger than what is stored.

    Raises
    ------
    InputError
        The file is damaged, or claims more than it holds.
    UntrustedError
        It points at other files.
    """
    with environment({"HDF5_PLUGIN_PRELOAD": "::"}):  # a file may name filters, which HDF5 would look for on disk
        h5py = importlib.import_module("h5py")
    try:
        with h5py.File(stream, "r") as file:
            _check_group(h5py, file, path)
    except (InputError, UntrustedError, MemoryError):
        raise
    except Exception:  # h5py raises whatever its library says, as some five kinds of errors
        raise InputError(f"{path}: its weights are damaged; copy or save it again") from None


def _check_group(h5py: Any, root: Any, path: Path) -> None:
    seen = set()
    waiting = [(root, 0)]
    while waiting:
        group, depth = waiting.pop()
        if depth > _DEEPEST:
            raise InputError(f"{path}: its weights are nested more than {_DEEPEST} deep; save the model again")
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise UntrustedError(
                    f"{path}: its weights '{printable(f'{group.name}/{name}', 120)}' are a link{_target(link)}, "
                    "which is not followed; save the model again with model.save('model.keras')"
                )
            child = group[name]
            place = h5py.h5o.get_info(child.id).addr
            if place in seen:
                continue
            seen.add(place)
            if isinstance(child, h5py.Group):
                waiting.append((child, depth + 1))
            elif isinstance(child, h5py.Dataset):
                _check_array(child, path)


def _target(link: Any) -> str:
    file = getattr(link, "filename", None)
    return "" if file is None else f" to the file '{printable(str(file), 120)}'"


def _check_array(array: Any, path: Path) -> None:
    name = printable(str(array.name), 120)
    if array.external or array.is_virtual:
        raise UntrustedError(
            f"{path}: its weights '{name}' are kept in other files, which are not read; "
            "save the model again with model.save('model.keras')"
        )
    claimed = prod(array.shape or ()) * array.dtype.itemsize
    if claimed > max(_SMALL, _GROWTH * array.id.get_storage_size()):
        raise InputError(f"{path}: its weights '{name}' claim {claimed} bytes and hold next to none; save it again")
