"""What pmcore raises on purpose: every message is advice, and every class carries its exit code."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of the command line, one meaning each."""

    DONE = 0
    GATE_FAILED = 1
    BAD_INPUT = 2
    UNTRUSTED = 3
    MODEL_FAILED = 4
    INVALID = 5
    PARTIAL = 6
    INTERRUPTED = 130
    BUG = 70


class AuditError(Exception):
    """What was asked, what stands in the way, what to do: one line, for the person who asked."""

    exit_code = ExitCode.BAD_INPUT


class InputError(AuditError):
    """A file, a value or an option does not fit; nothing has been queried."""


class PluginError(AuditError):
    """A plugin cannot be found, loaded or used."""


class UntrustedError(AuditError):
    """A file could run code when loaded, or reaches for other files, and nobody vouched for it."""

    exit_code = ExitCode.UNTRUSTED


class ModelError(AuditError):
    """The model crashed, hung, ran out of memory or answered with something that is not a number."""

    exit_code = ExitCode.MODEL_FAILED


class OutOfMemory(ModelError):
    """The batch did not fit into memory; the audit tries half of it before giving up."""


class Misfits(InputError):
    """Several complaints found before the first query, told together, one line each."""

    def __init__(self, complaints: Sequence[AuditError | str]) -> None:
        lines = (line for complaint in complaints for line in getattr(complaint, "complaints", (str(complaint),)))
        self.complaints = tuple(dict.fromkeys(lines))
        super().__init__("\n".join(self.complaints))
        codes = [complaint.exit_code for complaint in complaints if isinstance(complaint, AuditError)]
        self.exit_code = max(codes, default=ExitCode.BAD_INPUT)


class Complaints:
    """Collects what is wrong, so that somebody who made three mistakes is not told of them one by one."""

    def __init__(self) -> None:
        self.errors: list[AuditError] = []

    @contextmanager
    def collect(self) -> Iterator[None]:
        """Note an `AuditError` of the block and go on after it."""
        try:
            yield
        except AuditError as error:
            self.errors.append(error)

    def raise_any(self) -> None:
        """Raise what was collected: one error as it is, several as `Misfits`."""
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            raise Misfits(self.errors)
