"""Which backend takes a model, from a file or from memory, and the model as it was loaded."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from pmcore import __version__, registry
from pmcore.checksums import files_sha256
from pmcore.errors import AuditError, InputError, PluginError, UntrustedError
from pmcore.installed import EVERY_PLUGIN, OWN_DISTRIBUTION, Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import LoadOptions, Model, Precision, Task
from pmcore.option_docs import resolved_options
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable
from pmcore.trust import vouched

HEAD = 4096
PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
"""How a pickle begins, in every protocol that Python has written by default since 2003."""


@dataclass(frozen=True)
class Loading:
    """How a model is to be loaded; what is None is left to the backend.

    Parameters
    ----------
    backend : "NAME" or "NAME:option=value,...", or None to go by the file or the object
    model_class : "package.module:factory" for files that hold weights alone
    """

    backend: str | None = None
    device: str = "auto"
    threads: int | None = None
    output: str | None = None
    task: Task | None = None
    precision: Precision | None = None
    trust_model: str | None = None
    model_class: str | None = None

    def options(self, cls: type[LoadOptions], given: Mapping[str, Any], backend: str) -> LoadOptions:
        """Return the options of a backend: these, joined with those that came with its name, which win.

        Raises
        ------
        InputError
            The backend does not know one of them, or a value does not fit.
        """
        asked = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "backend"}
        if self.model_class is not None and "model_class" not in {f.name for f in fields(cls)}:
            raise InputError(
                f"model_class is for files of weights alone, and the {backend} backend reads whole models; leave it out"
            )
        return build(cls, {k: v for k, v in asked.items() if v is not None} | dict(given), f"backend {backend!r}")


def loading_from(settings: object) -> Loading:
    """Return how the model of some settings is to be loaded: they have keys of the same names."""
    return Loading(**{f.name: getattr(settings, f.name) for f in fields(Loading)})


@dataclass(frozen=True)
class LoadedModel:
    """A model with where it came from.

    Parameters
    ----------
    path : as the user gave it, or what it is if it came from memory
    sha256 : of the file, or of all files that hold the model; of what a model in memory computes with, if it tells
    options : what the backend was loaded with, all defaults written out
    source : the file or folder, None for a model that came from memory
    """

    model: Model
    plugin: Plugin
    path: str
    sha256: str | None
    options: Mapping[str, Any]
    source: Path | None


def load_model(path: str, policy: PluginPolicy, loading: Loading | None = None) -> LoadedModel:
    """Load a model from a file with the backend that recognises it, or with the one that is named.

    Raises
    ------
    InputError
        No such file, or no backend recognises it.
    UntrustedError
        The file could run code when it is loaded, or is not the one that `trust_model` names.
    PluginError
        The backend is unknown, or its framework is not installed.
    """
    loading = loading or Loading()
    source = Path(path)
    if not os.path.exists(source):  # unlike Path.exists, False for a path that cannot even be looked up
        raise InputError(f"{path}: no such file{_neighbour(source)} - give the path of an exported model")
    name, given = parse_spec(loading.backend) if loading.backend is not None else (_recognise(source, policy), {})
    plugin = registry.find("backends", name, policy)
    cls = registry.load("backends", name, policy)
    with answerable(plugin):
        chosen = loading.options(cls.options, given, name)
        with registry.framework_needed("backends", name):
            model = cls.load(source, chosen)
        files = (source, *model.files()) if source.is_file() else model.files()
        try:
            vouched(files, chosen.trust_model)
        except AuditError:
            model.close()
            raise
    return LoadedModel(model, plugin, path, files_sha256(files), resolved_options(chosen), source)


def wrap_model(found: object, policy: PluginPolicy, loading: Loading | None = None) -> LoadedModel:
    """Take a model that is in memory: a `Model` as it is, anything else through the backend that knows it.

    Raises
    ------
    InputError
        No backend knows such an object; options are given with a `Model`, which is loaded already; or somebody
        vouches for an object, which is no file.
    """
    loading = loading or Loading()
    if isinstance(found, Model):
        given_late = [f.name for f in fields(loading) if getattr(loading, f.name) != f.default]
        if given_late:
            raise InputError(
                f"{', '.join(given_late)}: the model is loaded already - leave this out, or give it where the model "
                "is made"
            )
        return LoadedModel(found, _plugin_of(type(found)), title_of(found), found.sha256(), {}, None)
    if loading.trust_model is not None:
        raise InputError("trust_model: is for files that may run code, and the model is in memory; leave it out")
    name, given = parse_spec(loading.backend) if loading.backend is not None else (_wrapper(found, policy), {})
    plugin = registry.find("backends", name, policy)
    cls = registry.load("backends", name, policy)
    with answerable(plugin), registry.framework_needed("backends", name):
        chosen = loading.options(cls.options, given, name)
        model = cls.wrap(found, chosen)
        return LoadedModel(model, plugin, title_of(found), model.sha256(), resolved_options(chosen), None)


def title_of(found: object) -> str:
    """Return how a model in memory is called where others have a path."""
    name = getattr(found, "title", None)
    return name if isinstance(name, str) and isinstance(found, Model) else f"{type(found).__name__} in memory"


def _plugin_of(cls: type[Model]) -> Plugin:
    """Return the backend that a class is registered as; for one that is not, who holds it."""
    value = f"{cls.__module__}:{cls.__qualname__}"
    for plugin in list_plugins("backends", EVERY_PLUGIN):
        if plugin.attribute == cls.__name__ and cls.__module__.partition(".")[0] == plugin.module.partition(".")[0]:
            return plugin
    if cls.__module__.partition(".")[0] == OWN_DISTRIBUTION:
        return Plugin("backends", cls.__name__.removesuffix("Model").lower(), value, OWN_DISTRIBUTION, __version__)
    return Plugin("backends", cls.__name__, value, cls.__module__.partition(".")[0], "unregistered")


def _wrapper(found: object, policy: PluginPolicy) -> str:
    """Return the name of the backend that takes an object."""
    for plugin in sorted(list_plugins("backends", policy), key=lambda plugin: plugin.third_party):
        with suppress(PluginError):
            cls = registry.load("backends", plugin.name, policy)
            with answerable(plugin):
                if cls.wraps(found):
                    return plugin.name
    if isinstance(found, type):
        raise InputError(f"model: {found.__qualname__} is a class, not a model - make one, with its trained weights")
    kind = f"{type(found).__module__}.{type(found).__qualname__}"
    advice = "; wrap a function with pmcore.from_callable" if callable(found) else ""
    names = ", ".join(plugin.name for plugin in list_plugins("backends", policy)) or "none"
    raise InputError(f"model: no backend takes an object of {kind} (installed: {names}){advice}")


def _recognise(source: Path, policy: PluginPolicy) -> str:
    try:
        head = _head(source)
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror}) - check its permissions") from None
    broken = []
    known: list[type[Model]] = []
    own_first = sorted(list_plugins("backends", policy), key=lambda plugin: plugin.third_party)
    for plugin in own_first:
        try:
            cls = registry.load("backends", plugin.name, policy)
            known.append(cls)
            with answerable(plugin):
                if cls.recognises(source, head):
                    return plugin.name
        except PluginError as error:
            broken.append(str(error))
    if source.is_dir():
        inside = [str(entry) for entry in sorted(source.iterdir()) if _is_model(entry, known)]
        raise InputError(f"{source}: is a folder - give the model file{f': {inside[0]}' if inside else ' itself'}")
    if head.startswith(PICKLES) or (head.startswith(b"PK") and b"data.pkl" in head):
        raise UntrustedError(
            f"{source}: is a pickle, which can run code when loaded - export the model to ONNX, "
            "or save a scikit-learn estimator with skops.io.dump"
        )
    names = ", ".join(plugin.name for plugin in list_plugins("backends", policy)) or "none"
    hint = f"; {broken[0]}" if broken else ""
    raise InputError(f"{source}: no backend recognises this file (installed: {names}) - name one with --backend{hint}")


def _head(source: Path) -> bytes:
    """Return how a file begins; b"" for a folder."""
    if not source.is_file():
        return b""
    with source.open("rb") as file:
        return file.read(HEAD)


def _is_model(path: Path, backends: Sequence[type[Model]]) -> bool:
    """Tell whether a backend recognises a file; for a hint, so that whatever stands in the way is no matter."""
    with suppress(Exception):
        head = _head(path)
        return path.is_file() and any(cls.recognises(path, head) for cls in backends)
    return False


def _neighbour(source: Path) -> str:
    """Return a guess at the file that was meant: one beside it with nearly the same name."""
    try:
        names = [entry.name for entry in source.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(source.name, names, n=1, cutoff=0.8)
    return f", but there is {close[0]!r}" if close else ""
