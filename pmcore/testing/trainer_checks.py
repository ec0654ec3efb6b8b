"""The checks of trainers: every promise that a `Trainer` makes, one function each."""

from __future__ import annotations

from collections.abc import Callable

from pmcore.interfaces import Trainer
from pmcore.testing import trainer_declarations as declarations
from pmcore.testing import trainer_files as files
from pmcore.testing import trainer_learning as learning
from pmcore.testing import trainer_process as process
from pmcore.testing.checking import Check, check_of, require_all, run_checks
from pmcore.testing.trainer_case import Subject, trainer_check, trainer_of

__all__ = ["TRAINER_CHECKS", "check_trainer"]


def check_trainer(trainer: Subject) -> None:
    """Hold a trainer to every promise of `pmcore.interfaces.Trainer`; models are trained for it, which takes a while.

    Raises
    ------
    CheckFailed
        Names every check that failed, and why.
    """
    require_all(run_checks(TRAINER_CHECKS, trainer), f"trainer {type(trainer_of(trainer)).__name__}")


def _check(function: Callable[[Trainer], None]) -> Check[Subject]:
    check = check_of(function)
    return Check(check.name, check.promise, lambda subject: function(trainer_of(subject)))


TRAINER_CHECKS: tuple[Check[Subject], ...] = (
    *map(
        _check,
        (
            declarations.check_docstring,
            declarations.check_frozen_dataclass,
            declarations.check_options_round_trip,
            declarations.check_option_types,
            declarations.check_options_are_documented,
            declarations.check_equality,
            declarations.check_pickle,
            declarations.check_suffixes,
        ),
    ),
    *map(
        process.import_check,
        (
            process.check_import_effects,
            process.check_import_without_framework,
        ),
    ),
    *map(
        trainer_check,
        (
            declarations.check_obstacle,
            declarations.check_damaged_target,
            declarations.check_settled,
            declarations.check_side_by_side,
            files.check_own_folder,
            files.check_result,
            files.check_loads,
            files.check_records_unchanged,
            files.check_target_unchanged,
            learning.check_learns,
            learning.check_fresh_weights,
            learning.check_determinism,
            learning.check_seed,
            learning.check_index,
            learning.check_other_rows,
            learning.check_several_jobs,
            learning.check_epochs,
            learning.check_progress,
            learning.check_failure,
        ),
    ),
    *map(
        process.process_check,
        (
            process.check_no_effects,
            process.check_prints_nothing,
            process.check_same_elsewhere,
        ),
    ),
)
"""Every check of a trainer; each runs on the class, on an instance, or on a `TrainerCase`."""
