"""`pmcore plan`: what an audit would do, without asking the model anything."""

from __future__ import annotations

from typing import Any

import rich_click as click

from pmcore.commands.arguments import audit_arguments, settings_of
from pmcore.errors import ExitCode


@click.command(name="plan")
@audit_arguments
def command(**given: Any) -> int:
    """Show what an audit of MODEL would run, what it would skip and why, and how many queries it costs.

    Takes the arguments of `pmcore audit`; checks all of them and tells all misfits together.
    """
    from pmcore.audit import Audit
    from pmcore.option_docs import resolved_options

    plan = Audit(config=given["config"], **settings_of(given)).plan()
    description = plan.model.model.describe()
    click.echo(f"model        {plan.model.path}   {plan.model.plugin.name}, {description.device}")
    for spec in description.inputs:
        click.echo(f"input        {spec}")
    found = next(iter(plan.roles.feeds.values())).discovery
    click.echo(f"inputs are   {', '.join(found.steps) or 'sent as they are'}   ({found.source})")
    for role, feed in plan.roles.feeds.items():
        click.echo(f"{role.value:<12} {len(feed)} records of {feed.path}")
    if plan.roles.population_from is not None:
        click.echo(f"             population: {plan.roles.population_from}")
    shared = {pair: count for pair, count in plan.roles.overlap.items() if count}
    for pair, count in shared.items():
        click.echo(f"overlap      {count} records in {pair}")
    click.echo(f"queries      {sum(plan.queries().values())} in all, one pass for all attacks")
    click.echo("")
    for planned in plan.attacks:
        options = ", ".join(f"{key}={value}" for key, value in resolved_options(planned.attack).items())
        click.echo(f"run          {planned.name}   {options}")
        click.echo(f"             {plan.queries_of(planned)} queries if it ran alone")
    for skipped in plan.skipped:
        click.echo(f"skip         {skipped.name}: {skipped.reason}")
    for warning in plan.roles.warnings:
        click.echo(f"warning      {warning}")
    plan.model.model.close()
    return int(ExitCode.PARTIAL if plan.skipped else ExitCode.DONE)
