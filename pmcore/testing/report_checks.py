"""The checks of forms of the report: every promise that a `Report` makes, one function each."""

from __future__ import annotations

from collections.abc import Callable

from pmcore.interfaces import Report
from pmcore.testing import report_content as content
from pmcore.testing import report_files as files
from pmcore.testing import report_process as process
from pmcore.testing.checking import Check, check_of, require_all, run_checks
from pmcore.testing.report_case import Subject, instance_of

__all__ = ["REPORT_CHECKS", "check_report"]


def check_report(report: Subject) -> None:
    """Hold a form of the report to every promise of `pmcore.interfaces.Report`.

    Raises
    ------
    CheckFailed
        Names every check that failed, and why.
    """
    require_all(run_checks(REPORT_CHECKS, report), f"report {type(instance_of(report)).__name__}")


def _check(function: Callable[[Report], None]) -> Check[Subject]:
    check = check_of(function)
    return Check(check.name, check.promise, lambda subject: function(instance_of(subject)))


REPORT_CHECKS: tuple[Check[Subject], ...] = (
    *map(
        _check,
        (
            files.check_docstring,
            files.check_options,
            files.check_returns_bytes,
            files.check_file_names,
            files.check_promised_names,
            files.check_determinism,
            files.check_report_unchanged,
            content.check_content,
            content.check_no_figure_if_invalid,
            content.check_figures_with_intervals,
            content.check_unresolved_figures,
            content.check_null_in_json,
            content.check_nothing_ran,
            content.check_many_classes,
            content.check_long_names,
            content.check_markup,
            content.check_control_characters,
            content.check_utf8,
            content.check_skipped_attacks,
        ),
    ),
    *map(
        process.process_check,
        (
            process.check_import,
            process.check_import_without_framework,
            process.check_no_effects,
            process.check_same_elsewhere,
        ),
    ),
)
"""Every check of a form of the report; each runs on the class, or on an instance."""
