"""What a .keras file holds, checked before Keras sees it: a known network and its numbers, and nothing else."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pmcore.errors import InputError, UntrustedError
from pmcore.model_files import read_head
from pmcore.quoting import printable
from pmcore_tensorflow.weights import check_weights

CONFIG = "config.json"
METADATA = "metadata.json"
WEIGHTS = "model.weights.h5"
_MEMBERS = frozenset({CONFIG, METADATA, WEIGHTS})
_LARGEST_TEXT = 64 * 2**20
"""Bytes of config.json that are read."""
_GROWTH = 100
"""How much larger than its packed form a member may be; Keras packs nothing."""
_SMALL = 2**28
"""Bytes that a member may have whatever it grew from."""
_DAMAGED = "copy or save it again"
_IN_PYTHON = "load it yourself and audit it in Python with pmcore.Audit(model=...), if you trust whoever made it"
_MARKS = frozenset({"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"})
"""Values that Keras writes as if they were objects: numbers and places in the network."""
_OPEN = frozenset(
    {"keras.activations", "keras.constraints", "keras.initializers", "keras.losses", "keras.metrics"}
    | {"keras.optimizers", "keras.optimizers.schedules", "keras.quantizers", "keras.regularizers", "keras.layers"}
    | {"keras.dtype_policies"}
)
"""Modules of Keras of which every class may be named, but for `_RUNS_CODE`."""
_NETWORKS = frozenset({"Sequential", "Model", "Functional"})
_POLICIES = frozenset({"DTypePolicy", "FloatDTypePolicy", "QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy"})
_NAMED: Mapping[str, frozenset[str]] = {
    "keras": _NETWORKS | _POLICIES | {"DTypePolicyMap"},
    "keras.models": _NETWORKS,
    "keras.src.models.functional": frozenset({"Functional"}),
    "keras.src.models.sequential": frozenset({"Sequential"}),
    "keras.src.models.model": frozenset({"Model"}),
}
_OPERATIONS = "keras.src.ops."
_RUNS_CODE = frozenset({"Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer"})
_FROM_FILES = frozenset({"vocabulary", "vocabulary_file", "idf_weights", "filepath", "file_path", "fname", "url"})
"""Settings that hold lists, or else the path of a file that Keras would read."""


@dataclass(frozen=True)
class KerasFile:
    """What a .keras file says of itself besides its network: version of Keras and date."""

    properties: Mapping[str, str]


def check_archive(path: Path) -> KerasFile:
    """Refuse a .keras file with anything in it that is not a built-in part of Keras, or reaches for other files.

    Raises
    ------
    InputError
        The file is missing, damaged or of another kind.
    UntrustedError
        Loading it could run code that it carries, or read other files.
    """
    _check_kind(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            config = json.loads(archive.read(CONFIG))
            metadata = json.loads(archive.read(METADATA))
            check_config(config, path)
            with archive.open(WEIGHTS) as stream:
                check_weights(stream, path)
    except (InputError, UntrustedError, MemoryError):
        raise
    except Exception:  # zipfile, zlib and json raise some ten kinds of errors on damaged bytes
        raise InputError(f"{path}: is a damaged .keras file; {_DAMAGED}") from None
    known = metadata if isinstance(metadata, dict) else {}
    return KerasFile({str(k): str(v) for k, v in known.items() if isinstance(v, str | int | float)})


def check_config(config: object, path: Path) -> None:
    """Refuse a network that names anything but built-in parts of Keras.

    What the file says about compiling is not looked at: it is not used.
    """
    if not isinstance(config, dict) or "class_name" not in config:
        raise InputError(f"{path}: its {CONFIG} describes no model; {_DAMAGED}")
    for found in _objects({key: value for key, value in config.items() if key != "compile_config"}):
        _check_object(found, path)


def _check_kind(path: Path) -> None:
    head = read_head(path)
    if head.startswith(b"\x89HDF"):
        raise UntrustedError(
            f"{path}: is an HDF5 model of the old form, which can carry Python code; "
            "load it where it was made and save it as model.keras"
        )
    if head.startswith(b"\x80"):
        raise UntrustedError(f"{path}: is a Python pickle, which can run code when loaded; save the model as .keras")
    if not head.startswith(b"PK"):
        raise InputError(
            f"{path}: is not a .keras file (no zip archive); save the model with model.save('model.keras')"
        )


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    names = [info.filename for info in archive.infolist()]
    for name in names:
        if name not in _MEMBERS:
            raise UntrustedError(
                f"{path}: holds '{printable(name, 100)}', which is none of the network, its numbers and its date: "
                f"vocabularies and other files are not read; {_IN_PYTHON}"
            )
    for name in sorted(_MEMBERS):
        if names.count(name) != 1:
            raise InputError(f"{path}: holds {names.count(name)} files {name} where one is needed; {_DAMAGED}")
    for info in archive.infolist():
        if info.file_size > max(_SMALL, _GROWTH * info.compress_size):
            raise InputError(
                f"{path}: its {info.filename} of {info.compress_size} bytes would unpack to {info.file_size}; "
                "save the model again, unpacked"
            )
        if info.filename != WEIGHTS and info.file_size > _LARGEST_TEXT:
            raise InputError(f"{path}: its {info.filename} has {info.file_size} bytes, which no network needs")


def _objects(config: object) -> Iterator[dict[str, Any]]:
    """Yield every description of an object within a configuration, and every dictionary with settings."""
    waiting = [config]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)


def _check_object(found: Mapping[str, Any], path: Path) -> None:
    for key in _FROM_FILES & found.keys():
        if isinstance(found[key], str):
            raise UntrustedError(
                f"{path}: a layer would read '{printable(found[key], 100)}' ({key}), and files other than the model's "
                f"own are not read; {_IN_PYTHON}"
            )
    if "class_name" not in found:
        return
    name, module = found["class_name"], found.get("module")
    if name in _RUNS_CODE or name == "__lambda__":
        what = "a Python function" if name in ("Lambda", "__lambda__") else "a program of its own"
        title = found.get("name") or (found["config"].get("name") if isinstance(found.get("config"), dict) else None)
        where = f" {printable(repr(title), 60)}" if isinstance(title, str) else ""
        raise UntrustedError(
            f"{path}: its layer{where} ({name}) carries {what}, which would run when loaded; "
            f"build it with Keras's own layers, or {_IN_PYTHON}"
        )
    if name in _MARKS and "module" not in found:
        return
    if not (isinstance(name, str) and isinstance(module, str) and "config" in found):
        _refuse(found, path)
    if name == "function":
        wanted = found["config"]
        plain = isinstance(wanted, str) and wanted.isidentifier() and found.get("registered_name") in (None, wanted)
        if module not in ("builtins", "keras.activations") or not plain:
            _refuse(found, path)
        return
    known = module in _OPEN or module.startswith(_OPERATIONS) or name in _NAMED.get(module, ())
    if not known or not name.isidentifier() or found.get("registered_name") not in (None, name):
        _refuse(found, path)


def _refuse(found: Mapping[str, Any], path: Path) -> NoReturn:
    parts = (found.get(key) for key in ("module", "registered_name", "class_name"))
    module, registered, name = (str(part) if part is not None else "" for part in parts)
    called = registered if ">" in registered else f"{module}.{name}".lstrip(".")
    if name == "function":
        called = f"{module}.{found.get('config')}".lstrip(".")
    raise UntrustedError(
        f"{path}: names '{printable(called, 120)}', which is no built-in part of Keras: code of its own is not loaded; "
        f"{_IN_PYTHON}"
    )
