"""The checks of trainers: good ones pass them all, and for each there is one that fails it alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from numpy_backend import NumpyModel

from pmcore.installed import surveyed_once
from pmcore.interfaces import Scale, Task, Trainer, TrainingTask
from pmcore.testing import (
    TRAINER_CHECKS,
    CheckFailed,
    TrainerCase,
    check_trainer,
    checks_for,
    parametrize_with_checks,
)
from pmcore.testing.checking import Check, Outcome, Verdict, run_checks
from pmcore.testing.trainer_case import Subject
from tests.core.planted_modules import module_class, write_framework
from tests.core.planted_trainers import IMPORTS, PLANTED, CannotDo, DrawsNothing, GoodTrainer, SideBySide

FAULTS = [(check, trainer) for check, trainers in PLANTED.items() for trainer in trainers]
APART = {"check_no_effects", "check_prints_nothing", "check_same_elsewhere", *IMPORTS}
"""Checks that take a process of their own, which is what takes longest."""


@pytest.fixture(autouse=True)
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    write_framework(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    with surveyed_once():
        yield


def outcomes(subject: Subject, leaving_out: Collection[str] = ()) -> dict[str, Outcome]:
    checks = [check for check in TRAINER_CHECKS if check.name not in leaving_out]
    return {outcome.check: outcome for outcome in run_checks(checks, subject)}


def with_verdict(found: dict[str, Outcome], verdict: Verdict) -> dict[str, str]:
    return {name: outcome.detail for name, outcome in found.items() if outcome.verdict is verdict}


@pytest.mark.parametrize("trainer", [GoodTrainer, SideBySide])
def test_a_good_trainer_passes_every_check(trainer: type[Trainer]) -> None:
    found = outcomes(trainer)
    assert {outcome.verdict for outcome in found.values()} == {Verdict.PASSED}, found


@pytest.mark.parametrize(("check", "trainer"), FAULTS, ids=[type(trainer).__name__ for _, trainer in FAULTS])
def test_each_planted_fault_fails_its_own_check_and_no_other(check: str, trainer: Trainer) -> None:
    found = with_verdict(outcomes(trainer, () if check in APART else APART), Verdict.FAILED)
    assert set(found) == {check}, found
    assert found[check].strip()
    assert "\n" not in found[check]


@pytest.mark.parametrize("check", IMPORTS)
def test_each_fault_at_import_fails_its_own_check_and_no_other(check: str, tmp_path: Path) -> None:
    planted = module_class(tmp_path, "tests.core.planted_trainers", "GoodTrainer", IMPORTS[check])
    assert issubclass(planted, Trainer)
    found = with_verdict(outcomes(planted, APART - {*IMPORTS}), Verdict.FAILED)
    assert set(found) == {check}, found


def test_every_check_has_its_planted_fault() -> None:
    assert sorted(check.name for check in TRAINER_CHECKS) == sorted({**PLANTED, **IMPORTS})


@pytest.mark.parametrize("check", TRAINER_CHECKS, ids=str)
def test_every_promise_is_one_sentence(check: Check[Subject]) -> None:
    assert check.promise.endswith(".")
    assert len(check.promise) < 125


def test_what_a_way_of_training_does_not_do_is_not_applicable() -> None:
    found = outcomes(DrawsNothing, APART)
    assert with_verdict(found, Verdict.FAILED) == {}
    assert set(with_verdict(found, Verdict.NOT_APPLICABLE)) == {"check_seed", "check_epochs", "check_progress"}


def test_a_trainer_that_says_why_it_cannot_is_held_to_what_needs_no_training() -> None:
    found = outcomes(CannotDo, APART)
    assert with_verdict(found, Verdict.FAILED) == {}
    left_out = with_verdict(found, Verdict.NOT_APPLICABLE)
    assert set(left_out.values()) == {"the trainer says: needs images - give it some"}
    assert set(found) - set(left_out) == {
        *(check.name for check in TRAINER_CHECKS[:8]),
        "check_obstacle",
    }


def test_no_target_is_made_for_files_that_nobody_writes() -> None:
    found = outcomes(_OfNoBackend, APART)
    assert with_verdict(found, Verdict.FAILED) == {}
    assert "no installed backend writes .nobody files; give a target" in found["check_learns"].detail


def test_the_author_may_give_a_target_with_its_records(tmp_path: Path) -> None:
    target = tmp_path / "net.npz"
    NumpyModel.write_dense(target, [np.eye(4, 3, dtype=np.float32)], [np.zeros(3, np.float32)])
    rng = np.random.default_rng(0)
    labels = np.arange(90) // 2 % 3
    x = (rng.normal(size=(90, 4)) + 5 * np.eye(3, 4)[labels]).astype(np.float32)
    task = TrainingTask(target, Task.MULTICLASS, 3, "logits", Scale.LOGITS, {"x": x}, labels, epochs=100)
    before = target.read_bytes()
    for case in (TrainerCase(GoodTrainer, task=task), TrainerCase(GoodTrainer(), target=target)):
        found = outcomes(case, APART)
        assert with_verdict(found, Verdict.FAILED) == {}
        assert set(with_verdict(found, Verdict.NOT_APPLICABLE)) == {"check_fresh_weights"}
    assert target.read_bytes() == before


def test_fine_tuning_of_a_target_that_knows_the_records_is_told() -> None:
    (fault,) = PLANTED["check_fresh_weights"]
    with pytest.raises(CheckFailed, match=r"trainer _FineTunes fails 1 check:\n  check_fresh_weights: "):
        check_trainer(fault)


def test_checks_are_found_by_kind_and_titled_by_the_trainer() -> None:
    case = TrainerCase(GoodTrainer(learning_rate=0.2))
    assert checks_for(case) == checks_for(GoodTrainer) == TRAINER_CHECKS
    mark = parametrize_with_checks([case]).mark
    assert mark.args[1][0].id == "GoodTrainer(learning_rate=0.2)-check_docstring"


@dataclass(frozen=True)
class _OfNoBackend(GoodTrainer):
    """A trainer of files that no backend writes."""

    suffixes: ClassVar[tuple[str, ...]] = (".nobody",)
