"""What an audit would do: everything is loaded and checked, all misfits are told together, nothing is queried."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pmcore import registry
from pmcore.backend import LoadedModel, load_model, loading_from, wrap_model
from pmcore.data import Progress, Role
from pmcore.errors import Complaints, InputError
from pmcore.evidence import PLAIN, Source
from pmcore.feed import Feed
from pmcore.files import check_folder
from pmcore.installed import Plugin, PluginPolicy, policy_from_environment
from pmcore.interfaces import Report, Signal, Want
from pmcore.means import Coverage, Means, check_game
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable
from pmcore.queries import parse_query
from pmcore.reference_set import PlacedReferences, ReferenceSet, check_references, place, read_references
from pmcore.roles import Roles, prepare_roles, read_roles
from pmcore.selection import PlannedAttack, PlannedSignal, Skipped, load_attacks, load_signals, select, signal_names
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
    means : what the audit has besides the model
    references : the reference models, with the membership of the audit's records
    """

    settings: AuditSettings
    model: LoadedModel
    roles: Roles
    attacks: tuple[PlannedAttack, ...]
    skipped: tuple[Skipped, ...]
    signals: Mapping[str, PlannedSignal]
    reports: tuple[PlannedReport, ...]
    readers: tuple[Plugin, ...]
    means: Means
    references: PlacedReferences | None = None

    def signals_of(self, role: Role, query: str = PLAIN) -> dict[str, Signal]:
        """Return the signals that some attack reads of the target on a role's records, in one query.

        Where models play the target in turn, what is read of the references is read of the target too.
        """
        return self._read(query, *self._sources(role, of_references=False))

    def reference_signals(self, role: Role) -> dict[str, dict[str, Signal]]:
        """Return the signals that are read of the references on a role's records, by query; the plain one first.

        Where references play the target in turn, what is read of the target is read of them too.
        """
        sources = self._sources(role, of_references=True)
        wanted = {query: self._read(query, *sources) for query in self.every_query()}
        return {query: signals for query, signals in wanted.items() if signals or query == PLAIN}

    def every_query(self) -> tuple[str, ...]:
        """Return the queries that attacks declare, the plain one first."""
        declared = {query for planned in self.attacks for query in planned.needs.queries}
        return (PLAIN, *sorted(declared - {PLAIN}))

    def feed(self, role: Role, query: str = PLAIN) -> Feed:
        """Return the records of a role as a query sends them."""
        feed = self.roles.feeds[role]
        return feed if query == PLAIN else replace(feed, query=parse_query(query), facts=self.means.facts or {})

    def queries(self) -> dict[str, int]:
        """Return the number of queries that the model will be asked, by role, adaptive ones among "adaptive"."""
        counts = {}
        for role, feed in self.roles.feeds.items():
            transformed = sum(bool(self.signals_of(role, query)) for query in self.every_query() if query != PLAIN)
            counts[role.value] = len(feed) * (1 + transformed)
        adaptive = sum(planned.needs.budget for planned in self.attacks) * self._audited()
        return {**counts, "adaptive": adaptive} if adaptive else counts

    def queries_of(self, planned: PlannedAttack) -> int:
        """Return the number of queries of the target that one attack would cost by itself, at the most."""
        needs = planned.needs
        population = len(self.roles.feeds[Role.POPULATION]) if needs.population else 0
        sent = len(needs.queries) if needs.target or needs.population else 0
        return sent * ((self._audited() if needs.target else 0) + population) + needs.budget * self._audited()

    def does_not_play(self, planned: PlannedAttack) -> str | None:
        """Return why an attack cannot be run on references in the place of the target, or None if it can."""
        if planned.needs.known_folds:
            return "it learns from known members of the audited model, which differ from model to model"
        if planned.needs.budget:
            return "its adaptive queries go to the audited model alone"
        deep = [
            name for name in signal_names(planned.needs) if self.signals[name].signal.want != Want(predictions=True)
        ]
        if self.means.recorded and deep:
            return f"it reads {deep[0]}, and the answers of the references were recorded"
        return None

    def _sources(self, role: Role, *, of_references: bool) -> tuple[Source, ...]:
        of_target, others = (
            (Source.POPULATION, Source.POPULATION_REFERENCES)
            if role is Role.POPULATION
            else (Source.TARGET, Source.REFERENCES)
        )
        if self.settings.game != "model":
            return (others, of_target) if of_references else (of_target, others)
        return (others,) if of_references else (of_target,)

    def _audited(self) -> int:
        return len(self.roles.feeds[Role.MEMBERS]) + len(self.roles.feeds[Role.NONMEMBERS])

    def _read(self, query: str, *sources: Source) -> dict[str, Signal]:
        """Return what is read from the first source, and from others by attacks that run on every model in turn."""
        names = {
            name
            for planned in self.attacks
            if query in planned.needs.queries
            for source in (sources if self.does_not_play(planned) is None else sources[:1])
            for name in planned.needs.signals()[source]
        }
        return {name: self.signals[name].signal for name in sorted(names)}

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
        loading = loading_from(settings)
        model = load_model(settings.model, policy, loading) if found is None else wrap_model(found, policy, loading)
    tables = read_roles(settings, policy, complaints)
    references = None
    with complaints.collect():
        references = read_references(settings)
    complaints.raise_any()
    assert model is not None
    try:
        means = _means_at_first(references, settings)
        with answerable(model.plugin):
            selected = select(attacks, signals, model.model, policy, means)
        roles = prepare_roles(
            tables.records,
            model.model,
            model.source,
            settings,
            wants_population=any(map(_wants_population, selected.running)),
            progress=progress,
        )
        placed = None
        if references is not None:
            check_references(references, model, policy)
            placed = place(references, roles)
        coverage = None if placed is None else placed.coverage()
        check_game(settings.game, coverage)
        means = Means(
            references=coverage,
            recorded=means.recorded,
            facts=roles.facts() if any(map(_sends_others, selected.running)) else None,
            fewest_distinct=roles.fewest_distinct(),
            game=settings.game,
        )
        with answerable(model.plugin):
            again = select(selected.running, selected.signals, model.model, policy, means)
    except BaseException:  # Ctrl-C too must not leave the model open
        model.model.close()
        raise
    return Plan(
        settings=settings,
        model=model,
        roles=roles,
        attacks=again.running,
        skipped=(*selected.skipped, *again.skipped),
        signals=again.signals,
        reports=reports,
        readers=tables.readers,
        means=means,
        references=placed,
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
        selected = select(plan.attacks, plan.signals, plan.model.model, policy, plan.means)
    skipped = (*plan.skipped, *selected.skipped)
    return replace(plan, attacks=selected.running, skipped=skipped, signals=selected.signals)


def _keep_inputs_out_of(out: Path, settings: AuditSettings, in_memory: bool) -> None:
    """Refuse an output folder that holds what is audited: a report must never take the place of an input."""
    given = {
        "model": "" if in_memory else settings.model,
        "members": settings.members,
        "non_members": settings.non_members,
        "population": settings.population or "",
        "references": ",".join(settings.references),
        "reference_membership": settings.reference_membership or "",
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


def _means_at_first(references: ReferenceSet | None, settings: AuditSettings) -> Means:
    """Return what an audit has, as long as its records were not looked at: the most that references can be."""
    if references is None:
        return Means(game=settings.game)
    most = len(references)
    inside = 0 if references.table is None else most
    coverage = Coverage(models=most, out=most, inside=inside, population_out=most)
    return Means(coverage, recorded=references.recorded is not None, game=settings.game)


def _sends_others(planned: PlannedAttack) -> bool:
    """Tell whether an attack sends anything but the records as they are."""
    return planned.needs.queries != (PLAIN,) or planned.needs.budget > 0


def _wants_population(planned: PlannedAttack) -> bool:
    """Tell whether an attack, or what may run in its place, reads population records."""
    several = [planned.needs]
    with answerable(planned.plugin):
        if planned.attack.fallback is not None:
            several.append(planned.attack.fallback.needs)
    return any(needs.population or needs.population_references for needs in several)
