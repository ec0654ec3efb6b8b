"""The comparison of audits: what an attack finds on the same records in one audit beyond the baseline."""

from __future__ import annotations

import platform
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter

import numpy as np

from pmcore import __version__, statistics
from pmcore.comparison_facts import attack_notes, left_out, pair_notes, side_of
from pmcore.comparison_schema import (
    AttackDifference,
    ComparisonReport,
    ComparisonRun,
    DifferenceFigure,
    PairPart,
)
from pmcore.data import Progress
from pmcore.differences import auc_correlation, correlation, difference, with_reach_below_zero
from pmcore.errors import Complaints, InputError
from pmcore.exposure import exposure
from pmcore.matching import Matching, StoredAudit, match, read_audit
from pmcore.outputs import Floats
from pmcore.paired import Draws, Ranking, rank, redraw
from pmcore.statistics import Estimate, SortedScores, TprAtFpr
from pmcore.verdicts import figures_looked_at, with_verdicts

DRAWS = 1000
"""Draws of the paired bootstrap, which estimate correlations."""
MOST = 26
"""Audits at once: each has a letter."""
METHOD = "intervals of both figures, joined by their correlation"


def compare(
    paths: Sequence[str],
    attacks: Sequence[str] = (),
    seed: int = 0,
    progress: Progress | None = None,
    command: str | None = None,
) -> ComparisonReport:
    """Compare audits with the first of them.

    Parameters
    ----------
    paths : two folders or more that ``pmcore audit --out`` wrote, the baseline first
    attacks : names of those to compare; all that both audits have if none is named
    seed : of the paired bootstrap
    progress : called with what is being done, draws done and draws in all

    Raises
    ------
    AuditError
        A folder is not that of a valid audit, or two audits have no records or no attack in common: all complaints
        together, before anything is computed.
    """
    began = perf_counter()
    if not 2 <= len(paths) <= MOST:
        raise InputError(
            f"a comparison is of 2 to {MOST} audits, not {len(paths)} - name their folders, baseline first"
        )
    complaints = Complaints()
    audits = []
    for path in paths:
        with complaints.collect():
            audits.append(read_audit(path))
    complaints.raise_any()
    baseline = audits[0]
    matched = []
    for other in audits[1:]:
        with complaints.collect():
            _refuse_nothing_in_common(baseline, other, attacks)
            matched.append(match(baseline, other))
    complaints.raise_any()
    pairs = [
        _pair(baseline, other, matching, attacks, seed, progress)
        for other, matching in zip(audits[1:], matched, strict=True)
    ]
    confidence = baseline.report.confidence
    looked_at = sum(map(figures_looked_at, pairs))
    return ComparisonReport(
        baseline=side_of(baseline),
        pairs=[with_verdicts(pair, looked_at, confidence) for pair in pairs],
        looked_at=looked_at,
        confidence=confidence,
        draws=DRAWS,
        seed=seed,
        run=ComparisonRun(
            time=datetime.now(UTC).isoformat(timespec="seconds"),
            seconds=round(perf_counter() - began, 4),
            versions={"pmcore": __version__, "python": platform.python_version()}
            | {name: version(name) for name in ("numpy", "scipy")},
            command=command,
        ),
    )


def _refuse_nothing_in_common(baseline: StoredAudit, other: StoredAudit, wanted: Sequence[str]) -> None:
    for name in wanted:
        for audit in (baseline, other):
            if name not in audit.report.attacks:
                known = ", ".join(audit.report.attacks) or "none"
                raise InputError(f"{audit.path}: attack {name!r} did not run in this audit - it has {known}")
    if not wanted and not baseline.report.attacks.keys() & other.report.attacks.keys():
        raise InputError(
            f"{other.path}: no attack ran both here and in {baseline.path} - audit both with the same --attack"
        )


@dataclass(frozen=True, eq=False)
class _Sorted:
    """The scores of one attack in one audit, on the records in common."""

    ranking: Ranking
    scores: SortedScores


def _pair(
    baseline: StoredAudit,
    other: StoredAudit,
    matching: Matching,
    wanted: Sequence[str],
    seed: int,
    progress: Progress | None,
) -> PairPart:
    names = [
        name for name in baseline.report.attacks if name in other.report.attacks and (not wanted or name in wanted)
    ]
    labels = baseline.columns["label"][matching.members[0]]
    found = {}
    for name in names:
        sides = [_sorted(audit, name, matching, place) for place, audit in enumerate((baseline, other))]
        parts = [audit.report.attacks[name] for audit in (baseline, other)]
        keys = [key for key in parts[0].tpr_at_fpr if key in parts[1].tpr_at_fpr]
        title = f"{name} in {other.path}"
        figures = _figures(sides, keys, seed, baseline.report.confidence, title, progress)
        found[name] = AttackDifference(
            verdict="no difference seen",
            auc=figures[0],
            advantage=figures[1],
            tpr_at_fpr=dict(zip(keys, figures[2:], strict=True)),
            exposure=exposure(sides[0].ranking, sides[1].ranking, labels),
            told_of_others=any(part.threat_model.told_of_others for part in parts),
            notes=list(attack_notes(*parts)),
        )
    return PairPart(
        other=side_of(other),
        matched_by=matching.by,
        members=matching.members.shape[1],
        nonmembers=matching.nonmembers.shape[1],
        verdict="no difference seen",
        attacks=found,
        left_out=dict(left_out(baseline, other, wanted)),
        notes=list(pair_notes(baseline, other)),
    )


def _sorted(audit: StoredAudit, attack: str, matching: Matching, place: int) -> _Sorted:
    scores = audit.scores(attack)
    members, nonmembers = scores[matching.members[place]], scores[matching.nonmembers[place]]
    return _Sorted(rank(members, nonmembers), statistics.sort_scores(members, nonmembers))


def _figures(
    sides: Sequence[_Sorted], keys: Sequence[str], seed: int, confidence: float, title: str, progress: Progress | None
) -> list[DifferenceFigure]:
    """Return the differences of AUC, advantage and each TPR."""
    n0 = sides[0].scores.n_nonmembers
    rates = np.array([float(key) for key in keys])
    resolved = statistics.allowed_false_positives(n0, rates) > 0
    draws = redraw(
        [side.ranking for side in sides],
        rates[resolved],
        seed,
        DRAWS,
        (lambda done: progress(title, done, DRAWS)) if progress is not None else (lambda done: None),
    )
    figures = [
        _figure([statistics.auc(side.scores, confidence) for side in sides], auc_correlation(*_rankings(sides))),
        _figure(
            [with_reach_below_zero(statistics.advantage(side.scores, confidence), confidence) for side in sides],
            correlation(draws[0].advantage, draws[1].advantage),
        ),
    ]
    together = iter(_tpr_correlations(draws))
    for rate, known in zip(rates.tolist(), resolved.tolist(), strict=True):
        # The same thresholds are drawn for both audits: equal scores have equal intervals.
        both = [statistics.tpr_at_fpr(side.scores, rate, _rng(seed, rate), confidence) for side in sides]
        figures.append(_figure(both, next(together) if known else 0.0))
    return figures


def _rankings(sides: Sequence[_Sorted]) -> tuple[Ranking, Ranking]:
    return sides[0].ranking, sides[1].ranking


def _tpr_correlations(draws: Sequence[Draws]) -> list[float]:
    columns: Iterable[tuple[Floats, Floats]] = zip(draws[0].tpr.T, draws[1].tpr.T, strict=True)
    return [correlation(one, two) for one, two in columns]


def _rng(seed: int, rate: float) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence((seed, zlib.crc32(f"TPR at {rate:g}".encode()))))


def _figure(both: Sequence[Estimate], together: float) -> DifferenceFigure:
    baseline, other = both
    found = difference(baseline, other, together)
    rates = [one for one in both if isinstance(one, TprAtFpr)]
    return DifferenceFigure(
        value=found.value if found is not None else None,
        low=found.low if found is not None else None,
        high=found.high if found is not None else None,
        n_members=other.n_members,
        n_nonmembers=other.n_nonmembers,
        method=METHOD if found is not None else "none",
        reason=_reason(rates),
        baseline=baseline.value,
        other=other.value,
        correlation=together if found is not None else None,
        weak=any(rate.weak for rate in rates),
        out_of_reach=bool(rates) and all(rate.resolved and rate.reason is not None for rate in rates),
    )


def _reason(rates: Sequence[TprAtFpr]) -> str | None:
    """Return what is wrong with the TPRs of the baseline and of the other, if they are TPRs."""
    said = dict.fromkeys(rate.reason for rate in rates if rate.reason is not None)
    if len(rates) == 2 and (rates[0].reason is None) != (rates[1].reason is None):
        return f"{'in the baseline' if rates[0].reason else 'here'} {next(iter(said))}"
    return "; ".join(said) or None
