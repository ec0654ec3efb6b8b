"""`pmcore plugins`: what is installed, who ships it, and what one of them does and takes."""

from __future__ import annotations

import inspect as python_inspect
import os
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import rich_click as click

from pmcore.commands.plugin_check import command as check_command
from pmcore.commands.plugin_lookup import plugins_named, width
from pmcore.commands.plugin_new import command as new_command

if TYPE_CHECKING:
    from pmcore.interfaces import Attack


@click.group(name="plugins", invoke_without_command=True)
@click.option("--no-third-party", is_flag=True, help="Load no plugin of another distribution.")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
@click.pass_context
def command(context: click.Context, no_third_party: bool, debug: bool) -> None:
    """List backends, signals, attacks, readers, reports and trainers; show or check one of them; write a new one.

    Which plugins of other distributions may load is also settled by PMCORE_PLUGINS=name,… in the environment.
    """
    from pmcore.installed import policy_from_environment

    context.obj = policy_from_environment(os.environ, no_third_party)
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@command.command(name="list")
@click.pass_context
def list_command(context: click.Context) -> None:
    """List every plugin: name, distribution and version, and what it is or why it does not load."""
    from pmcore.installed import GROUPS, list_unreadable
    from pmcore.registry import explain

    sections: dict[str, list[_Row]] = {}
    for group in GROUPS:
        rows = sections.setdefault(group, [])
        for status in explain(group, context.obj):
            plugin = status.plugin
            what = status.summary if status.problem is None else f"DOES NOT LOAD: {status.problem}"
            rows.append(_Row(plugin.name, f"{plugin.distribution} {plugin.version}", what.replace("``", "`")))
        rows += [_Row("?", "", f"DOES NOT LOAD: {line}") for line in list_unreadable(group)]
    every = [row for rows in sections.values() for row in rows]
    for heading, rows in sections.items():
        click.echo(click.style(heading, bold=True))
        for line in _table(rows, every) if rows else ["  none installed"]:
            click.echo(line)


@command.command(name="show")
@click.argument("name")
@click.pass_context
def show_command(context: click.Context, name: str) -> None:
    """Show one plugin: its documentation, and its options with types and defaults."""
    from pmcore import registry
    from pmcore.installed import GROUPS
    from pmcore.option_docs import describe_options

    for plugin in plugins_named(name, context.obj):
        cls = registry.load(plugin.group, plugin.name, context.obj)
        options = describe_options(getattr(cls, "options", cls) if plugin.group == "backends" else cls)
        click.echo(f"{plugin.name}   {GROUPS[plugin.group].noun} of {plugin.distribution} {plugin.version}")
        for line in textwrap.wrap("; ".join(_traits(cls)), width(), break_on_hyphens=False):
            click.echo(line)
        click.echo("")
        for line in _document(python_inspect.getdoc(cls) or "(it has no documentation)"):
            click.echo(line)
        click.echo("\nOptions" if options else "\nOptions: none")
        for option in options:
            default = "required" if option.required else f"default {option.default!r}"
            click.echo(f"  {option.name}: {option.type}, {default}")
            for line in textwrap.wrap(option.description, width() - 6):
                click.echo(f"      {line}")
        click.echo("")


def _traits(cls: type[object]) -> Iterator[str]:
    """Yield what a plugin declares about itself, as far as it does."""
    from pmcore.interfaces import Attack, Model, Reader, Signal, Task

    if issubclass(cls, Signal):
        if hasattr(cls, "direction"):
            yield f"{cls.direction} values speak for membership"
        yield f"tasks {', '.join(task for task in Task if task in cls.tasks)}"
        yield f"access {cls.access}"
    elif issubclass(cls, Attack):
        signals = _signals_read(cls)
        if signals:
            yield f"reads signals {', '.join(signals)}"
        if hasattr(cls, "knowledge"):
            yield f"knows {cls.knowledge}"
    elif issubclass(cls, Model | Reader) and cls.suffixes:
        yield f"files {', '.join(cls.suffixes)}"


def _signals_read(cls: type[Attack]) -> list[str]:
    """Return the signals that an attack reads with its default options; none if it has options without default."""
    try:
        needs = cls().needs
    except Exception:  # a plugin is called: what it cannot say without its options is left out
        return []
    return list(dict.fromkeys(name for names in needs.signals().values() for name in names))


@dataclass(frozen=True)
class _Row:
    name: str
    owner: str
    what: str


def _table(rows: Sequence[_Row], every: Sequence[_Row]) -> Iterator[str]:
    """Yield the lines of one section; columns are as wide as all sections together need."""
    name = max(len(row.name) for row in every)
    owner = min(max(len(row.owner) for row in every), 24)
    indent = " " * (2 + name + 2 + owner + 2)
    for row in rows:
        first = f"  {row.name:<{name}}  {row.owner:<{owner}}  "
        yield from (
            textwrap.wrap(
                first + row.what.replace("  ", " "), width(), subsequent_indent=indent, break_on_hyphens=False
            )
            if row.what
            else [first.rstrip()]
        )


def _document(text: str) -> Iterator[str]:
    """Yield a docstring fitted to the terminal, without its parameters, which are listed as options.

    Formulas, which are indented, stay as they are; in the section on references each entry begins a line.
    """
    blocks = [block.splitlines() for block in text.split("\n\n")]
    first = True
    for lines in blocks:
        heading = len(lines) > 1 and set(lines[1].strip()) == {"-"}
        if heading and lines[0] == "Parameters":
            continue
        if not first:
            yield ""
        first = False
        if heading:
            yield lines[0]
            for entry in _entries(lines[2:]):
                yield from textwrap.wrap(entry, width(), initial_indent="  ", subsequent_indent="    ")
        elif any(line.startswith((" ", "*", "-", ">>>")) for line in lines):
            yield from lines
        else:
            yield from textwrap.wrap(" ".join(lines), width(), break_on_hyphens=False)


def _entries(lines: Sequence[str]) -> Iterator[str]:
    """Yield the entries of a section: one ends where a line ends with a full stop."""
    entry: list[str] = []
    for line in lines:
        entry.append(line.strip())
        if line.endswith((".", ")")):
            yield " ".join(entry)
            entry = []
    if entry:
        yield " ".join(entry)


command.add_command(check_command)
command.add_command(new_command)
