"""From what was found to the typed report."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Literal

import numpy as np

from pmcore import __version__, validity
from pmcore.data import Role
from pmcore.evaluate import share
from pmcore.evidence import Access
from pmcore.gather import Gathered
from pmcore.interfaces import GradientSource, ModelDescription, Scale
from pmcore.option_docs import resolved_options
from pmcore.plan import Plan
from pmcore.reference_answers import Accuracy
from pmcore.reference_report import check_coverage, check_likeness, reference_part
from pmcore.schema import (
    AttackPart,
    AuditReport,
    DataPart,
    Figures,
    GamePart,
    GradientPart,
    InputPart,
    ModelPart,
    PluginPart,
    PreprocessingPart,
    RolePart,
    RunPart,
    SkippedPart,
    ThreatModelPart,
    Validity,
)
from pmcore.selection import PlannedAttack, signal_names

CONFIDENCE = 0.95
"""Of every interval in the report."""


@dataclass(frozen=True)
class Findings:
    """Everything that one audit found, before it is written down.

    Parameters
    ----------
    source : where gradients came from, or None if none were asked for
    figures : attack -> its figures
    batch_size : the size that the batches had at the end
    seconds : stage -> wall-clock seconds
    command : the command line, or None
    game : whose leakage was measured
    accuracy : of each reference on the audited records
    adaptive : attack -> adaptive queries that it sent
    """

    plan: Plan
    description: ModelDescription
    source: GradientSource | None
    gathered: Mapping[Role, Gathered]
    figures: Mapping[str, Figures]
    batch_size: int
    seconds: Mapping[str, float]
    command: str | None
    game: GamePart
    accuracy: tuple[Accuracy, ...] = ()
    adaptive: Mapping[str, int] = field(default_factory=dict)


def compose(findings: Findings) -> AuditReport:
    """Return the report. All but its `run` part is the same for the same inputs and seed."""
    plan = findings.plan
    roles = plan.roles
    parts = _roles(findings)
    checks = _checks(findings, parts)
    return AuditReport(
        valid=all(check.verdict != "invalid" for check in checks),
        warnings=[*roles.warnings, *(check.text for check in checks if check.verdict == "warning")],
        validity=checks,
        model=_model(findings),
        data=DataPart(
            members=parts[Role.MEMBERS],
            nonmembers=parts[Role.NONMEMBERS],
            population=parts.get(Role.POPULATION),
            population_from=roles.population_from,
            overlap=dict(roles.overlap),
            dropped=dict(roles.dropped),
        ),
        references=reference_part(plan, findings.accuracy, CONFIDENCE) if plan.references is not None else None,
        game=findings.game,
        attacks={planned.name: _attack(findings, planned) for planned in plan.attacks},
        skipped=[
            SkippedPart(attack=skipped.name, reason=skipped.reason, asked=skipped.asked) for skipped in plan.skipped
        ],
        seed=plan.settings.seed,
        confidence=CONFIDENCE,
        options=_options(plan),
        plugins=_plugins(plan),
        run=_run(findings),
    )


def _checks(findings: Findings, parts: Mapping[Role, RolePart]) -> list[Validity]:
    plan, description = findings.plan, findings.description
    feed = plan.roles.feeds[Role.NONMEMBERS]
    gathered = findings.gathered[Role.NONMEMBERS]
    fit = validity.Fit(
        n=len(feed),
        correct=gathered.correct,
        guess=validity.guess_level(description.task, feed.records.labels, gathered.predicted_counts),
        one_class=bool((feed.records.labels == feed.records.labels[:1]).all()),
        r_squared=_r_squared(findings, Role.NONMEMBERS),
        r_squared_members=_r_squared(findings, Role.MEMBERS),
    )
    found = feed.discovery
    steps = f"{', '.join(found.steps)}: {found.source}" if found.steps else "nothing was done to them"
    return [
        validity.check_accuracy(fit, plan.settings.expected_accuracy, steps),
        validity.check_overlap(plan.roles.overlap, plan.roles.dropped),
        validity.check_duplicates(
            {role.value: part.duplicates for role, part in parts.items()},
            {role.value: part.n for role, part in parts.items()},
        ),
        validity.check_output(description),
        validity.check_resolution(len(feed), plan.settings.fpr),
        validity.check_orientation({name: figures.auc for name, figures in findings.figures.items()}),
        *_checks_of_learners(plan),
        *_checks_of_references(findings, parts),
    ]


def _checks_of_learners(plan: Plan) -> Iterator[Validity]:
    """Yield what must be checked where an attack learns from the labels of other records."""
    learners = tuple(planned.name for planned in plan.attacks if planned.needs.known_folds)
    sides = [plan.roles.feeds[role].records.labels for role in (Role.MEMBERS, Role.NONMEMBERS)]
    if learners and all(labels.ndim == 1 and labels.dtype.kind in "iu" for labels in sides):
        yield validity.check_classes(sides[0], sides[1], learners)


def _checks_of_references(findings: Findings, parts: Mapping[Role, RolePart]) -> Iterator[Validity]:
    """Yield what must be checked where there are references."""
    if findings.plan.references is None:
        return
    yield check_coverage(findings.plan)
    sides = [parts[role].accuracy for role in (Role.MEMBERS, Role.NONMEMBERS)]
    if findings.accuracy and sides[0] is not None and sides[1] is not None:
        yield check_likeness(findings.accuracy, sides[0], sides[1])


def _model(findings: Findings) -> ModelPart:
    loaded, description = findings.plan.model, findings.description
    return ModelPart(
        path=loaded.path,
        sha256=loaded.sha256,
        backend=loaded.plugin.name,
        runtime=description.runtime,
        device=description.device,
        precision=description.precision,
        task=description.task.value,
        classes=description.classes,
        inputs=[InputPart(name=spec.name, shape=list(spec.shape), dtype=spec.dtype) for spec in description.inputs],
        output=_output(description),
        output_name=description.output,
        resolution_limited=description.resolution_limited,
        preprocessing=_preprocessing(findings),
        gradients=list(_gradients(findings)),
        notes=list(description.notes),
    )


def _gradients(findings: Findings) -> Iterator[GradientPart]:
    if findings.source is not None:
        yield GradientPart(**asdict(findings.source))
    if any(planned.signal.want.head_input for planned in findings.plan.signals.values()):
        yield GradientPart(
            tier="closed form",
            method="last linear layer (norms of what enters it and of the loss gradient at what leaves it)",
            precision=findings.description.precision,
            agreement=None,
            surrogate=False,
        )


def _output(
    description: ModelDescription,
) -> Literal["logits", "probabilities", "pre-softmax", "values"]:
    if description.pre_softmax:
        return "pre-softmax"
    outputs: dict[Scale, Literal["logits", "probabilities", "values"]] = {
        Scale.LOGITS: "logits",
        Scale.PROBABILITIES: "probabilities",
        Scale.VALUES: "values",
    }
    return outputs[description.scale]


def _roles(findings: Findings) -> dict[Role, RolePart]:
    feeds = findings.plan.roles.feeds
    by_files = {feed.records.files: feed.records for feed in feeds.values()}
    hashes = {files: records.sha256 for files, records in by_files.items()}
    parts = {}
    for role, feed in feeds.items():
        correct = findings.gathered[role].correct
        parts[role] = RolePart(
            path=feed.path,
            n=len(feed),
            sha256=hashes[feed.records.files],
            duplicates=findings.plan.roles.duplicates(role),
            accuracy=share(correct, len(feed), CONFIDENCE) if correct is not None else None,
            r_squared=_r_squared(findings, role),
            notes=list(feed.records.notes),
        )
    return parts


def _r_squared(findings: Findings, role: Role) -> float | None:
    """Return 1 - residual / total sum of squares, or None if the task is no regression or the values are constant."""
    gathered = findings.gathered[role]
    if gathered.correct is not None:
        return None
    labels = findings.plan.roles.feeds[role].records.labels.astype(np.float64)
    total = float(np.square(labels - labels.mean(axis=0)).sum())
    return 1.0 - gathered.squared_error / total if total > 0 else 0.0


def _attack(findings: Findings, planned: PlannedAttack) -> AttackPart:
    figures = findings.figures[planned.name]
    names = sorted(signal_names(planned.needs))
    access = Access.most(findings.plan.signals[name].signal.access for name in names)
    return AttackPart(
        options=resolved_options(planned.attack),
        signals=names,
        threat_model=ThreatModelPart(
            access=access.value,
            knowledge=planned.attack.knowledge,
            told_of_others=planned.needs.known_folds > 0,
        ),
        queries=_queries(findings, planned),
        note=planned.note,
        **{name: getattr(figures, name) for name in Figures.model_fields},
    )


def _queries(findings: Findings, planned: PlannedAttack) -> int:
    """Return the queries that an attack would have cost by itself; of adaptive ones those that it sent."""
    most = findings.plan.queries_of(planned)
    if planned.name not in findings.adaptive:
        return most
    audited = sum(len(findings.plan.roles.feeds[role]) for role in (Role.MEMBERS, Role.NONMEMBERS))
    return most - planned.needs.budget * audited + findings.adaptive[planned.name]


def _preprocessing(findings: Findings) -> PreprocessingPart:
    found = findings.plan.roles.feeds[Role.MEMBERS].discovery
    return PreprocessingPart(steps=found.steps, source=found.source)


def _options(plan: Plan) -> dict[str, object]:
    """Return the settings that can change a result, and none that names a place on this machine."""
    left_out = {
        "model",
        "members",
        "non_members",
        "population",
        "references",
        "reference_membership",
        "out",
        "force",
        "batch_size",
        "threads",
        "seed",
    }
    settings = plan.settings.model_dump(mode="json", exclude=left_out)
    loading = {name: value for name, value in plan.model.options.items() if name not in ("device", "threads")}
    return {**settings, "backend_options": loading}


def _plugins(plan: Plan) -> dict[str, PluginPart]:
    """Return every plugin that took part by name; one whose name two groups use, as "group:name"."""
    taking_part = dict.fromkeys(plan.plugins())
    names = Counter(plugin.name for plugin in taking_part)
    return {
        plugin.name if names[plugin.name] == 1 else f"{plugin.group}:{plugin.name}": PluginPart(
            group=plugin.group, distribution=plugin.distribution, version=plugin.version
        )
        for plugin in taking_part
    }


def _run(findings: Findings) -> RunPart:
    versions = {"pmcore": __version__, "python": platform.python_version()}
    versions |= {name: version(name) for name in ("numpy", "scipy")}
    seconds = dict(findings.seconds)
    for role, gathered in findings.gathered.items():
        seconds |= {f"{role.value}.{stage}": took for stage, took in gathered.seconds.items()}
    return RunPart(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds={name: round(took, 4) for name, took in seconds.items()},
        versions=versions,
        host={"system": platform.system(), "machine": platform.machine(), "cpus": os.cpu_count() or 1},
        batch_size=findings.batch_size,
        threads=findings.plan.settings.threads,
        command=findings.command,
    )
