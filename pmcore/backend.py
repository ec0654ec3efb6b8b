"""Which backend reads a model file, and the model as it was loaded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pmcore import registry
from pmcore.data import files_sha256
from pmcore.errors import InputError, PluginError, UntrustedError
from pmcore.installed import Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import Model, Task
from pmcore.option_docs import resolved_options
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable

HEAD = 4096
PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
"""How a pickle begins, in every protocol that Python has written by default since 2003."""


@dataclass(frozen=True)
class LoadedModel:
    """A model with where it came from.

    Parameters
    ----------
    path : as the user gave it
    sha256 : of the file, or of all files that hold the model
    options : what the backend was loaded with, all defaults written out
    """

    model: Model
    plugin: Plugin
    path: str
    sha256: str
    options: Mapping[str, Any]


def load_model(
    path: str,
    policy: PluginPolicy,
    *,
    backend: str | None = None,
    device: str = "auto",
    threads: int | None = None,
    output: str | None = None,
    task: Task | None = None,
) -> LoadedModel:
    """Load a model with the backend that recognises its file, or with the one that is named.

    Parameters
    ----------
    backend : "NAME" or "NAME:option=value,..."

    Raises
    ------
    InputError
        No such file, or no backend recognises it.
    PluginError
        The backend is unknown, or its framework is not installed.
    """
    source = Path(path)
    if not os.path.exists(source):  # unlike Path.exists, False for a path that cannot even be looked up
        raise InputError(f"{path}: no such file{_neighbour(source)} - give the path of an exported model")
    name, given = parse_spec(backend) if backend is not None else (_recognise(source, policy), {})
    plugin = registry.find("backends", name, policy)
    cls = registry.load("backends", name, policy)
    common: dict[str, object] = {"device": device, "threads": threads, "output": output, "task": task}
    with answerable(plugin):
        known = {field.name for field in fields(cls.options)}
        chosen = build(cls.options, {k: v for k, v in common.items() if k in known} | given, f"backend {name!r}")
        with registry.framework_needed("backends", name):
            model = cls.load(source, chosen)
        extra = model.files()
    sha256 = files_sha256((source, *extra) if source.is_file() else extra)
    return LoadedModel(model, plugin, path, sha256, resolved_options(chosen))


def _recognise(source: Path, policy: PluginPolicy) -> str:
    head = b""
    if source.is_file():
        try:
            with source.open("rb") as file:
                head = file.read(HEAD)
        except OSError as error:
            raise InputError(f"{source}: cannot be read ({error.strerror}) - check its permissions") from None
    broken = []
    suffixes: set[str] = set()
    own_first = sorted(list_plugins("backends", policy), key=lambda plugin: plugin.third_party)
    for plugin in own_first:
        try:
            cls = registry.load("backends", plugin.name, policy)
            suffixes.update(cls.suffixes)
            with answerable(plugin):
                if cls.recognises(source, head):
                    return plugin.name
        except PluginError as error:
            broken.append(str(error))
    if source.is_dir():
        inside = [str(entry) for entry in sorted(source.iterdir()) if entry.suffix.lower() in suffixes]
        raise InputError(f"{source}: is a folder - give the model file{f': {inside[0]}' if inside else ' itself'}")
    if head.startswith(PICKLES) or (head.startswith(b"PK") and b"data.pkl" in head):
        raise UntrustedError(f"{source}: is a pickle, which can run code when loaded - export the model to ONNX")
    names = ", ".join(plugin.name for plugin in list_plugins("backends", policy)) or "none"
    hint = f"; {broken[0]}" if broken else ""
    raise InputError(f"{source}: no backend recognises this file (installed: {names}) - name one with --backend{hint}")


def _neighbour(source: Path) -> str:
    """Return a guess at the file that was meant: one beside it with nearly the same name."""
    try:
        names = [entry.name for entry in source.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(source.name, names, n=1, cutoff=0.8)
    return f", but there is {close[0]!r}" if close else ""
