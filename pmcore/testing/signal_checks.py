"""All checks of a signal, in the order in which an author meets them."""

from __future__ import annotations

from collections.abc import Callable

from pmcore.interfaces import Signal
from pmcore.testing import signal_declarations, signal_independence, signal_values
from pmcore.testing.checking import Check, check_of, require_all, run_checks
from pmcore.testing.subjects import made


def check_signal(signal: Signal | type[Signal]) -> None:
    """Hold a signal to every promise; a class is made with its default options.

    Raises
    ------
    CheckFailed
        Names every check that fails, and why.
    """
    subject = made(signal, Signal)
    require_all(run_checks(SIGNAL_CHECKS, subject), f"signal {type(subject).__name__}")


def _check(function: Callable[[Signal], None]) -> Check[Signal | type[Signal]]:
    check = check_of(function)
    return Check(check.name, check.promise, lambda signal: function(made(signal, Signal)))


SIGNAL_CHECKS: tuple[Check[Signal | type[Signal]], ...] = tuple(
    _check(function)
    for function in (
        signal_declarations.check_traits,
        signal_declarations.check_access,
        signal_declarations.check_want_is_stable,
        signal_declarations.check_reads_what_it_wants,
        signal_declarations.check_frozen_dataclass,
        signal_declarations.check_default_options,
        signal_declarations.check_options_round_trip,
        signal_declarations.check_option_types,
        signal_declarations.check_options_are_documented,
        signal_declarations.check_equality,
        signal_declarations.check_pickle,
        signal_declarations.check_docstring_opens,
        signal_declarations.check_docstring_has_formula,
        signal_declarations.check_docstring_has_source,
        signal_independence.check_import_effects,
        signal_independence.check_no_framework,
        signal_values.check_shape,
        signal_values.check_float64,
        signal_values.check_finite,
        signal_values.check_planted_leak,
        signal_values.check_tasks,
        signal_values.check_one_record,
        signal_values.check_binary_columns,
        signal_values.check_probabilities,
        signal_values.check_precision,
        signal_values.check_saturated_logits,
        signal_values.check_certain_probabilities,
        signal_independence.check_batches,
        signal_independence.check_record_order,
        signal_independence.check_other_answers,
        signal_independence.check_determinism,
        signal_independence.check_global_random_state,
        signal_independence.check_no_state,
        signal_independence.check_other_process,
        signal_independence.check_inputs_unchanged,
        signal_independence.check_shared_quantities_unchanged,
        signal_independence.check_prints_nothing,
        signal_independence.check_warns_of_nothing,
    )
)
"""Every check of a signal; each runs on the class, or on an instance."""
