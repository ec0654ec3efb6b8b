"""`pmcore audit`: from a model file and records to a report."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import rich_click as click

from pmcore.commands.arguments import audit_arguments, settings_of
from pmcore.commands.progress import ProgressBar
from pmcore.errors import ExitCode


@click.command(name="audit")
@audit_arguments
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of text.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def command(*, as_json: bool, quiet: bool, **given: Any) -> int:
    r"""Audit MODEL: how well can its training records be told from others?

    Exit codes: 0 done, 2 bad input, 3 refused as untrusted, 4 model failed, 5 audit invalid, 6 some attacks
    could not run.

    \b
    pmcore audit model.onnx --members train.npz --non-members test.npz --out report/
    """
    from pmcore.audit import Audit
    from pmcore.reports.json_report import JsonReport
    from pmcore.reports.terminal import print_report, wants_colour

    audit = Audit(config=given["config"], **settings_of(given))
    with ProgressBar(enabled=not quiet) as progress:
        result = audit.run(progress, command=shlex.join(["pmcore", *sys.argv[1:]]))
    if as_json:
        sys.stdout.write(JsonReport().render(result.report)["report.json"].decode())
    elif not quiet:
        print_report(result.report, sys.stdout, wants_colour(sys.stdout), [str(path) for path in result.written])
    return exit_code(result.report.valid, bool(result.report.skipped))


def exit_code(valid: bool, skipped: bool) -> int:
    """Return the exit code of an audit that came to its end."""
    if not valid:
        return int(ExitCode.INVALID)
    return int(ExitCode.PARTIAL if skipped else ExitCode.DONE)
