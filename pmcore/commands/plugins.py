"""`pmcore plugins`: what is installed, who ships it, and what one of them does and takes."""

from __future__ import annotations

import difflib
import inspect as python_inspect
import os

import rich_click as click

from pmcore.errors import PluginError


@click.group(name="plugins", invoke_without_command=True)
@click.option("--no-third-party", is_flag=True, help="Load no plugin of another distribution.")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
@click.pass_context
def command(context: click.Context, no_third_party: bool, debug: bool) -> None:
    """List backends, signals, attacks, readers, reports and trainers, or show one of them."""
    from pmcore.installed import policy_from_environment

    context.obj = policy_from_environment(os.environ, no_third_party)
    if context.invoked_subcommand is None:
        context.invoke(list_command)


@command.command(name="list")
@click.pass_context
def list_command(context: click.Context) -> None:
    """List every plugin: name, distribution, version, and what it is or why it does not load."""
    from rich.console import Console
    from rich.table import Table

    from pmcore.installed import GROUPS, list_unreadable
    from pmcore.registry import explain

    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("group", "name", "distribution", "version", "what it is"):
        table.add_column(head, overflow="fold")
    for group in GROUPS:
        for status in explain(group, context.obj):
            plugin = status.plugin
            what = status.summary if status.problem is None else f"does not load: {status.problem}"
            table.add_row(group, plugin.name, plugin.distribution, plugin.version, _plain(what))
        for line in list_unreadable(group):
            table.add_row(group, "", "", "", _plain(line))
    Console(soft_wrap=False, highlight=False).print(table)


@command.command(name="show")
@click.argument("name")
@click.pass_context
def show_command(context: click.Context, name: str) -> None:
    """Show one plugin: its documentation and its options with types and defaults."""
    from pmcore import registry
    from pmcore.installed import GROUPS, list_plugins
    from pmcore.option_docs import describe_options

    found = [plugin for group in GROUPS for plugin in list_plugins(group, context.obj) if plugin.name == name]
    if not found:
        names = sorted({plugin.name for group in GROUPS for plugin in list_plugins(group, context.obj)})
        close = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(names)}"
        raise PluginError(f"no plugin is called {name!r} - {hint}")
    for plugin in found:
        cls = registry.load(plugin.group, plugin.name, context.obj)
        click.echo(f"{plugin.name}   {GROUPS[plugin.group].noun} of {plugin.distribution} {plugin.version}")
        click.echo("")
        click.echo(python_inspect.getdoc(cls) or "(it has no documentation)")
        options = describe_options(getattr(cls, "options", cls) if plugin.group == "backends" else cls)
        if not options:
            click.echo("\nOptions: none\n")
            continue
        click.echo("\nOptions")
        for option in options:
            default = "required" if option.required else f"default {option.default!r}"
            click.echo(f"  {option.name}: {option.type}, {default}")
            if option.description:
                click.echo(f"      {option.description}")
        click.echo("")


def _plain(text: str) -> str:
    """Return text that rich prints as it is."""
    from rich.markup import escape

    return escape(text)
