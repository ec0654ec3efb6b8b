"""The audit: plan, gather the evidence once, let every attack score it, turn scores into a report."""

from __future__ import annotations

import os
from collections.abc import Iterator
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
from pmcore.gather import Batching, gather
from pmcore.installed import surveyed_once
from pmcore.interfaces import Floats, ModelDescription
from pmcore.plan import Plan, make_plan, settled
from pmcore.plugin_failures import answerable
from pmcore.schema import AuditReport, Figures
from pmcore.scores import RecordScores
from pmcore.scoring import score_attack, seed_of
from pmcore.selection import PlannedAttack
from pmcore.settings import AuditSettings, read_settings


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
        model = plan.model.model
        try:
            with stages("query"), answerable(plan.model.plugin):
                description = _prepare(plan)
                plan = settled(plan)
                batching = Batching(plan.settings.batch_size)
                gathered = {
                    role: gather(model, feed, plan.signals_of(role), batching, progress)
                    for role, feed in plan.roles.feeds.items()
                }
                source = model.gradient_source()
        finally:
            model.close()
        with stages("attack"):
            scored = {planned.name: score_attack(plan, planned, gathered, description) for planned in plan.attacks}
        with stages("figures"):
            figures = {
                planned.name: _evaluate(plan, planned, scored[planned.name], description) for planned in plan.attacks
            }
        findings = Findings(plan, description, source, gathered, figures, batching.current, stages.seconds, command)
        return _finish(findings, scored)


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
    plan.model.model.prepare(plan.roles.feeds[Role.MEMBERS].sample())
    return plan.model.model.describe()


def _evaluate(plan: Plan, planned: PlannedAttack, scored: Scored, description: ModelDescription) -> Figures:
    seed = seed_of(plan.settings.seed, planned)
    return evaluate(scored, description.task, plan.settings.fpr, seed, CONFIDENCE)


def _finish(findings: Findings, scored: dict[str, Scored]) -> AuditResult:
    plan = findings.plan
    report = compose(findings)
    scores = _record_scores(plan, scored)
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


def _record_scores(plan: Plan, scored: dict[str, Scored]) -> RecordScores:
    members, nonmembers = plan.roles.feeds[Role.MEMBERS], plan.roles.feeds[Role.NONMEMBERS]
    return RecordScores(
        ids=np.concatenate([members.records.positions, nonmembers.records.positions]),
        is_member=np.arange(len(members) + len(nonmembers)) < len(members),
        labels=plan.roles.audited_labels(),
        scores={name: one.scores for name, one in scored.items()},
        p_values={name: one.p_values for name, one in scored.items() if one.p_values is not None},
    )
