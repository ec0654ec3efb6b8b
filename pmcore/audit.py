"""The audit: plan, gather the evidence once, let every attack score it, turn scores into a report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from pmcore.backend import title_of
from pmcore.compose import CONFIDENCE, Findings, compose
from pmcore.data import Progress, Role
from pmcore.delivery import file_names, write
from pmcore.evaluate import Scored, evaluate
from pmcore.evidence import PLAIN
from pmcore.features import features_of
from pmcore.games import Played, play
from pmcore.gather import Batching, Gathered, gather
from pmcore.installed import PluginPolicy, policy_from_environment, surveyed_once
from pmcore.interfaces import Floats, ModelDescription
from pmcore.label_queries import CountedQueries
from pmcore.plan import Plan, make_plan, settled
from pmcore.plugin_failures import answerable
from pmcore.reference_answers import ReferenceAnswers, gather_references, refuse_copies_of_the_target
from pmcore.reference_set import AUDITED
from pmcore.schema import AuditReport, Figures
from pmcore.scores import RecordScores
from pmcore.scoring import in_file_order, score_attack
from pmcore.selection import PlannedAttack
from pmcore.settings import AuditSettings, read_settings
from pmcore.stand import Stand, make_stand, seed_of, target_arrays


@dataclass(frozen=True)
class AuditResult:
    """What an audit found: the typed report, and per record what is personal data.

    Parameters
    ----------
    report : every figure, with its interval
    scores : per audited record: position in its file, role, label, and each attack's score and p-value
    signals : "ROLE.SIGNAL" -> (n, ...), the signals that the attacks read
    written : the files of the report, if a folder was given
    """

    report: AuditReport
    scores: RecordScores
    signals: dict[str, Floats]
    written: tuple[Path, ...]

    def __str__(self) -> str:
        from pmcore.reports.terminal import render_terminal

        return render_terminal(self.report, wrote=[str(path) for path in self.written])

    def _repr_html_(self) -> str:
        from pmcore.reports.notebook import render_html

        return render_html(self.report)


class Audit:
    """A membership-inference audit of one model.

    Parameters
    ----------
    config : an audit file, whose keys are joined with the arguments (arguments win)
    model : the path of a model file; or a model in memory: a torch or Keras module, a scikit-learn estimator, what
        `pmcore.from_callable` returns, or any `pmcore.interfaces.Model`, which the audit closes when it is done
    settings : the other fields of `pmcore.settings.AuditSettings`: members, non_members, attacks, ...

    Examples
    --------
    >>> from pmcore import Audit
    >>> result = Audit(model="model.onnx", members="train.npz", non_members="test.npz").run()
    >>> result.report.attacks["population"].auc
    """

    def __init__(self, *, config: Path | str | None = None, model: object = None, **settings: Any) -> None:
        self._found = None if model is None or isinstance(model, str | os.PathLike) else model
        if model is not None:
            settings["model"] = model if self._found is None else title_of(model)
        given = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in settings.items()}
        self.settings: AuditSettings = read_settings(given, Path(config) if config is not None else None)

    def plan(self, progress: Progress | None = None) -> Plan:
        """Load and check everything; ask the model nothing.

        Parameters
        ----------
        progress : called while records are hashed, which takes a while for large files

        Raises
        ------
        AuditError
            All misfits together, one line each.
        """
        with surveyed_once():
            return make_plan(self.settings, progress, self._found)

    def run(self, progress: Progress | None = None, command: str | None = None) -> AuditResult:
        """Run the audit, and write the report if a folder was given.

        Parameters
        ----------
        progress : called with role, records done and records in all after each batch
        command : the command line, for the section on reproduction

        Raises
        ------
        AuditError
            What stands in the way; before the first query whenever that can be known then.
        """
        stages = _Stages()
        with stages("plan"):
            plan = self.plan(progress)
        policy = policy_from_environment(os.environ, no_third_party=not plan.settings.third_party)
        model = plan.model.model
        try:
            with stages("query"), answerable(plan.model.plugin):
                description = _prepare(plan)
                plan = settled(plan)
                batching = Batching(plan.settings.batch_size)
                answers = _gather(plan, batching, progress)
                source = model.gradient_source()
            queries = _adaptive(plan)
            if not queries:
                model.close()
            stand, references = _stand(plan, description, answers, queries, stages, policy, progress)
            with stages("attack"):
                scored = {planned.name: score_attack(planned, stand) for planned in plan.attacks}
        finally:
            model.close()
        with stages("game"):
            played = play(stand, plan.settings.fpr, CONFIDENCE, progress)
        with stages("figures"):
            figures = {
                planned.name: _evaluate(plan, planned, scored[planned.name], description) for planned in plan.attacks
            }
        gathered = {role: found for (role, query), found in answers.items() if query == PLAIN}
        findings = Findings(
            plan,
            description,
            source,
            gathered,
            figures,
            batching.current,
            stages.seconds,
            command,
            game=played.part,
            accuracy=references.accuracy if references is not None else (),
            adaptive={name: int(asked.spent.sum()) for name, asked in queries.items()},
        )
        return _finish(findings, scored, played)


def _gather(plan: Plan, batching: Batching, progress: Progress | None) -> dict[tuple[Role, str], Gathered]:
    """Return what the target answers about the records as they are, and transformed as attacks declare."""
    found = {}
    for query in plan.every_query():
        for role in plan.roles.feeds:
            signals = plan.signals_of(role, query)
            if signals or query == PLAIN:
                found[role, query] = gather(plan.model.model, plan.feed(role, query), signals, batching, progress)
    return found


def _adaptive(plan: Plan) -> dict[str, CountedQueries]:
    """Return the adaptive queries of each attack that declares some."""
    feeds = [plan.roles.feeds[role] for role in AUDITED]
    order = plan.roles.evidence_order()
    return {
        planned.name: CountedQueries(plan.model.model, feeds, order, planned.needs.budget, planned.name)
        for planned in plan.attacks
        if planned.needs.budget
    }


def _stand(
    plan: Plan,
    description: ModelDescription,
    answers: Mapping[tuple[Role, str], Gathered],
    queries: Mapping[str, CountedQueries],
    stages: _Stages,
    policy: PluginPolicy,
    progress: Progress | None,
) -> tuple[Stand, ReferenceAnswers | None]:
    """Return all evidence in the order in which attacks see it, and what the references answered, if there are some."""
    arrays = target_arrays(plan, answers)
    references = None
    if plan.references is not None:
        with stages("references"):
            references = gather_references(plan, description, policy, progress)
        refuse_copies_of_the_target(plan.references, arrays, references.arrays)
        arrays |= references.arrays
    wanted = {planned.needs.features for planned in plan.attacks if planned.needs.features}
    features = {
        (role, columns): features_of(feed, columns) for columns in wanted for role, feed in plan.roles.feeds.items()
    }
    return make_stand(plan, description, arrays, features, queries), references


class _Stages:
    """Wall-clock seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = perf_counter()
        yield
        self.seconds[stage] = perf_counter() - began


def _prepare(plan: Plan) -> ModelDescription:
    plan.model.model.prepare(plan.roles.sample())
    return plan.model.model.describe()


def _evaluate(plan: Plan, planned: PlannedAttack, scored: Scored, description: ModelDescription) -> Figures:
    seed = seed_of(plan.settings.seed, planned)
    return evaluate(scored, description.task, plan.settings.fpr, seed, CONFIDENCE)


def _finish(findings: Findings, scored: dict[str, Scored], played: Played) -> AuditResult:
    plan = findings.plan
    report = compose(findings)
    scores = _record_scores(plan, scored, played)
    signals = {
        f"{role.value}.{name}": values
        for role, one in findings.gathered.items()
        for name, values in one.signals.items()
    }
    written: tuple[Path, ...] = ()
    if plan.settings.out is not None:
        report = report.model_copy(update={"run": report.run.model_copy(update={"files": file_names(plan, report)})})
        written = write(plan, report, scores, signals)
    return AuditResult(report, scores, signals, written)


def _record_scores(plan: Plan, scored: dict[str, Scored], played: Played) -> RecordScores:
    members, nonmembers = plan.roles.feeds[Role.MEMBERS], plan.roles.feeds[Role.NONMEMBERS]
    return RecordScores(
        ids=np.concatenate([members.records.positions, nonmembers.records.positions]),
        is_member=np.arange(len(members) + len(nonmembers)) < len(members),
        labels=plan.roles.audited_labels(),
        scores={name: one.scores for name, one in scored.items()},
        p_values={name: one.p_values for name, one in scored.items() if one.p_values is not None},
        beside={name: in_file_order(values, plan.roles.evidence_order()) for name, values in played.columns.items()},
    )
