"""`pmcore plan`: what an audit would do, without asking the model anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from pmcore.commands.arguments import audit_arguments, settings_of
from pmcore.commands.output import echo
from pmcore.commands.several import CommandWithSeveral
from pmcore.errors import ExitCode
from pmcore.numerals import count

if TYPE_CHECKING:
    from pmcore.plan import Plan

LABELS = {"members": "members", "nonmembers": "non-members", "population": "population"}


@click.command(name="plan", cls=CommandWithSeveral)
@audit_arguments
def command(**given: Any) -> int:
    """Show what an audit of MODEL would run, what it would skip and why, and how many queries it costs.

    Takes the arguments of `pmcore audit`, checks them all, and tells all misfits together. Nothing is queried
    and nothing is written.
    """
    from pmcore.audit import Audit

    plan = Audit(config=given["config"], **settings_of(given)).plan()
    try:
        _echo_model(plan)
        _echo_records(plan)
        _echo_attacks(plan)
    finally:
        plan.model.model.close()
    return int(ExitCode.PARTIAL if any(one.asked for one in plan.skipped) else ExitCode.DONE)


def _echo_model(plan: Plan) -> None:
    description = plan.model.model.describe()
    _echo("model", f"{plan.model.path}   {plan.model.plugin.name}, {description.device}, {description.precision}")
    for spec in description.inputs:
        _echo("input", str(spec))
    found = next(iter(plan.roles.feeds.values())).discovery
    _echo("preprocessing", f"{', '.join(found.steps) or 'none'}   ({found.source})")


def _echo_records(plan: Plan) -> None:
    for role, feed in plan.roles.feeds.items():
        origin = plan.roles.population_from if role.value == "population" else f"records of {feed.path}"
        counted = origin if origin and origin[0].isdigit() else f"{count(len(feed))} {origin}"
        _echo(LABELS[role.value], counted)
    if plan.references is not None:
        coverage = plan.references.coverage()
        _echo(
            "references",
            f"{count(coverage.models)} of {plan.references.set.path}: {coverage.inside} or more saw each audited "
            f"record, {coverage.out} or more did not",
        )
    for pair, shared in plan.roles.overlap.items():
        if shared:
            _echo("overlap", f"{count(shared)} records in {pair}: the audit would be INVALID (see --drop-overlap)")
    for warning in plan.roles.warnings:
        _echo("warning", warning)


def _echo_attacks(plan: Plan) -> None:
    from pmcore.option_docs import resolved_options

    echo("")
    for planned in plan.attacks:
        options = ", ".join(f"{key}={value}" for key, value in resolved_options(planned.attack).items())
        _echo("run", f"{planned.name}   {count(plan.queries_of(planned))} queries by itself")
        if options:
            _echo("", options)
        if planned.note is not None:
            _echo("", f"in place of what was asked: {planned.note}")
    for skipped in plan.skipped:
        _echo("skip", f"{skipped.name}: {skipped.reason}")
    _echo("queries", f"{count(sum(plan.queries().values()))} in all: one pass serves every attack")


def _echo(label: str, text: str) -> None:
    echo(f"{label:<14} {text}".rstrip())
