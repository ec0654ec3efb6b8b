"""What an audit would do: everything is loaded and checked, all misfits are told together, nothing is queried."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from pmcore import registry
from pmcore.backend import LoadedModel, Loading, load_model, wrap_model
from pmcore.data import Progress, Role
from pmcore.errors import Complaints, InputError
from pmcore.evidence import PLAIN, Source
from pmcore.files import check_folder
from pmcore.installed import Plugin, PluginPolicy, list_plugins, policy_from_environment
from pmcore.interfaces import Attack, Model, Needs, Report, Signal, Task
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable
from pmcore.roles import Roles, prepare_roles, read_roles
from pmcore.settings import AuditSettings


@dataclass(frozen=True)
class PlannedAttack:
    """An attack that will run, under the name that the report gives it."""

    name: str
    plugin: Plugin
    attack: Attack

    @property
    def needs(self) -> Needs:
        """Return what the attack declares."""
        return self.attack.needs


@dataclass(frozen=True)
class PlannedSignal:
    """A signal that some attack reads."""

    plugin: Plugin
    signal: Signal


@dataclass(frozen=True)
class PlannedReport:
    """A form in which the report will be written."""

    plugin: Plugin
    report: Report


@dataclass(frozen=True)
class Skipped:
    """An attack that was asked for and cannot run on this model with this data."""

    name: str
    reason: str


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
    attacks = _load_attacks(settings, policy, complaints)
    signals = _load_signals(attacks, policy, complaints)
    reports = _load_reports(settings, policy, complaints)
    model = None
    with complaints.collect():
        loading = Loading(**{f.name: getattr(settings, f.name) for f in fields(Loading)})
        model = load_model(settings.model, policy, loading) if found is None else wrap_model(found, policy, loading)
    tables = read_roles(settings, policy, complaints)
    complaints.raise_any()
    assert model is not None
    try:
        skipped = _skip(attacks, signals, model.model)
        running = tuple(planned for planned in attacks if planned.name not in {one.name for one in skipped})
        if not running:
            raise InputError("; ".join(f"attack {one.name!r} cannot run: {one.reason}" for one in skipped))
        wants_population = any(planned.needs.population for planned in running)
        roles = prepare_roles(
            tables.records, model.model, model.source, settings, wants_population=wants_population, progress=progress
        )
    except BaseException:  # Ctrl-C too must not leave the model open
        model.model.close()
        raise
    read = {name for planned in running for names in planned.needs.signals().values() for name in names}
    return Plan(
        settings=settings,
        model=model,
        roles=roles,
        attacks=running,
        skipped=skipped,
        signals={name: signals[name] for name in sorted(read)},
        reports=reports,
        readers=tables.readers,
    )


def attacks_possible(model: Model, policy: PluginPolicy) -> Iterator[tuple[str, str | None]]:
    """Yield every installed attack, with its default options, and why it cannot run on a model, or None."""
    for plugin in list_plugins("attacks", policy):
        complaints = Complaints()
        with complaints.collect(), answerable(plugin):
            attack = build(registry.load("attacks", plugin.name, policy), {}, f"attack {plugin.name!r}")
            planned = PlannedAttack(plugin.name, plugin, attack)
            signals = _load_signals((planned,), policy, complaints)
            if not complaints.errors:
                yield plugin.name, _obstacle(planned.needs, signals, model, model.describe().task)
        if complaints.errors:
            yield plugin.name, str(complaints.errors[0])


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


def _load_attacks(settings: AuditSettings, policy: PluginPolicy, complaints: Complaints) -> tuple[PlannedAttack, ...]:
    planned: list[PlannedAttack] = []
    specs = []
    for text in settings.attacks:
        with complaints.collect():
            specs.append((text, *parse_spec(text)))
    repeated = Counter(name for _, name, _ in specs)
    for text, name, options in specs:
        with complaints.collect():
            plugin = registry.find("attacks", name, policy)
            cls = registry.load("attacks", name, policy)
            with answerable(plugin):
                attack = build(cls, options, f"attack {name!r}")
                attack.needs.signals()  # a third party's declaration may fail: better here than midway
            title = name if repeated[name] == 1 else text.replace(",", ";")
            if title in {other.name for other in planned}:
                raise InputError(f"attack {text!r} is asked for twice - leave one out")
            planned.append(PlannedAttack(title, plugin, attack))
    return tuple(planned)


def _load_signals(
    attacks: tuple[PlannedAttack, ...], policy: PluginPolicy, complaints: Complaints
) -> dict[str, PlannedSignal]:
    signals = {}
    for text in dict.fromkeys(
        name for planned in attacks for names in planned.needs.signals().values() for name in names
    ):
        with complaints.collect():
            name, options = parse_spec(text)
            plugin = registry.find("signals", name, policy)
            with answerable(plugin):
                signal = build(registry.load("signals", name, policy), options, f"signal {name!r}")
            signals[text] = PlannedSignal(plugin, signal)
    return signals


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


def _skip(
    attacks: tuple[PlannedAttack, ...], signals: Mapping[str, PlannedSignal], model: Model
) -> tuple[Skipped, ...]:
    task = model.describe().task
    skipped = []
    for planned in attacks:
        reason = _obstacle(planned.needs, signals, model, task)
        if reason is not None:
            skipped.append(Skipped(planned.name, reason))
    return tuple(skipped)


def _obstacle(needs: Needs, signals: Mapping[str, PlannedSignal], model: Model, task: Task) -> str | None:
    """Return why an attack cannot run on a model, or None."""
    for name in dict.fromkeys(name for names in needs.signals().values() for name in names):
        signal = signals[name].signal
        if task not in signal.tasks:
            tasks = ", ".join(sorted(signal.tasks))
            return f"signal {name!r} is defined for {tasks}, and the model is {task}"
        missing = signal.want.capabilities - model.capabilities
        if missing:
            return f"signal {name!r} needs {', '.join(sorted(missing))}, which this backend does not give"
    if needs.references or needs.population_references or needs.min_references or needs.membership:
        return "it needs reference models, and none are given"
    if needs.known_folds:
        return "it needs known members, and this audit gives none"
    if needs.queries != (PLAIN,) or needs.budget:
        return "it needs transformed or adaptive queries, and this audit sends records as they are"
    return None
