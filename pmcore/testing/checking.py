"""What a check of a plugin is, and how checks are run and told of."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from pmcore.errors import AuditError

Subject = TypeVar("Subject")


class CheckFailed(AssertionError):
    """A plugin breaks a promise; the message says which, what was seen, and what to do."""


class NotApplicable(Exception):
    """A check does not concern a plugin, for the reason given."""


class Verdict(StrEnum):
    """How a check went."""

    PASSED = "passed"
    FAILED = "FAILED"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Check(Generic[Subject]):
    """One promise of a plugin, and the function that holds the plugin to it.

    Parameters
    ----------
    name : of the function, such as "check_order_independence"
    promise : what a plugin that passes does, in one sentence
    run : raises `CheckFailed`, or `NotApplicable`; any other exception counts as failed
    """

    name: str
    promise: str
    run: Callable[[Subject], None]

    def __str__(self) -> str:
        return self.name

    def __call__(self, subject: Subject) -> None:
        """Hold a plugin to the promise.

        Raises
        ------
        CheckFailed
            The plugin breaks it, or fails in any other way.
        NotApplicable
            The check does not concern this plugin.
        """
        outcome = outcome_of(self, subject)
        if outcome.verdict is Verdict.FAILED:
            raise CheckFailed(f"{self.name}: {outcome.detail}")
        if outcome.verdict is Verdict.NOT_APPLICABLE:
            raise NotApplicable(outcome.detail)


@dataclass(frozen=True)
class Outcome:
    """How one check went with one plugin; `detail` says why where it did not pass."""

    check: str
    promise: str
    verdict: Verdict
    detail: str = ""


def check_of(function: Callable[[Subject], None]) -> Check[Subject]:
    """Return the check that a function is: its name, and the first line of its docstring as the promise."""
    promise = (function.__doc__ or "").strip().partition("\n")[0]
    return Check(function.__name__, promise, function)


def run_checks(checks: Sequence[Check[Subject]], subject: Subject) -> Iterator[Outcome]:
    """Yield the outcome of every check, in order; one that fails does not keep the others from running."""
    for check in checks:
        yield outcome_of(check, subject)


def outcome_of(check: Check[Subject], subject: Subject) -> Outcome:
    """Return how one check goes with one plugin; whatever the plugin raises is its failure."""
    try:
        check.run(subject)
    except NotApplicable as reason:
        return Outcome(check.name, check.promise, Verdict.NOT_APPLICABLE, str(reason))
    except (CheckFailed, AuditError) as error:
        return Outcome(check.name, check.promise, Verdict.FAILED, str(error))
    except Exception as error:  # a plugin is called: whatever it raises is its failure
        where = traceback.extract_tb(error.__traceback__)[-1]
        detail = f"{type(error).__name__}: {error} ({where.filename}:{where.lineno})"
        return Outcome(check.name, check.promise, Verdict.FAILED, detail)
    return Outcome(check.name, check.promise, Verdict.PASSED)


def require_all(outcomes: Iterator[Outcome], title: str) -> None:
    """Raise one `CheckFailed` that names every failed check; do nothing if none failed."""
    failed = [outcome for outcome in outcomes if outcome.verdict is Verdict.FAILED]
    if failed:
        lines = "\n".join(f"  {outcome.check}: {outcome.detail}" for outcome in failed)
        raise CheckFailed(f"{title} fails {len(failed)} check{'s' if len(failed) != 1 else ''}:\n{lines}")
