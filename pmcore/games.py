"""Whose leakage is measured: this model's, the algorithm's over models trained alike, or that of single records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from pmcore import statistics
from pmcore.data import Progress
from pmcore.interfaces import Floats
from pmcore.means import Coverage, Means
from pmcore.plugin_failures import answerable
from pmcore.record_game import RecordAucs, record_aucs
from pmcore.schema import AlgorithmFigures, GameFigure, GamePart, ModelAuc, RecordFigures
from pmcore.scoring import answer_of
from pmcore.selection import PlannedAttack
from pmcore.stand import Stand, among_all, make_evidence, seen_from

STATEMENTS = {
    "model": "The figures speak of this model: of redrawn records, not of retraining.",
    "algorithm": (
        "The figures of the game speak of the training algorithm: the audited model and its references, trained alike, "
        "are audited in turn, each attack is calibrated on the others, and what it finds is averaged over the models. "
        "They hold for another model trained that way, and say less of this one."
    ),
    "record": (
        "The figures of the game speak of single records: over all models, how well those that were trained on a "
        "record can be told from those that were not. They hold for this training algorithm and these very records."
    ),
}
"""What follows from each game (Ye et al., CCS 2022, section 3)."""


_TOGETHER = 2.0
"""What Student's interval is multiplied by where the attack is fitted to which models saw a record.

What it finds on one model then depends on each other model as much as on this one, as in a U-statistic of order two,
whose variance is up to four times that of a mean of as many independent values. Without it intervals of LiRA held in 81
to 88 % of simulations with 8 references, with it in 98 to 100 %; those of attacks that read unseen models alone hold in
95 to 98 % as they are."""
_FITTED = "it is fitted to which models saw a record, and cannot be held against the same"


@dataclass(frozen=True, eq=False)
class Played:
    """What a game gave: its part of the report, and per record (in the order of the evidence) what is personal data.

    Parameters
    ----------
    columns : name -> (n,)
    """

    part: GamePart
    columns: Mapping[str, Floats] = field(default_factory=dict)


def play(stand: Stand, rates: tuple[float, ...], confidence: float, progress: Progress | None = None) -> Played:
    """Play the game that the audit asks for; that of the model is what the audit finds anyway.

    Parameters
    ----------
    rates : false-positive rates at which the TPR is wanted
    """
    game = stand.plan.settings.game
    if game == "model":
        return Played(GamePart(game=game, statement=STATEMENTS[game], models=1))
    assert stand.plan.references is not None
    titles = ("the audited model", *stand.plan.references.set.titles)
    views = list(_views(stand, game))
    left_out, scores = {}, {}
    for done, asked in enumerate(stand.plan.attacks):
        planned = _without_membership(asked) if game == "record" else asked
        reason = stand.plan.does_not_play(asked)
        if reason is None and planned is not None:
            reason = _obstacle(planned, views)
        if planned is None or reason is not None:
            left_out[asked.name] = reason or _FITTED
            continue
        scores[planned.name] = np.stack([answer_of(planned, make_evidence(planned, view)).scores for view in views])
        if progress is not None:
            progress(f"game of the {game}", done + 1, len(stand.plan.attacks))
    truth = np.stack([view.truth for view in views])
    if game == "algorithm":
        fitted = {planned.name for planned in stand.plan.attacks if planned.needs.membership}
        algorithm = {
            name: _over_models(each, truth, titles, rates, _Interval(confidence, _TOGETHER if name in fitted else 1.0))
            for name, each in scores.items()
        }
        part = GamePart(
            game=game, statement=STATEMENTS[game], models=len(views), algorithm=algorithm, left_out=left_out
        )
        return Played(part)
    found = {name: record_aucs(each, truth) for name, each in scores.items()}
    part = GamePart(
        game=game,
        statement=STATEMENTS[game],
        models=len(views),
        records={name: _over_records(aucs, len(views), confidence) for name, aucs in found.items()},
        left_out=left_out,
    )
    columns = {f"{name}.record_auc": aucs.values for name, aucs in found.items()}
    return Played(part, columns | {f"{name}.record_p_value": aucs.p_values for name, aucs in found.items()})


def _views(stand: Stand, game: str) -> Iterator[Stand]:
    """Yield everything as seen from each model, the audited one first."""
    assert stand.membership is not None
    models = range(stand.membership.shape[1])
    if game == "record":
        yield from (among_all(stand, model) for model in (None, *models))
        return
    yield stand
    for model in models:
        yield seen_from(stand, model)


def _without_membership(planned: PlannedAttack) -> PlannedAttack | None:
    """Return an attack, or its fallback, that is not fitted to which models saw a record; None if there is none."""
    with answerable(planned.plugin):
        several = [planned.attack, planned.attack.fallback]
    for attack in several:
        if attack is not None and not attack.needs.membership:
            return replace(planned, attack=attack)
    return None


def _obstacle(planned: PlannedAttack, views: list[Stand]) -> str | None:
    """Return why an attack cannot be run on every model in turn, or None."""
    for view in views:
        membership = view.membership
        assert membership is not None
        sees = membership.sum(axis=1)
        models = membership.shape[1]
        coverage = Coverage(models, models - int(sees.max()), int(sees.min()), len(view.unseen_of_both.audited))
        reason = Means(coverage, facts=view.plan.means.facts).obstacle(planned.needs)
        if reason is not None:
            return f"with every model in turn as the audited one {reason}"
        if view.population_labels is not None and len(view.population_labels) < 2:
            return "some model was trained on every population record"
    return None


@dataclass(frozen=True)
class _Interval:
    """How wide an interval over models is: its level, and what Student's is multiplied by."""

    confidence: float
    factor: float

    @property
    def method(self) -> str:
        widened = "" if self.factor == 1.0 else f", {self.factor:g} times as wide: models are each other's references"
        return f"mean over models, Student's t{widened}"


def _over_models(
    scores: Floats, truth: NDArray[np.bool_], titles: tuple[str, ...], rates: tuple[float, ...], interval: _Interval
) -> AlgorithmFigures:
    """Return figures averaged over models, whose scores are never compared with each other.

    Parameters
    ----------
    scores, truth : (models, n)
    """
    in_order = [statistics.sort_scores(one[member], one[~member]) for one, member in zip(scores, truth, strict=True)]
    confidence = interval.confidence
    aucs = [statistics.auc(one, confidence).value for one in in_order]
    rng = np.random.default_rng(0)  # for the interval of each model, which is not used
    tprs = {
        f"{rate:.12g}": [statistics.tpr_at_fpr(one, rate, rng, confidence, draws=1).value for one in in_order]
        for rate in rates
    }
    return AlgorithmFigures(
        auc=_mean(aucs, interval, "no model has an AUC"),
        advantage=_mean([statistics.advantage(one, confidence).value for one in in_order], interval, "none has one"),
        tpr_at_fpr={
            key: _mean(values, interval, "with some model this FPR cannot be resolved: too few non-members")
            for key, values in tprs.items()
        },
        per_model=[ModelAuc(title=title, auc=value) for title, value in zip(titles, aucs, strict=True)],
    )


def _mean(values: list[float | None], interval: _Interval, reason: str) -> GameFigure:
    """Return the mean over models with an interval; null if it is lacking for one of them."""
    known = np.array([value for value in values if value is not None])
    if len(known) < len(values):
        return GameFigure(value=None, low=None, high=None, models=len(values), method="none", reason=reason)
    mean = float(known.mean())
    student = float(stdtrit(len(known) - 1, (1.0 + interval.confidence) / 2.0))
    wide = interval.factor * student * float(known.std(ddof=1)) / np.sqrt(len(known))
    return GameFigure(
        value=mean,
        low=max(mean - wide, 0.0),
        high=min(mean + wide, 1.0),
        models=len(known),
        method=interval.method,
    )


def _over_records(aucs: RecordAucs, models: int, confidence: float) -> RecordFigures:
    """Return what the AUCs of single records say together; the interval is over models, by the jackknife."""
    mean = float(aucs.values.mean())
    spread = np.sqrt((models - 1) * np.mean(np.square(aucs.without_each - aucs.without_each.mean())))
    wide = float(stdtrit(models - 1, (1.0 + confidence) / 2.0) * spread)
    return RecordFigures(
        mean_auc=GameFigure(
            value=mean,
            low=max(mean - wide, 0.0),
            high=min(mean + wide, 1.0),
            models=models,
            method="mean over records, jackknife over models",
        ),
        deciles=[float(value) for value in np.quantile(aucs.values, np.linspace(0.0, 1.0, 11))],
        records=len(aucs.values),
        exposed=aucs.exposed,
        false_discovery_rate=aucs.level,
    )
