"""The conformance kit for attacks: sound attacks of every kind pass, and every check catches what it is there for."""

from __future__ import annotations

import importlib
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pmcore.interfaces import Attack
from pmcore.testing import ATTACK_CHECKS, CheckFailed, check_attack, checks_for, parametrize_with_checks
from pmcore.testing.attack_findings import most_misses
from pmcore.testing.checking import Check, Verdict, outcome_of, run_checks
from pmcore_population import PopulationAttack
from tests.core import planted_at_import, planted_with_scikit_learn
from tests.core import planted_attacks as planted

ROOT = Path(__file__).parents[2]
MARGIN = ROOT / "plugins" / "margin-attack"

BAD: dict[str, tuple[Attack, ...]] = {
    "check_frozen_dataclass": (planted.CanBeChanged(),),
    "check_default_options": (planted.AsksForAnOption(weight=2.0),),
    "check_options_round_trip": (planted.ChangesItsOption(),),
    "check_option_types": (planted.TakesAnything(),),
    "check_options_are_documented": (planted.KeepsAnOptionToItself(),),
    "check_equality": (planted.IsUnequal(),),
    "check_pickle": (planted.CannotBeSent(),),
    "check_docstring_asks": (planted.AsksNothing(),),
    "check_docstring_has_formula": (planted.HasNoFormula(),),
    "check_docstring_has_source": (planted.CitesNobody(),),
    "check_knowledge": (planted.KnowsNothing(),),
    "check_needs": (planted.AsksLessThanNothing(),),
    "check_needs_are_stable": (planted.ChangesItsMind(),),
    "check_reads_what_it_declares": (planted.AsksInVain(),),
    "check_uses_what_it_reads": (planted.ReadsInVain(), planted.OverlooksWhoHasSeenIt()),
    "check_reads_nothing_else": (planted.Peeks(),),
    "check_import_effects": (planted_at_import.ActsAtImport(),),
    "check_no_framework": (planted.NeedsAFramework(),),
    "check_one_score_per_record": (planted.GivesAColumn(),),
    "check_float64": (planted.CutsDigitsOff(), planted.CutsDigitsOffInside()),
    "check_finite_scores": (planted.GivesInfinity(),),
    "check_planted_leak": (planted.SeesNoLeak(),),
    "check_no_leak": (planted.ReadsTheClass(),),
    "check_direction": (planted.OverlooksTheDirection(),),
    "check_references_help": (planted.AddsTheReferences(),),
    "check_seeds": (planted.TakesSmallSeeds(),),
    "check_p_values_are_probabilities": (planted.GivesZeroAsPValue(),),
    "check_p_values_hold_their_level": (
        planted.HalvesItsPValues(),
        planted.CountsTiesForItself(),
        planted.LeavesItselfOut(),
    ),
    "check_p_values_agree_with_scores": (planted.TakesTheOtherTail(),),
    "check_record_order": (planted.LooksAtThePlace(),),
    "check_company": (planted.CountsItsClass(),),
    "check_answers_about_others": (
        planted.ComparesTheAudited(),
        planted.PoolsTheAudited(),
        planted.LearnsFromWhatItScores(),
    ),
    "check_population_order": (planted.TrustsTheFirstHalf(),),
    "check_reference_order": (planted.TrustsTheFirstReference(),),
    "check_ties": (planted.BreaksTies(),),
    "check_determinism": (planted.ThrowsDice(),),
    "check_global_random_state": (planted.DrawsFromTheCommonPool(),),
    "check_no_state": (planted.RemembersThePopulation(),),
    "check_threads": (planted.WantsTheMainThread(),),
    "check_other_process": (planted.HashesText(),),
    "check_one_record": (planted.SqueezesItsScores(),),
    "check_one_population_record": (planted.WantsTwoPopulationRecords(),),
    "check_fewest_references": (planted.UnderstatesItsReferences(),),
    "check_constant_signals": (planted.DividesByTheSpread(),),
    "check_saturated_model": (planted.TakesExponentials(),),
    "check_signals_not_finite": (planted.TakesEverySignal(),),
    "check_class_without_population": (planted.AveragesEachClass(),),
    "check_single_class": (planted.WantsSeveralClasses(),),
    "check_tasks": (planted.TakesLabelsForClasses(),),
    "check_inputs_unchanged": (planted.WritesIntoTheEvidence(),),
    "check_prints_nothing": (planted.Prints(),),
    "check_warns_of_nothing": (planted.Warns(),),
    "check_budget": (planted.Overdraws(),),
}


def failing(attack: Attack) -> dict[str, str]:
    outcomes = run_checks(ATTACK_CHECKS, attack)
    return {outcome.check: outcome.detail for outcome in outcomes if outcome.verdict is Verdict.FAILED}


def test_every_check_has_a_planted_attack_that_breaks_its_promise() -> None:
    assert set(BAD) == {check.name for check in ATTACK_CHECKS}
    assert len(ATTACK_CHECKS) >= 25


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "attack"),
    [(check, attack) for check, attacks in BAD.items() for attack in attacks],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_broken_promise_is_found_by_its_check_and_by_no_other(check: str, attack: Attack) -> None:
    found = failing(attack)
    assert set(found) == {check}, found


@pytest.mark.slow
@pytest.mark.parametrize("attack", planted.SOUND, ids=lambda attack: type(attack).__name__)
def test_sound_attacks_of_every_kind_pass(attack: Attack) -> None:
    assert failing(attack) == {}


@pytest.mark.parametrize(
    "attack",
    [
        PopulationAttack(),
        PopulationAttack(per_class=True, alpha=0.05),
        PopulationAttack(signal="confidence"),
        PopulationAttack(signal="correctness"),
    ],
    ids=str,
)
def test_the_population_attack_passes_with_all_its_options(attack: Attack) -> None:
    check_attack(attack)


def test_the_plugin_from_outside_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(MARGIN))
    plugin = importlib.import_module("margin_attack")
    check_attack(plugin.MarginAttack)
    for check in checks_for(plugin.RelativeMargin):
        assert outcome_of(check, plugin.RelativeMargin).verdict is not Verdict.FAILED, check


def test_an_attack_may_import_scikit_learn_at_the_top() -> None:
    assert failing(planted_with_scikit_learn.SoundWithScikitLearn()) == {}


def test_a_class_is_checked_with_its_default_options() -> None:
    check_attack(PopulationAttack)


def test_all_failures_are_told_together() -> None:
    with pytest.raises(CheckFailed, match=r"(?s)attack CitesNobody fails 1 check:\n  check_docstring_has_source: "):
        check_attack(planted.CitesNobody())


def test_what_is_no_attack_is_not_checked() -> None:
    with pytest.raises(TypeError, match=r"str does not derive from pmcore\.interfaces\.Attack"):
        check_attack("population")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="str derives from none of Model, Signal, Attack"):
        checks_for("population")


def test_a_right_attack_fails_the_null_check_less_than_once_in_a_million() -> None:
    """Binomial tail, worked out term by term."""
    allowed = most_misses(200, 0.07)
    tail = sum(math.comb(200, k) * 0.07**k * 0.93 ** (200 - k) for k in range(allowed + 1, 201))
    assert tail < 1e-6 < tail + math.comb(200, allowed) * 0.07**allowed * 0.93 ** (200 - allowed)


@parametrize_with_checks([PopulationAttack(alpha=0.02), planted.SoundReference])
def test_every_check_is_a_test_of_its_own(plugin: Attack, check: Check[Attack]) -> None:
    check(plugin)


CONFORMS = """
from pmcore.testing import parametrize_with_checks
from pmcore_population import PopulationAttack
from tests.core.planted_attacks import CitesNobody

@parametrize_with_checks([PopulationAttack(alpha=0.02), CitesNobody])
def test_conforms(plugin, check):
    check(plugin)
"""


def test_checks_in_pytest_have_readable_names_and_skip_what_does_not_apply(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(CONFORMS, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    command = [sys.executable, "-m", "pytest", "-v", "-rs", "-p", "no:cacheprovider", "-k", "budget or source"]
    done = subprocess.run([*command, "test_it.py"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "PopulationAttack(alpha=0.02)-check_docstring_has_source] PASSED" in done.stdout
    assert "CitesNobody-check_docstring_has_source] FAILED" in done.stdout
    assert "CheckFailed: check_docstring_has_source: the docstring cites no source" in done.stdout
    assert "check_budget: it asks no adaptive queries" in done.stdout
    assert "1 failed, 1 passed, 2 skipped" in done.stdout
