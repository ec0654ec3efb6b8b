"""The quantile attack: what records hold sharpens the comparison, and its p-values are valid."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from pmcore.errors import AuditError, InputError
from pmcore.evidence import Evidence, EvidenceKey, Needs, Source
from pmcore.interfaces import Attack
from pmcore.options import build
from pmcore.outputs import Array, Floats
from pmcore.testing import checks_for
from pmcore.testing.checking import Verdict, outcome_of
from pmcore_population import PopulationAttack, QuantileAttack

SIGNAL = "rescaled_logit"
OFTEN = {"check_no_leak", "check_p_values_hold_their_level"}
"""Checks of two hundred worlds and of six hundred."""


@dataclass(frozen=True)
class Records:
    """What n records hold, (n, d), their labels, and a signal that is normal given both."""

    features: Floats
    labels: Array
    signal: Floats


def records(rng: np.random.Generator, n: int, difficulty: float, shift: Array | float = 0.0) -> Records:
    """Return records whose first number and label say how high the signal of a non-member is."""
    features, labels = rng.normal(size=(n, 6)), rng.integers(0, 3, n)
    usual = difficulty * (np.sin(1.5 * features[:, 0]) + 0.5 * labels)
    return Records(features, labels, usual + rng.normal(size=n) + shift)


def evidence(audited: Records, population: Records, seed: int = 0) -> Evidence:
    return Evidence(
        arrays={
            EvidenceKey(Source.TARGET, SIGNAL): audited.signal,
            EvidenceKey(Source.POPULATION, SIGNAL): population.signal,
        },
        labels=audited.labels,
        population_labels=population.labels,
        lower_is_member={SIGNAL: False},
        classes=3,
        seed=(seed,),
        features=audited.features,
        population_features=population.features,
    )


def area(attack: Attack, difficulty: float, shift: float, population: int, seed: int = 0) -> float:
    """Return the AUC of 2 000 records, every second of them a member, whose signal is higher by `shift`."""
    rng = np.random.default_rng(seed)
    truth = np.arange(2000) % 2
    audited = records(rng, 2000, difficulty, shift * truth)
    return float(roc_auc_score(truth, attack.score(evidence(audited, records(rng, population, difficulty)))))


CHECKS = {check.name: check for check in checks_for(QuantileAttack())}


@pytest.mark.parametrize("name", [name for name in CHECKS if name not in OFTEN])
def test_it_keeps_every_promise(name: str) -> None:
    found = outcome_of(CHECKS[name], QuantileAttack())
    assert found.verdict is not Verdict.FAILED, found.detail


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OFTEN))
def test_it_keeps_the_promises_that_are_tried_many_times(name: str) -> None:
    CHECKS[name](QuantileAttack(levels=(0.4, 0.8)))


class LooksIntoRecords(PopulationAttack):
    def score(self, evidence: Evidence) -> Floats:
        assert evidence.features is None
        return super().score(evidence)


class AsksForRecordsInVain(PopulationAttack):
    @property
    def needs(self) -> Needs:
        return replace(super().needs, features=4)


@pytest.mark.parametrize(
    ("name", "attack", "words"),
    [
        ("check_reads_nothing_else", LooksIntoRecords(), "it reads features and does not declare it"),
        ("check_reads_what_it_declares", AsksForRecordsInVain(), "it declares and never reads features"),
    ],
)
def test_the_checks_notice_who_reads_records_undeclared_or_declares_them_in_vain(
    name: str, attack: Attack, words: str
) -> None:
    found = outcome_of(CHECKS[name], attack)
    assert found.verdict is Verdict.FAILED
    assert words in found.detail


def test_where_records_say_how_easy_they_are_it_finds_nearly_what_can_be_found() -> None:
    """Who knew how high the signal usually is would have Phi(1 / sqrt 2) = .760; without features .63 are in reach."""
    found = area(QuantileAttack(), difficulty=2.0, shift=1.0, population=3000)
    assert found == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.035)
    assert found > area(PopulationAttack(signal=SIGNAL), difficulty=2.0, shift=1.0, population=3000) + 0.08


def test_where_records_say_nothing_it_loses_little() -> None:
    found = area(QuantileAttack(), difficulty=0.0, shift=1.0, population=3000)
    assert found == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.035)


def test_a_few_dozen_population_records_already_help() -> None:
    few = [area(QuantileAttack(), 2.0, 1.0, 100, seed) for seed in range(5)]
    plain = [area(PopulationAttack(signal=SIGNAL), 2.0, 1.0, 100, seed) for seed in range(5)]
    assert np.mean(few) > np.mean(plain) + 0.02


def test_records_that_vary_little_are_held_to_a_finer_measure() -> None:
    """Of two kinds one varies three times as much: one threshold finds 15 % of the members, one for each kind 40 %."""
    rng = np.random.default_rng(1)
    truth = np.arange(3000) % 2

    def kinds(n: int, shift: Array | float) -> Records:
        features = rng.normal(size=(n, 3))
        deviation = np.where(features[:, 0] > 0, 3.0, 1.0)
        return Records(features, np.zeros(n, dtype=np.int64), deviation * rng.normal(size=n) + shift)

    audited, population = kinds(3000, 2.0 * truth), kinds(3000, 0.0)
    known = evidence(audited, population)
    strict = PopulationAttack(signal=SIGNAL).p_values(known).values <= 0.05
    learnt = QuantileAttack().p_values(known).values <= 0.05
    assert learnt[truth == 1].mean() > 1.4 * strict[truth == 1].mean()


@pytest.mark.parametrize("population", [20, 61])
def test_p_values_of_non_members_hold_every_level(population: int) -> None:
    """Over worlds of their own and with one seed, as an audit has it: in a deal of ranks they would not."""
    levels = np.array([0.05, 0.1, 0.2, 0.5])
    rng = np.random.default_rng(5)
    attack = QuantileAttack(levels=(0.4, 0.8))
    shares = np.array(
        [
            (
                attack.p_values(evidence(records(rng, 40, 2.0), records(rng, population, 2.0))).values[:, None]
                <= levels
            ).mean(axis=0)
            for _ in range(80)
        ]
    )
    noise = shares.std(axis=0, ddof=1) / np.sqrt(len(shares))
    assert (shares.mean(axis=0) <= levels + 4 * noise).all()
    assert (shares.mean(axis=0) >= levels - 1 / (population // 2) - 4 * noise).all()


def test_scores_are_continuous_and_fall_with_the_p_values() -> None:
    rng = np.random.default_rng(2)
    known = evidence(records(rng, 500, 1.0), records(rng, 200, 1.0))
    scores, p_values = QuantileAttack().score(known), QuantileAttack().p_values(known)
    assert len(np.unique(scores)) == 500
    refinement = scores - (1 - p_values.values)
    assert refinement.min() >= -1e-12
    assert refinement.max() < 1 / 101
    np.testing.assert_allclose(p_values.smallest, 1 / 101)


def test_the_direction_of_the_signal_decides_the_sign() -> None:
    rng = np.random.default_rng(3)
    truth = np.arange(600) % 2
    audited, population = records(rng, 600, 1.0, -1.5 * truth), records(rng, 300, 1.0)
    known = replace(evidence(audited, population), lower_is_member={SIGNAL: True})
    assert roc_auc_score(truth, QuantileAttack().score(known)) > 0.7


@pytest.mark.parametrize("scale", [0.0, 1e-300, 1e-12, 1e12, 1e300])
def test_signals_of_any_size_give_finite_scores(scale: float) -> None:
    rng = np.random.default_rng(4)
    audited, population = records(rng, 50, 1.0), records(rng, 80, 1.0)
    known = evidence(
        replace(audited, signal=audited.signal * scale), replace(population, signal=population.signal * scale)
    )
    assert np.isfinite(QuantileAttack().score(known)).all()
    assert np.isfinite(QuantileAttack().p_values(known).values).all()


def test_too_small_a_population_is_refused_in_one_line() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(
        InputError, match=r"^quantile: the population has 19 records, .* - give more, or use .*population$"
    ):
        QuantileAttack().score(evidence(records(rng, 9, 1.0), records(rng, 19, 1.0)))


def test_an_audit_without_the_records_themselves_is_refused() -> None:
    rng = np.random.default_rng(0)
    known = evidence(records(rng, 9, 1.0), records(rng, 30, 1.0))
    with pytest.raises(InputError, match="quantile: it is not given what the records hold"):
        QuantileAttack().score(replace(known, features=None))


def test_a_signal_that_is_not_finite_is_refused() -> None:
    rng = np.random.default_rng(0)
    audited = records(rng, 9, 1.0)
    audited.signal[3] = np.inf
    with pytest.raises(InputError, match="quantile: signal: rescaled_logit - some values are not finite"):
        QuantileAttack().score(evidence(audited, records(rng, 30, 1.0)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"levels": ()}, "levels: none - give two"),
        ({"levels": (0.5,)}, "levels: 0.5 - give two"),
        ({"levels": (0.5, 0.5)}, "levels: 0.5, 0.5 - give two"),
        ({"levels": (0.5, 1.0)}, "levels: 0.5, 1 - give two"),
        ({"levels": (0.5, float("nan"))}, "levels"),
        ({"columns": 0}, "columns: 0 - give 1 or more"),
        ({"levels": "many"}, "levels"),
    ],
)
def test_bad_options_are_refused_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(AuditError, match=words) as refused:
        build(QuantileAttack, options, "attack")
    assert "\n" not in str(refused.value)
