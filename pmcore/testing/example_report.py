"""Example reports, for the checks and tests of every form: real statistics of simulated scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pmcore.curves import histogram, roc, roc_band, thin
from pmcore.schema import (
    AttackPart,
    AuditReport,
    CalibratedPoint,
    ClassFigure,
    Curve,
    DataPart,
    Figure,
    GamePart,
    HistogramPart,
    InputPart,
    ModelPart,
    PluginPart,
    PreprocessingPart,
    RolePart,
    RunPart,
    Share,
    SkippedPart,
    ThreatModelPart,
    TprFigure,
    Validity,
)
from pmcore.statistics import Estimate, advantage, auc, balanced_accuracy, sort_scores, tpr_at_fpr

Floats = NDArray[np.float64]
FPRS = (0.1, 0.01, 0.001)


def gaussian_attack(
    shift: float,
    n: int = 5000,
    seed: int = 1,
    classes: int = 10,
    access: str = "scores",
    calibrated: bool = False,
) -> AttackPart:
    """Return an attack whose scores are N(shift, 1) for n members and N(0, 1) for n non-members."""
    rng = np.random.default_rng(seed)
    return attack_from_scores(
        rng.normal(shift, 1, n),
        rng.normal(0, 1, n),
        seed=seed,
        classes=classes,
        access=access,
        calibrated=calibrated,
    )


def attack_from_scores(
    members: Floats,
    nonmembers: Floats,
    seed: int = 1,
    classes: int = 10,
    access: str = "scores",
    calibrated: bool = False,
) -> AttackPart:
    """Return what the statistics say about these scores; classes take turns over the records."""
    scores = sort_scores(members, nonmembers)
    rng = np.random.default_rng(seed)
    curve = thin(roc(scores))
    band = roc_band(scores, np.geomspace(1 / nonmembers.size, 0.99, 80))
    bins = histogram(scores)
    return AttackPart(
        options={"signal": "loss"},
        signals=["loss"],
        threat_model=ThreatModelPart(access=access, knowledge="labelled records of the same kind"),
        queries=members.size + nonmembers.size,
        auc=_figure(auc(scores)),
        advantage=_figure(advantage(scores)),
        balanced_accuracy=_figure(balanced_accuracy(scores)),
        tpr_at_fpr={repr(fpr): _tpr(tpr_at_fpr(scores, fpr, rng)) for fpr in FPRS},
        calibrated=[*map(_calibrated, FPRS[:2]), _too_fine(FPRS[2])] if calibrated else [],
        per_class=[_of_class(members, nonmembers, label, classes) for label in range(classes)],
        curve=Curve(
            fpr=curve.fpr.tolist(),
            tpr=curve.tpr.tolist(),
            band_fpr=band.fpr.tolist(),
            band_low=band.low.tolist(),
            band_high=band.high.tolist(),
        ),
        histogram=HistogramPart(
            edges=bins.edges.tolist(), members=bins.members.tolist(), nonmembers=bins.nonmembers.tolist()
        ),
    )


def example_report(attacks: Mapping[str, AttackPart] | None = None, n: int = 5000, **changes: Any) -> AuditReport:
    """Return a valid report over n members and n non-members; `changes` replace whole parts of it."""
    chosen = {"population": gaussian_attack(0.5, n)} if attacks is None else dict(attacks)
    report = AuditReport(
        valid=True,
        warnings=[],
        validity=[
            Validity(
                name="accuracy",
                verdict="ok",
                text="accuracy on 5 000 non-members 91.4 % [90.3 %, 92.4 %] (expected 91.2 %)",
            ),
            Validity(
                name="overlap",
                verdict="ok",
                text="no rows shared between members, non-members and population",
            ),
            Validity(name="blind check", verdict="not checked", text="comes with a later version"),
        ],
        model=ModelPart(
            path="models/resnet18.onnx",
            sha256="9f2c41d0" + "0" * 56,
            backend="onnx",
            runtime="onnxruntime 1.31.1",
            device="CPU",
            precision="float32",
            task="multiclass",
            classes=10,
            inputs=[InputPart(name="pixels", shape=["batch", 3, 32, 32], dtype="float32")],
            output="logits",
            output_name="logits",
            resolution_limited=False,
            preprocessing=PreprocessingPart(
                steps=["/255", "mean .49 .48 .45", "std .20 .20 .20"], source="preprocessor_config.json"
            ),
            notes=[],
        ),
        data=DataPart(
            members=_role("train.npz", n, 0.991),
            nonmembers=_role("test.npz", n, 0.914),
            population=_role("test.npz", n // 2, 0.915),
            population_from="one third of the non-members, stratified, seed 0",
            overlap={"members/nonmembers": 0},
            dropped={},
        ),
        references=None,
        game=GamePart(
            game="model",
            statement="The figures speak of this model: of redrawn records, not of retraining.",
            models=1,
        ),
        attacks=chosen,
        skipped=[],
        seed=0,
        confidence=0.95,
        options={"fpr": list(FPRS)},
        plugins={
            "population": PluginPart(group="pmcore.attacks", distribution="pmcore", version="0.1.0"),
        },
        run=RunPart(
            time="2030-01-02T03:04:05+00:00",
            seconds={"signals": 1.25},
            versions={"pmcore": "0.1.0", "numpy": "2.4.6"},
            host={"cpus": 2},
            batch_size=256,
        ),
    )
    return report.model_copy(update=changes)


def transcript_report() -> AuditReport:
    """Return a report with three attacks that ran, one of them on labels alone, and one that did not."""
    rng = np.random.default_rng(5)
    right, wrong = rng.random(5000) < 0.991, rng.random(5000) < 0.914
    return example_report(
        attacks={
            "lira": gaussian_attack(1.0, seed=2, access="logits"),
            "population": gaussian_attack(0.35, seed=3, calibrated=True),
            "label-gap": attack_from_scores(right.astype(float), wrong.astype(float), access="label"),
        },
        skipped=[SkippedPart(attack="gradient", reason="the graph ends in ArgMax (see `pmcore inspect`)")],
    )


def invalid_report() -> AuditReport:
    """Return a report whose model does no better than guessing: its figures must not be shown."""
    return example_report(
        valid=False,
        validity=[
            Validity(
                name="accuracy",
                verdict="invalid",
                text="accuracy on non-members 10.3 % is what guessing gives (expected 91.2): the inputs are "
                "probably not preprocessed as in training. Found no preprocessing; give it: --preprocessing",
            ),
            Validity(name="overlap", verdict="ok", text="no rows shared"),
        ],
    )


def hostile_names(
    names: Sequence[str] = ("$\\frac{1$", "<script>alert(1)</script>", "\x1b[31m\udcff\x00"),
) -> AuditReport:
    """Return a report whose attacks, files and checks carry names that break careless renderers."""
    report = example_report(attacks={name: gaussian_attack(0.3, 400, seed=i) for i, name in enumerate(names)}, n=400)
    return report.model_copy(
        update={
            "model": report.model.model_copy(update={"path": f"models/{'/'.join(names)}"}),
            "warnings": list(names),
            "validity": [Validity(name=name, verdict="warning", text=name) for name in names],
            "skipped": [SkippedPart(attack=name, reason=name) for name in names],
        }
    )


def _figure(estimate: Estimate) -> Figure:
    return Figure(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        n_members=estimate.n_members,
        n_nonmembers=estimate.n_nonmembers,
        method=estimate.method,
    )


def _tpr(found: Any) -> TprFigure:
    return TprFigure(
        **_figure(found).model_dump(exclude={"reason"}),
        reason=found.reason,
        resolved=found.resolved,
        weak=found.weak,
    )


def _of_class(members: Floats, nonmembers: Floats, label: int, classes: int) -> ClassFigure:
    mine, others = members[label::classes], nonmembers[label::classes]
    if min(mine.size, others.size) < 10:
        return ClassFigure(
            label=label,
            advantage=Figure(
                value=None,
                low=None,
                high=None,
                n_members=mine.size,
                n_nonmembers=others.size,
                method="none",
                reason="fewer than 10 records on a side",
            ),
        )
    return ClassFigure(label=label, advantage=_figure(advantage(sort_scores(mine + 0.8 * label / classes, others))))


def _calibrated(alpha: float) -> CalibratedPoint:
    return CalibratedPoint(
        alpha=alpha,
        fpr=Share(value=1.1 * alpha, low=0.9 * alpha, high=1.3 * alpha, n=5000),
        tpr=Share(value=2.1 * alpha, low=1.8 * alpha, high=2.5 * alpha, n=5000),
    )


def _too_fine(alpha: float) -> CalibratedPoint:
    reason = f"a level of {alpha:g} needs 999 population records to compare each with; there are 432"
    nothing = Share(value=None, low=None, high=None, n=0, reason=reason)
    return CalibratedPoint(alpha=alpha, fpr=nothing, tpr=nothing)


def _role(path: str, n: int, accuracy: float) -> RolePart:
    return RolePart(
        path=path,
        n=n,
        sha256="ab" * 32,
        duplicates=0,
        accuracy=Share(value=accuracy, low=accuracy - 0.003, high=accuracy + 0.003, n=n),
    )
