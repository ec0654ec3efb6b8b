"""The conformance kit: what a plugin author, and pmcore itself, holds a plugin to."""

from __future__ import annotations

from pmcore.testing.attack_checks import ATTACK_CHECKS, check_attack
from pmcore.testing.backend_case import BackendExample
from pmcore.testing.backend_checks import BACKEND_CHECKS, check_backend
from pmcore.testing.checking import Check, CheckFailed, NotApplicable, Outcome, Verdict, run_checks
from pmcore.testing.parametrize import checks_for, parametrize_with_checks
from pmcore.testing.reader_checks import READER_CHECKS, check_reader
from pmcore.testing.report_checks import REPORT_CHECKS, check_report
from pmcore.testing.signal_checks import SIGNAL_CHECKS, check_signal
from pmcore.testing.trainer_case import TrainerCase
from pmcore.testing.trainer_checks import TRAINER_CHECKS, check_trainer

__all__ = [
    "ATTACK_CHECKS",
    "BACKEND_CHECKS",
    "READER_CHECKS",
    "REPORT_CHECKS",
    "SIGNAL_CHECKS",
    "TRAINER_CHECKS",
    "BackendExample",
    "Check",
    "CheckFailed",
    "NotApplicable",
    "Outcome",
    "TrainerCase",
    "Verdict",
    "check_attack",
    "check_backend",
    "check_reader",
    "check_report",
    "check_signal",
    "check_trainer",
    "checks_for",
    "parametrize_with_checks",
    "run_checks",
]
