"""What an audit would do: everything is loaded and checked, all misfits are told together, nothing is queried."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

from pmcore import registry
from pmcore.backend import LoadedModel, Loading, load_model, wrap_model
from pmcore.data import Progress, Role
from pmcore.errors import Complaints, InputError
from pmcore.evidence import Source
from pmcore.files import check_folder
from pmcore.installed import Plugin, PluginPolicy, policy_from_environment
from pmcore.interfaces import Needs, Report, Signal
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable
from pmcore.roles import Roles, prepare_roles, read_roles
from pmcore.selection import PlannedAttack, PlannedSignal, Skipped, load_attacks, load_signals, select
from pmcore.settings import AuditSettings


@dataclass(frozen=True)
class PlannedReport:
    """A form in which the report will be written."""

    plugin: Plugin
    report: Report


@dataclass(frozen=True)
class Plan:
    """A whole audit before its first query.

    Parameters
    ----------
    signals : by the name under which attacks read them, options included
    """

    settings: AuditSettings
    model: LoadedModel
    roles: Roles
    attacks: tuple[PlannedAttack, ...]
    skipped: tuple[Skipped, ...]
    signals: Mapping[str, PlannedSignal]
    reports: tuple[PlannedReport, ...]
    readers: tuple[Plugin, ...]

    def signals_of(self, role: Role) -> dict[str, Signal]:
        """Return the signals that some attack reads of a role's records."""
        source = Source.POPULATION if role is Role.POPULATION else Source.TARGET
        names = {name for planned in self.attacks for name in planned.needs.signals()[source]}
        return {name: self.signals[name].signal for name in sorted(names)}

    def queries(self) -> dict[str, int]:
        """Return the number of records that the model will be asked about, by role."""
        return {role.value: len(feed) for role, feed in self.roles.feeds.items()}

    def queries_of(self, planned: PlannedAttack) -> int:
        """Return the number of queries that one attack would cost by itself."""
        counts = self.queries()
        population = counts.get(Role.POPULATION, 0) if planned.needs.population else 0
        return counts[Role.MEMBERS] + counts[Role.NONMEMBERS] + population

    def plugins(self) -> Iterator[Plugin]:
        """Yield every plugin that takes part, in a fixed order."""
        yield self.model.plugin
        yield from self.readers
        yield from (planned.plugin for planned in self.attacks)
        yield from (self.signals[name].plugin for name in sorted(self.signals))
        yield from (form.plugin for form in self.reports)


def make_plan(settings: AuditSettings, progress: Progress | None = None, found: object | None = None) -> Plan:
    """Load and check everything that an audit needs; ask the model nothing.

    Parameters
    ----------
    found : a model in memory, which is audited instead of the file that the settings name

    Raises
    ------
    AuditError
        Whatever does not fit: all of it together, one line each.
    """
    policy = policy_from_environment(os.environ, no_third_party=not settings.third_party)
    complaints = Complaints()
    if settings.out is not None:
        with complaints.collect():
            check_folder(Path(settings.out), settings.force)
            _keep_inputs_out_of(Path(settings.out), settings, in_memory=found is not None)
    attacks = load_attacks(settings.attacks, settings.layers, policy, complaints)
    signals = load_signals(attacks, policy, complaints)
    reports = _load_reports(settings, policy, complaints)
    model = None
    with complaints.collect():
        loading = Loading(**{f.name: getattr(settings, f.name) for f in fields(Loading)})
        model = load_model(settings.model, policy, loading) if found is None else wrap_model(found, policy, loading)
    tables = read_roles(settings, policy, complaints)
    complaints.raise_any()
    assert model is not None
    try:
        with answerable(model.plugin):
            selected = select(attacks, signals, model.model, policy)
        wants_population = any(planned.needs.population for planned in selected.running)
        roles = prepare_roles(
            tables.records, model.model, model.source, settings, wants_population=wants_population, progress=progress
        )
        selected = selected.without(lambda planned: _too_few(planned.needs, roles))
    except BaseException:  # Ctrl-C too must not leave the model open
        model.model.close()
        raise
    return Plan(
        settings=settings,
        model=model,
        roles=roles,
        attacks=selected.running,
        skipped=selected.skipped,
        signals=selected.signals,
        reports=reports,
        readers=tables.readers,
    )


def settled(plan: Plan) -> Plan:
    """Return a plan whose attacks can still run after the model was prepared, which may have found obstacles.

    Raises
    ------
    InputError
        None of them can.
    """
    policy = policy_from_environment(os.environ, no_third_party=not plan.settings.third_party)
    with answerable(plan.model.plugin):
        selected = select(plan.attacks, plan.signals, plan.model.model, policy)
    skipped = (*plan.skipped, *selected.skipped)
    return replace(plan, attacks=selected.running, skipped=skipped, signals=selected.signals)


def _keep_inputs_out_of(out: Path, settings: AuditSettings, in_memory: bool) -> None:
    """Refuse an output folder that holds what is audited: a report must never take the place of an input."""
    given = {
        "model": "" if in_memory else settings.model,
        "members": settings.members,
        "non_members": settings.non_members,
        "population": settings.population or "",
    }
    for key, paths in given.items():
        for path in filter(None, paths.split(",")):
            resolved = Path(path).resolve()
            if out.resolve() in (resolved, resolved.parent):
                raise InputError(f"{out}/ holds an input ({key}: {path}); choose another --out")


def _load_reports(settings: AuditSettings, policy: PluginPolicy, complaints: Complaints) -> tuple[PlannedReport, ...]:
    reports = []
    for text in settings.reports:
        with complaints.collect():
            name, options = parse_spec(text)
            plugin = registry.find("reports", name, policy)
            with answerable(plugin):
                form = build(registry.load("reports", name, policy), options, f"report {name!r}")
            reports.append(PlannedReport(plugin, form))
    return tuple(reports)


def _too_few(needs: Needs, roles: Roles) -> str | None:
    """Return why the records do not suffice for an attack that learns from part of them, or None."""
    fewest = roles.fewest_distinct() if needs.known_folds else 0
    if fewest >= needs.known_folds:
        return None
    return (
        f"it learns from {needs.known_folds} parts of members and of non-members, and one side has {fewest} different "
        "records of its own"
    )
