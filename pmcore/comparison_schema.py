"""The comparison of audits as typed data: the one source from which text, JSON and picture are rendered."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from pmcore.schema import Figure, Part

Verdict = Literal["leaks more", "leaks less", "mixed", "no difference seen"]


class DifferenceFigure(Figure):
    """A figure of the other audit less that of the baseline, on the records that both audited.

    `value` is null where either cannot be resolved. `seen` tells whether it differs from 0 even as one of all that
    were looked at; null where it was not looked at for the verdict.
    """

    baseline: float | None
    other: float | None
    correlation: float | None = Field(description="of the two figures over redrawn records")
    weak: bool = False
    out_of_reach: bool = Field(default=False, description="whether no threshold of either audit reaches this FPR")
    seen: Literal["more", "less", "no difference"] | None = None


class Moves(Part):
    """Members above (exposed) or below the threshold of a false-positive rate, in the baseline and in the other."""

    members: int
    newly_exposed: int
    no_longer_exposed: int
    exposed_in_both: int


class ClassMoves(Moves):
    """The moves of one class; `label` is null for all classes of fewer than ten members together."""

    label: int | None


class Ranks(Part):
    """Members by what became of the share of non-members that score at least as high as they do."""

    closer: int = Field(description="fewer non-members reach them: more exposed")
    further: int
    unchanged: int


class ExposurePart(Part):
    """Who became more exposed, as counts; `moves` is null with a reason where the threshold cannot be had."""

    fpr: float
    moves: Moves | None
    reason: str | None = None
    ranks: Ranks
    per_class: list[ClassMoves]


class AttackDifference(Part):
    """What differs between the two audits for one attack."""

    verdict: Verdict
    auc: DifferenceFigure
    advantage: DifferenceFigure
    tpr_at_fpr: dict[str, DifferenceFigure]
    exposure: ExposurePart
    told_of_others: bool = Field(description="whether the attack learns from the true membership of other records")
    notes: list[str]


class AuditSide(Part):
    """One of the audits compared."""

    path: str
    report_sha256: str
    model: str
    model_sha256: str | None
    runtime: str
    device: str
    precision: str
    members: int
    nonmembers: int
    seed: int


class PairPart(Part):
    """One audit held against the baseline."""

    other: AuditSide
    matched_by: Literal["position in the same file", "digest of the record"]
    members: int = Field(description="records of both audits")
    nonmembers: int
    verdict: Verdict
    attacks: dict[str, AttackDifference]
    left_out: dict[str, str] = Field(description="attack -> why it is not compared")
    notes: list[str]


class ComparisonRun(Part):
    """What differs from run to run."""

    time: str
    seconds: float
    versions: dict[str, str]
    command: str | None = None
    files: list[str] = Field(default_factory=list, description="what this comparison wrote into its folder")


class ComparisonReport(Part):
    """Audits held against the first of them, each on the records that both audited."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    baseline: AuditSide
    pairs: list[PairPart]
    looked_at: int = Field(description="AUCs and TPRs behind the verdicts, for which these are corrected (Bonferroni)")
    confidence: float
    draws: int
    seed: int
    run: ComparisonRun

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True, title="pmcore comparison of audits"
    )
