"""The conformance kit for signals: sound signals and all built-in ones pass, and every check catches its own."""

from __future__ import annotations

import pytest

from pmcore import signals
from pmcore.interfaces import Signal
from pmcore.testing import CheckFailed, check_signal
from pmcore.testing.checking import Verdict, run_checks
from pmcore.testing.signal_checks import SIGNAL_CHECKS
from tests.core import planted_at_import
from tests.core import planted_signals as planted

BAD: dict[str, tuple[Signal, ...]] = {
    "check_traits": (planted.PointsUp(),),
    "check_access": (planted.UnderstatesItsAccess(), planted.ReadsTheLogitItself(), planted.CallsItALabel()),
    "check_want_is_stable": (planted.ChangesItsMind(),),
    "check_reads_what_it_wants": (planted.WantsInVain(),),
    "check_frozen_dataclass": (planted.HoldsSomething(),),
    "check_default_options": (planted.WantsATemperature(2.0),),
    "check_options_round_trip": (planted.ChangesItsOption(),),
    "check_option_types": (planted.TakesAnything(),),
    "check_options_are_documented": (planted.KeepsAnOptionToItself(),),
    "check_equality": (planted.IsUnequal(),),
    "check_pickle": (planted.CannotBeSent(),),
    "check_docstring_opens": (planted.OpensInTheMiddle(),),
    "check_docstring_has_formula": (planted.HasNoFormula(),),
    "check_docstring_has_source": (planted.CitesNobody(),),
    "check_import_effects": (planted_at_import.PrintsAtImport(),),
    "check_no_framework": (planted.NeedsAFramework(),),
    "check_shape": (planted.GivesThreeAxes(),),
    "check_float64": (planted.CutsDigitsOff(),),
    "check_finite": (planted.GivesInfinity(),),
    "check_planted_leak": (planted.PointsTheOtherWay(),),
    "check_tasks": (planted.DeclaresTooManyTasks(),),
    "check_one_record": (planted.SqueezesItsValues(),),
    "check_binary_columns": (planted.CountsColumns(),),
    "check_probabilities": (planted.TakesProbabilitiesForLogits(),),
    "check_precision": (planted.ComputesInFloat32(), planted.NarrowsTheAnswers()),
    "check_saturated_logits": (planted.OverflowsOnLogits(),),
    "check_certain_probabilities": (planted.OverflowsOnCertainty(),),
    "check_batches": (planted.AddsInTheOrderOfMemory(),),
    "check_record_order": (planted.LooksAtThePlace(),),
    "check_other_answers": (planted.ReadsWhatOthersWant(),),
    "check_determinism": (planted.ThrowsDice(),),
    "check_global_random_state": (planted.DrawsFromTheCommonPool(),),
    "check_no_state": (planted.RemembersTheBatch(),),
    "check_other_process": (planted.HashesText(),),
    "check_inputs_unchanged": (planted.WritesIntoTheAnswers(),),
    "check_shared_quantities_unchanged": (planted.WritesIntoSharedQuantities(),),
    "check_prints_nothing": (planted.Prints(),),
    "check_warns_of_nothing": (planted.Warns(),),
}
BUILT_IN = (
    signals.Loss,
    signals.Confidence,
    signals.RescaledLogit,
    signals.Hinge,
    signals.Entropy,
    signals.ModifiedEntropy,
    signals.Correctness,
)


def failing(signal: Signal) -> dict[str, str]:
    outcomes = run_checks(SIGNAL_CHECKS, signal)
    return {outcome.check: outcome.detail for outcome in outcomes if outcome.verdict is Verdict.FAILED}


def test_every_check_has_a_planted_signal_that_breaks_its_promise() -> None:
    assert set(BAD) == {check.name for check in SIGNAL_CHECKS}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("check", "signal"),
    [(check, signal) for check, signals in BAD.items() for signal in signals],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_broken_promise_is_found_by_its_check_and_by_no_other(check: str, signal: Signal) -> None:
    found = failing(signal)
    assert set(found) == {check}, found


@pytest.mark.parametrize("signal", planted.SOUND, ids=lambda signal: type(signal).__name__)
def test_sound_signals_of_every_kind_pass(signal: Signal) -> None:
    assert failing(signal) == {}


@pytest.mark.parametrize("signal", BUILT_IN, ids=lambda signal: signal.__name__)
def test_built_in_signals_pass(signal: type[Signal]) -> None:
    check_signal(signal)


def test_all_failures_are_told_together() -> None:
    with pytest.raises(CheckFailed, match=r"(?s)signal PointsUp fails 1 check:.*check_traits: `direction` is 'up'"):
        check_signal(planted.PointsUp())


def test_what_is_no_signal_is_not_checked() -> None:
    with pytest.raises(TypeError, match=r"int does not derive from pmcore\.interfaces\.Signal"):
        check_signal(3)  # type: ignore[arg-type]
