"""`pmcore plugins new`: write a project for a plugin of one's own, which passes its own tests at once."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

import rich_click as click

from pmcore.errors import InputError

if TYPE_CHECKING:
    from pmcore.plugin_template import Kind, PluginName


@click.command(name="new")
@click.argument("kind", type=click.Choice(["attack", "signal", "backend", "report", "reader"]))
@click.argument("name")
@click.option("--out", metavar="DIR", help="Folder to write; default: NAME-KIND, here.")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
def command(*, kind: str, name: str, out: str | None, debug: bool) -> None:
    """Write the project of a new plugin: code that works, its tests, and what installs it.

    NAME is what users will type: `pmcore plugins new attack gap` makes the distribution gap-attack, in it the
    package gap_attack, and in that the class GapAttack, which is registered as `gap`.
    """
    from pmcore.plugin_template import PluginName, render_project

    named = PluginName.parse(cast("Kind", kind), name)
    _check_free(named)
    folder = Path(out) if out is not None else Path(named.distribution)
    files = render_project(named)
    write_project(folder, files)
    click.echo(f"{kind} {named.entry_point!r}: class {named.class_name} of {named.distribution}, in {folder}{os.sep}")
    for path in files:
        click.echo(f"  {path}")
    click.echo("\nnext:")
    for line in (
        f"cd {shlex.quote(str(folder))} && pip install -e '.[test]'",
        "pytest",
        f"pmcore plugins check {named.entry_point}",
    ):
        click.echo(f"  {line}")


def write_project(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder that is new or empty: all of them, or none.

    Parameters
    ----------
    files : contents by path within the folder

    Raises
    ------
    InputError
        The folder holds something, is no folder, or cannot be made.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder} is not a folder; choose another --out")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise InputError(f"{folder}{os.sep} is not empty; choose another --out")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".pmcore-", dir=folder.parent, ignore_cleanup_errors=True) as place:
            staged = Path(place) / folder.name
            for path, content in files.items():
                (staged / path).parent.mkdir(parents=True, exist_ok=True)
                (staged / path).write_bytes(content)
            if folder.is_dir():
                folder.rmdir()  # only an empty one goes, whatever came into it meanwhile
            staged.rename(folder)
    except OSError as error:
        text = (error.strerror or str(error)).lower()
        raise InputError(f"{folder}{os.sep}: {text}; choose another --out") from None


def _check_free(name: PluginName) -> None:
    """Refuse a name that something installed bears: the plugin, its distribution or its package would hide it.

    Raises
    ------
    InputError
        The message names the owner.
    """
    from pmcore.installed import EVERY_PLUGIN, GROUPS, list_plugins

    for plugin in list_plugins(name.group, EVERY_PLUGIN):
        if plugin.name == name.entry_point:
            noun = GROUPS[name.group].noun
            raise InputError(f"{noun} {name.entry_point!r} exists: {plugin.owner} - choose another name")
    try:
        version = importlib.metadata.version(name.distribution)
    except importlib.metadata.PackageNotFoundError:
        pass
    else:
        raise InputError(f"{name.distribution} {version} is installed and is something else - choose another name")
    found = importlib.util.find_spec(name.package)
    if found is not None and found.origin is not None:
        raise InputError(f"a package {name.package!r} is installed: {found.origin} - choose another name")
