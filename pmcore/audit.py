"""The audit: plan, gather the evidence once, let every attack score it, turn scores into a report."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmcore.compose import CONFIDENCE, Findings, compose
from pmcore.data import Role
from pmcore.errors import AuditError, PluginError
from pmcore.evaluate import Scored, evaluate
from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.files import OutputFolder
from pmcore.gather import Batching, Gathered, Progress, gather
from pmcore.installed import surveyed_once
from pmcore.interfaces import Direction, Floats, ModelDescription
from pmcore.option_docs import resolved_options
from pmcore.plan import Plan, PlannedAttack, make_plan
from pmcore.plugin_failures import answerable
from pmcore.schema import AuditReport, Figures
from pmcore.scores import RecordScores, write_arrays
from pmcore.settings import AuditSettings, read_settings

OWN_FILES = (
    "report.*",
    "roc.*",
    "roc-log.*",
    "class-advantage.*",
    "scores-*.png",
    "scores-*.svg",
    "scores.csv",
    "scores.npz",
    "signals.npz",
    "invalid.*",
)
"""What an earlier audit may have left in a folder: none of it may stand beside the files of this one."""
SAMPLE = 32
"""Records that the model sees before the first query, to settle what only data can tell."""


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
    settings : the fields of `pmcore.settings.AuditSettings`: model, members, non_members, attacks, ...

    Examples
    --------
    >>> from pmcore import Audit
    >>> result = Audit(model="model.onnx", members="train.npz", non_members="test.npz").run()
    >>> result.report.attacks["population"].auc
    """

    def __init__(self, *, config: Path | str | None = None, **settings: Any) -> None:
        self.settings: AuditSettings = read_settings(settings, Path(config) if config is not None else None)

    def plan(self) -> Plan:
        """Load and check everything; ask the model nothing.

        Raises
        ------
        AuditError
            All misfits together, one line each.
        """
        with surveyed_once():
            return make_plan(self.settings)

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
            plan = self.plan()
        model = plan.model.model
        try:
            with stages("query"), answerable(plan.model.plugin):
                description = _prepare(plan)
                batching = Batching(plan.settings.batch_size)
                gathered = {
                    role: gather(model, feed, plan.signals_of(role), batching, progress)
                    for role, feed in plan.roles.feeds.items()
                }
        finally:
            model.close()
        with stages("attack"):
            scored = {planned.name: _score(plan, planned, gathered, description) for planned in plan.attacks}
        with stages("figures"):
            figures = {
                planned.name: _evaluate(plan, planned, scored[planned.name], description) for planned in plan.attacks
            }
        findings = Findings(plan, description, gathered, figures, batching.current, stages.seconds, command)
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
    feed = plan.roles.feeds[Role.MEMBERS]
    inputs, _ = feed.batch(0, min(SAMPLE, len(feed)))
    plan.model.model.prepare(inputs)
    return plan.model.model.describe()


def _score(plan: Plan, planned: PlannedAttack, gathered: dict[Role, Gathered], description: ModelDescription) -> Scored:
    order = plan.roles.evidence_order()
    evidence = _evidence(plan, planned, gathered, description, order)
    try:
        scores = planned.attack.score(evidence)
        p_values = planned.attack.p_values(evidence)
    except AuditError:
        raise
    except Exception as error:  # an attack may be anybody's
        raise PluginError(
            f"attack {planned.name!r} ({planned.plugin.distribution} {planned.plugin.version}) failed: "
            f"{type(error).__name__}: {error} - report it to its authors"
        ) from error
    returned = {"scores": scores}
    if p_values is not None:
        returned |= {"p-values": p_values.values, "smallest p-values": p_values.smallest}
    for what, values in returned.items():
        if values.shape != order.shape or not np.isfinite(values).all():
            raise PluginError(
                f"attack {planned.name!r} gave {what} of shape {values.shape} for {len(order)} records, "
                f"{int((~np.isfinite(values)).sum())} of them not finite - report it to its authors"
            )
    return Scored(
        scores=_in_file_order(scores, order),
        p_values=_in_file_order(p_values.values, order) if p_values is not None else None,
        finest_level=float(p_values.smallest.max()) if p_values is not None else 1.0,
        n_members=len(plan.roles.feeds[Role.MEMBERS]),
        labels=plan.roles.audited_labels(),
    )


def _evidence(
    plan: Plan,
    planned: PlannedAttack,
    gathered: dict[Role, Gathered],
    description: ModelDescription,
    order: NDArray[np.intp],
) -> Evidence:
    """Return exactly what the attack declared.

    Records stand in the order of their digests: an attack can neither see where the members end nor give a
    result that depends on the order of the files.
    """
    arrays: dict[EvidenceKey, Floats] = {}
    for name in planned.needs.target:
        sides = [gathered[role].signals[name] for role in (Role.MEMBERS, Role.NONMEMBERS)]
        arrays[EvidenceKey(Source.TARGET, name)] = np.concatenate(sides)[order]
    population = plan.roles.feeds.get(Role.POPULATION)
    population_labels = None
    if population is not None and planned.needs.population:
        by_digest = plan.roles.population_order()
        population_labels = population.records.labels[by_digest]
        for name in planned.needs.population:
            arrays[EvidenceKey(Source.POPULATION, name)] = gathered[Role.POPULATION].signals[name][by_digest]
    for array in arrays.values():
        array.flags.writeable = False
    names = {name for signals in planned.needs.signals().values() for name in signals}
    return Evidence(
        arrays=arrays,
        labels=plan.roles.audited_labels()[order],
        population_labels=population_labels,
        lower_is_member={name: plan.signals[name].signal.direction is Direction.LOWER for name in names},
        task=description.task,
        classes=description.classes,
        seed=_seed(plan.settings.seed, planned),
    )


def _in_file_order(values: Floats, order: NDArray[np.intp]) -> Floats:
    result = np.empty_like(values)
    result[order] = values
    return result


def _evaluate(plan: Plan, planned: PlannedAttack, scored: Scored, description: ModelDescription) -> Figures:
    seed = _seed(plan.settings.seed, planned)
    return evaluate(scored, description.task, plan.settings.fpr, seed, CONFIDENCE)


def _seed(seed: int, planned: PlannedAttack) -> tuple[int, ...]:
    """Return entropy for one attack with its options: the same whatever else runs beside it."""
    purpose = f"{planned.plugin.name} {sorted(resolved_options(planned.attack).items())}"
    return (seed, zlib.crc32(purpose.encode("utf-8", "backslashreplace")))


def _finish(findings: Findings, scored: dict[str, Scored]) -> AuditResult:
    plan = findings.plan
    report = compose(findings)
    scores = _record_scores(plan, scored)
    signals = {
        f"{role.value}.{name}": values
        for role, one in findings.gathered.items()
        for name, values in one.signals.items()
    }
    written = _write(plan, report, scores, signals) if plan.settings.out is not None else ()
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


def _write(plan: Plan, report: AuditReport, scores: RecordScores, signals: dict[str, Floats]) -> tuple[Path, ...]:
    assert plan.settings.out is not None
    path = Path(plan.settings.out)
    with OutputFolder(path, plan.settings.force) as folder:
        written = []
        for form in plan.reports:
            with answerable(form.plugin):
                rendered = form.report.render(report)
            folder.write(rendered)
            written += list(rendered)
        with folder.open("scores.csv") as stream:
            scores.write_csv(stream)
        with folder.open("scores.npz") as stream:
            scores.write_npz(stream)
        written += ["scores.csv", "scores.npz"]
        if plan.settings.save_signals:
            with folder.open("signals.npz") as stream:
                write_arrays(stream, signals)
            written.append("signals.npz")
        earlier = {found.name for pattern in OWN_FILES for found in path.glob(pattern)}
        folder.retire(earlier - set(written))
    return tuple(path / name for name in written)
