"""Difficulty calibration against its formula, and on leaks of a known size."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pmcore.errors import AuditError, InputError
from pmcore.options import build
from pmcore.outputs import Floats
from pmcore.testing import check_attack
from pmcore.testing.attack_findings import most_misses
from pmcore_reference import CalibratedAttack
from pmcore_reference.moments import Centre
from tests.attacks.gaussian_worlds import evidence_of, gaussian_world, misses_of_half, require_no_order


def test_it_keeps_every_promise() -> None:
    check_attack(CalibratedAttack)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [CalibratedAttack("hinge", "median"), CalibratedAttack("rescaled_logit")])
def test_it_keeps_every_promise_with_other_options(attack: CalibratedAttack) -> None:
    check_attack(attack)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(("statistic", "of"), [("mean", np.mean), ("median", np.median)])
@pytest.mark.parametrize("r", [1, 4, 5])
def test_scores_are_the_signal_less_what_references_find(
    statistic: Centre, of: Callable[..., Floats], lower: bool, r: int
) -> None:
    world = gaussian_world(40, r, seen=False)
    expected = (world.target - of(world.references, axis=0)) * (-1 if lower else 1)
    found = CalibratedAttack("loss", statistic).score(world.evidence("loss", lower=lower))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("r", [1, 2, 8])
def test_the_auc_is_that_of_two_normal_distributions(r: int) -> None:
    """The target less the mean of r others has the variance 1 + 1 / r: the AUC is Phi(d / sqrt(2 (1 + 1 / r)))."""
    world = gaussian_world(20_000, r, leak=1.5, seen=False)
    found = world.area(CalibratedAttack("loss").score(world.evidence("loss"))).value
    assert found == pytest.approx(norm.cdf(1.5 / np.sqrt(2 * (1 + 1 / r))), abs=0.012)


def test_difficulty_that_hides_a_leak_is_taken_off() -> None:
    world = gaussian_world(4_000, 8, difficulty=10.0, seen=False)
    assert (world.area(world.target).value or 0) < 0.56
    assert (world.area(CalibratedAttack("loss").score(world.evidence("loss"))).value or 0) > 0.73


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), r=st.integers(1, 9), shift=st.floats(-1e3, 1e3))
def test_what_all_models_share_changes_nothing(seed: int, r: int, shift: float) -> None:
    world = gaussian_world(20, r, seen=False, seed=seed)
    moved = evidence_of("loss", world.target + shift, world.references + shift)
    expected = CalibratedAttack("loss").score(evidence_of("loss", world.target, world.references))
    np.testing.assert_allclose(CalibratedAttack("loss").score(moved), expected, atol=1e-9)


def test_scores_do_not_depend_on_any_order() -> None:
    require_no_order(CalibratedAttack("loss", "median"), gaussian_world(300, 7, seen=False).evidence("loss"))


def test_without_a_leak_intervals_hold_one_half() -> None:
    assert misses_of_half(CalibratedAttack("loss"), "loss", 200, seen=False) <= most_misses(200, 0.07)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_signal_that_is_not_finite_is_refused_in_one_line(value: float) -> None:
    references = np.zeros((3, 4))
    references[1, 2] = value
    with pytest.raises(InputError, match="not finite") as caught:
        CalibratedAttack("loss").score(evidence_of("loss", np.zeros(4), references))
    assert "\n" not in str(caught.value)


def test_a_signal_with_several_numbers_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"calibrated: signal: loss - gives 2 numbers"):
        CalibratedAttack("loss").score(evidence_of("loss", np.zeros((4, 2)), np.zeros((3, 4, 2))))


def test_a_statistic_that_does_not_exist_is_refused_in_one_line() -> None:
    with pytest.raises(AuditError, match="statistic") as caught:
        build(CalibratedAttack, {"statistic": "mode"}, "attack 'calibrated'")
    assert "\n" not in str(caught.value)
