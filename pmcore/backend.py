"""Which backend reads a model file, and the model as it was loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pmcore import registry
from pmcore.data import files_sha256
from pmcore.errors import InputError, PluginError
from pmcore.installed import Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import Model, Task
from pmcore.option_docs import resolved_options
from pmcore.options import build, parse_spec

HEAD = 4096


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
    if not source.exists():
        raise InputError(f"{path}: no such file - give the path of an exported model")
    name, given = parse_spec(backend) if backend is not None else (_recognise(source, policy), {})
    plugin = registry.find("backends", name, policy)
    cls = registry.load("backends", name, policy)
    common: dict[str, object] = {"device": device, "threads": threads, "output": output, "task": task}
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
    for plugin in list_plugins("backends", policy):
        try:
            cls = registry.load("backends", plugin.name, policy)
        except PluginError as error:
            broken.append(str(error))
            continue
        if cls.recognises(source, head):
            return plugin.name
    names = ", ".join(plugin.name for plugin in list_plugins("backends", policy)) or "none"
    hint = f"; {broken[0]}" if broken else ""
    raise InputError(f"{source}: no backend recognises this file (installed: {names}) - name one with --backend{hint}")
