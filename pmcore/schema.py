"""The report as typed data: the one source from which every form is rendered, and its JSON Schema."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """A part of the report: immutable, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="null")


class Figure(Part):
    """A figure with its 95 % interval; `value` is null where it cannot be resolved and `reason` says why."""

    value: float | None
    low: float | None
    high: float | None
    n_members: int
    n_nonmembers: int
    method: str
    reason: str | None = None


class TprFigure(Figure):
    """The true-positive rate at a false-positive rate; `weak` where under ten false positives decide it."""

    resolved: bool
    weak: bool = False


class Share(Part):
    """A proportion with its Clopper-Pearson interval over `n` records."""

    value: float | None
    low: float | None
    high: float | None
    n: int
    reason: str | None = None


class InputPart(Part):
    """An input of the model."""

    name: str
    shape: list[int | str | None]
    dtype: str


class PreprocessingPart(Part):
    """What was done to the records on their way to the model, and where that was found."""

    steps: list[str]
    source: str


class GradientPart(Part):
    """Where the gradients of the model came from, where some attack read them."""

    tier: str = Field(
        description="framework; exported graph, where pmcore differentiates what a runtime runs; or closed form"
    )
    method: str = Field(description="how they were taken record by record")
    precision: str
    agreement: float | None = Field(
        description="largest difference of the graph from the runtime's answers, relative to how far these lie apart"
    )
    surrogate: bool = Field(description="whether rounding in the model was differentiated as if it were none")


class ModelPart(Part):
    """The audited model, as it really ran."""

    path: str
    sha256: str | None = Field(description="null for a model in memory that cannot be told apart, such as a function")
    backend: str
    runtime: str
    device: str
    precision: str
    task: str
    classes: int
    inputs: list[InputPart]
    output: Literal["logits", "probabilities", "pre-softmax", "values"]
    output_name: str
    resolution_limited: bool
    preprocessing: PreprocessingPart
    gradients: list[GradientPart] = Field(default_factory=list, description="empty where no attack read gradients")
    notes: list[str]


class RolePart(Part):
    """The records of one role. `duplicates` counts records that repeat another one of the same role."""

    path: str
    n: int
    sha256: str
    duplicates: int
    accuracy: Share | None
    r_squared: float | None = None
    notes: list[str] = Field(default_factory=list)


class DataPart(Part):
    """All records, by role, and what roles had in common."""

    members: RolePart
    nonmembers: RolePart
    population: RolePart | None
    population_from: str | None = Field(description="how the population came about, in words")
    overlap: dict[str, int] = Field(description="rows shared, by pair of roles, before any were dropped")
    dropped: dict[str, int] = Field(description="rows dropped because of overlap, by role")


class Validity(Part):
    """One check of the audit's validity: measured, with its verdict."""

    name: str
    verdict: Literal["ok", "warning", "invalid", "not checked"]
    text: str


class ThreatModelPart(Part):
    """What the attacker sees of the model and is assumed to know."""

    access: str
    knowledge: str
    told_of_others: bool = Field(
        default=False,
        description="whether it learns from the true membership of other records, which no outsider knows",
    )


class CalibratedPoint(Part):
    """An attack run at a nominal error level, and the rates that this level gave on the audited records."""

    alpha: float
    fpr: Share
    tpr: Share


class Curve(Part):
    """A thinned ROC curve (real points only) and the pointwise 95 % band of the TPR on a grid of FPRs."""

    fpr: list[float]
    tpr: list[float]
    band_fpr: list[float]
    band_low: list[float]
    band_high: list[float]


class HistogramPart(Part):
    """Counts of scores per bin."""

    edges: list[float]
    members: list[int]
    nonmembers: list[int]


class ClassFigure(Part):
    """The advantage within one class; null with a reason where a side has too few records."""

    label: int
    advantage: Figure


class Figures(Part):
    """Every figure of one attack."""

    auc: Figure
    advantage: Figure
    balanced_accuracy: Figure
    tpr_at_fpr: dict[str, TprFigure]
    calibrated: list[CalibratedPoint]
    per_class: list[ClassFigure]
    curve: Curve
    histogram: HistogramPart


class Conduct(Part):
    """How one attack was run."""

    options: dict[str, Any]
    signals: list[str]
    threat_model: ThreatModelPart
    queries: int
    note: str | None = Field(default=None, description="why the attack's fallback ran in its place")


class AttackPart(Figures, Conduct):
    """How one attack was run, and what it found."""


class SkippedPart(Part):
    """An attack that could not run; `asked` is false where it was one of all that are installed."""

    attack: str
    reason: str
    asked: bool = True


class ReferencePart(Part):
    """One reference model, and how often it was right on the audited records that trained it, and on the others."""

    title: str
    sha256: str | None
    accuracy_inside: Share | None
    accuracy_outside: Share | None


class ReferencesPart(Part):
    """The reference models of the audit.

    `inside` and `outside` are the least number of references that saw, and did not see, an audited record.
    """

    path: str
    origin: str = Field(description="how they came about, in words")
    inside: int
    outside: int
    known: int = Field(description="audited records that the references' own list holds")
    models: list[ReferencePart]


class GameFigure(Part):
    """A figure over several models, with its interval over models."""

    value: float | None
    low: float | None
    high: float | None
    models: int
    method: str
    reason: str | None = None


class ModelAuc(Part):
    """The AUC of an attack on one of the models that were audited in turn."""

    title: str
    auc: float | None


class AlgorithmFigures(Part):
    """What an attack finds on average over models that were trained alike."""

    auc: GameFigure
    advantage: GameFigure
    tpr_at_fpr: dict[str, GameFigure]
    per_model: list[ModelAuc]


class RecordFigures(Part):
    """How well models that were trained on a record can be told from others, over the audited records.

    `exposed` records are told from chance at the false discovery rate (Benjamini and Hochberg 1995).
    """

    mean_auc: GameFigure
    deciles: list[float]
    records: int
    exposed: int
    false_discovery_rate: float


class GamePart(Part):
    """Whose leakage was measured, and what follows from it; figures beside those of the audited model itself."""

    game: Literal["model", "algorithm", "record"]
    statement: str
    models: int
    algorithm: dict[str, AlgorithmFigures] = Field(default_factory=dict)
    records: dict[str, RecordFigures] = Field(default_factory=dict)
    left_out: dict[str, str] = Field(default_factory=dict, description="attack -> why it cannot play")


class PluginPart(Part):
    """A plugin that took part, and who ships it."""

    group: str
    distribution: str
    version: str


class RunPart(Part):
    """What differs from run to run: the rest of the report is the same for the same inputs and seed."""

    time: str
    seconds: dict[str, float]
    versions: dict[str, str]
    host: dict[str, str | int]
    batch_size: int
    threads: int | None = None
    command: str | None = None
    files: list[str] = Field(default_factory=list, description="what this audit wrote into its folder")


class AuditReport(Part):
    """A whole audit. If `valid` is false its figures must not be used; `validity` says why."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    valid: bool
    warnings: list[str]
    validity: list[Validity]
    model: ModelPart
    data: DataPart
    references: ReferencesPart | None = None
    game: GamePart
    attacks: dict[str, AttackPart]
    skipped: list[SkippedPart]
    seed: int
    confidence: float
    options: dict[str, Any]
    plugins: dict[str, PluginPart]
    run: RunPart

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, title="pmcore audit report"
    )
