"""All checks of an attack, in the order in which an author meets them."""

from __future__ import annotations

from collections.abc import Callable

from pmcore.interfaces import Attack
from pmcore.testing import attack_conduct, attack_declarations, attack_findings, attack_independence
from pmcore.testing.checking import Check, check_of, require_all, run_checks
from pmcore.testing.subjects import made


def check_attack(attack: Attack | type[Attack]) -> None:
    """Hold an attack to every promise; a class is made with its default options.

    Raises
    ------
    CheckFailed
        Names every check that fails, and why.
    """
    subject = made(attack, Attack)
    require_all(run_checks(ATTACK_CHECKS, subject), f"attack {type(subject).__name__}")


def _check(function: Callable[[Attack], None]) -> Check[Attack | type[Attack]]:
    check = check_of(function)
    return Check(check.name, check.promise, lambda attack: function(made(attack, Attack)))


ATTACK_CHECKS: tuple[Check[Attack | type[Attack]], ...] = tuple(
    _check(function)
    for function in (
        attack_declarations.check_frozen_dataclass,
        attack_declarations.check_default_options,
        attack_declarations.check_options_round_trip,
        attack_declarations.check_option_types,
        attack_declarations.check_options_are_documented,
        attack_declarations.check_equality,
        attack_declarations.check_pickle,
        attack_declarations.check_docstring_asks,
        attack_declarations.check_docstring_has_formula,
        attack_declarations.check_docstring_has_source,
        attack_declarations.check_knowledge,
        attack_declarations.check_needs,
        attack_declarations.check_needs_are_stable,
        attack_declarations.check_reads_what_it_declares,
        attack_declarations.check_uses_what_it_reads,
        attack_declarations.check_reads_nothing_else,
        attack_independence.check_import_effects,
        attack_independence.check_no_framework,
        attack_conduct.check_one_score_per_record,
        attack_conduct.check_float64,
        attack_conduct.check_finite_scores,
        attack_findings.check_planted_leak,
        attack_findings.check_no_leak,
        attack_findings.check_direction,
        attack_findings.check_references_help,
        attack_findings.check_seeds,
        attack_findings.check_p_values_are_probabilities,
        attack_findings.check_p_values_hold_their_level,
        attack_findings.check_p_values_agree_with_scores,
        attack_independence.check_record_order,
        attack_independence.check_company,
        attack_independence.check_answers_about_others,
        attack_independence.check_population_order,
        attack_independence.check_reference_order,
        attack_independence.check_ties,
        attack_independence.check_determinism,
        attack_independence.check_global_random_state,
        attack_independence.check_no_state,
        attack_independence.check_threads,
        attack_independence.check_other_process,
        attack_conduct.check_one_record,
        attack_conduct.check_one_population_record,
        attack_conduct.check_fewest_references,
        attack_conduct.check_constant_signals,
        attack_conduct.check_saturated_model,
        attack_conduct.check_signals_not_finite,
        attack_conduct.check_class_without_population,
        attack_conduct.check_single_class,
        attack_conduct.check_tasks,
        attack_conduct.check_inputs_unchanged,
        attack_conduct.check_prints_nothing,
        attack_conduct.check_warns_of_nothing,
        attack_conduct.check_budget,
    )
)
"""Every check of an attack; each runs on the class, or on an instance."""
