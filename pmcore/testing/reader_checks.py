"""The checks of readers: every promise that a `Reader` makes, one function each."""

from __future__ import annotations

from pmcore.testing import reader_process as process
from pmcore.testing import reader_records as records
from pmcore.testing import reader_refusals as refusals
from pmcore.testing.checking import Check, require_all, run_checks
from pmcore.testing.reader_case import Subject, instance_of, reader_check

__all__ = ["READER_CHECKS", "check_reader"]


def check_reader(reader: Subject) -> None:
    """Hold a reader to every promise of `pmcore.interfaces.Reader`; its files are made with its own `write`.

    Raises
    ------
    CheckFailed
        Names every check that failed, and why.
    """
    require_all(run_checks(READER_CHECKS, reader), f"reader {type(instance_of(reader)).__name__}")


READER_CHECKS: tuple[Check[Subject], ...] = (
    *map(
        reader_check,
        (
            records.check_docstring,
            records.check_suffixes,
            records.check_values,
            records.check_types,
            records.check_shapes,
            records.check_labels,
            records.check_one_record,
            records.check_several_inputs,
            records.check_default_inputs,
            records.check_nan_is_kept,
            records.check_determinism,
            records.check_arrays_stay,
            records.check_files_listed,
            records.check_source_unchanged,
            refusals.check_missing_label,
            refusals.check_missing_input,
            refusals.check_missing_file,
            refusals.check_unequal_lengths,
            refusals.check_text,
        ),
    ),
    *map(
        process.process_check,
        (
            process.check_import,
            process.check_import_without_framework,
            process.check_no_effects,
            process.check_truncated_files,
            process.check_noise,
            process.check_empty_file,
            process.check_pickles,
        ),
    ),
)
"""Every check of a reader; each runs on the class, or on an instance."""
