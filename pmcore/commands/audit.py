"""`pmcore audit`: from a model file and records to a report."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import rich_click as click

from pmcore.commands.arguments import audit_arguments, settings_of
from pmcore.commands.output import standard_output
from pmcore.commands.progress import ProgressBar
from pmcore.commands.several import CommandWithSeveral
from pmcore.errors import ExitCode

if TYPE_CHECKING:
    from pmcore.schema import AuditReport

HELP = """Audit MODEL: can the records that trained it be told from others by its answers?

\b
pmcore audit model.onnx --members train.npz --non-members test.npz
             --expected-accuracy 0.91 --out report/
pmcore audit model.onnx … --references refs/ --attack all

\b
Exit codes  0 done                   4 the model failed or has no device
            2 bad input or usage     5 the audit is INVALID: no figure holds
            3 refused as untrusted   6 done, but an attack could not run
"""


@click.command(name="audit", cls=CommandWithSeveral, help=HELP)
@audit_arguments
@click.option("--json", "as_json", is_flag=True, help="Print report.json instead of text.")
@click.option("--quiet", is_flag=True, help="Print errors only; with --json, the report too.")
def command(*, as_json: bool, quiet: bool, **given: Any) -> int:
    """Run an audit and print its report."""
    from pmcore.audit import Audit
    from pmcore.reports.json_report import JsonReport
    from pmcore.reports.terminal import print_report, wants_colour

    audit = Audit(config=given["config"], **settings_of(given))
    with ProgressBar(enabled=not quiet) as progress:
        result = audit.run(progress, command=shlex.join(["pmcore", *sys.argv[1:]]))
    with standard_output():
        if as_json:
            sys.stdout.write(JsonReport().render(result.report)["report.json"].decode())
        elif not quiet:
            print_report(result.report, sys.stdout, wants_colour(sys.stdout), [str(path) for path in result.written])
    if as_json or quiet or not sys.stdout.isatty():  # nobody has read it on the terminal
        for line in shortcomings(result.report):
            print(f"pmcore: error: {line}", file=sys.stderr)
    return exit_code(result.report)


def exit_code(report: AuditReport) -> int:
    """Return the exit code of an audit that came to its end."""
    if not report.valid:
        return int(ExitCode.INVALID)
    return int(ExitCode.PARTIAL if any(part.asked for part in report.skipped) else ExitCode.DONE)


def shortcomings(report: AuditReport) -> Iterator[str]:
    """Yield one line for each reason why the exit code is not 0."""
    from pmcore.reports.results import invalid_reasons

    if not report.valid:
        for reason in invalid_reasons(report):
            yield f"the audit is INVALID: {reason}"
    for part in (part for part in report.skipped if part.asked):
        yield f"attack {part.attack!r} did not run: {part.reason}"
