"""`pmcore compare`: what changed between audits of the same records."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import rich_click as click

from pmcore.commands.output import standard_output
from pmcore.commands.progress import ProgressBar
from pmcore.commands.several import CommandWithSeveral, SeveralOption
from pmcore.errors import ExitCode

HELP = """Compare audits: does B leak more than A, or less? And C?

Each is a folder that `pmcore audit --out` wrote; the first is the baseline. They must have audited the same records: an
exported model before and after quantisation, a training with and without a defence, one release and the next.

\b
pmcore compare audits/fp32 audits/int8 audits/openvino --out comparison/
pmcore compare audits/before audits/after --attack lira --json

\b
Exit codes  0 done, whatever was found    5 one of the audits is INVALID
            2 bad input or usage
"""


@click.command(name="compare", cls=CommandWithSeveral, help=HELP)
@click.argument("audits", nargs=-1, required=True, metavar="A B [C …]")
@click.option(
    "--attack",
    "attacks",
    cls=SeveralOption,
    multiple=True,
    metavar="NAME…",
    help="Compare these attacks only. Default: all that both audits have.",
)
@click.option("--json", "as_json", is_flag=True, help="Print comparison.json instead of text.")
@click.option("--out", metavar="DIR", help="Folder for comparison.json and the picture of the differences.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Of the paired bootstrap. Default: 0.",
)
@click.option("--quiet", is_flag=True, help="Print errors only; with --json, the comparison too.")
@click.option("--debug", is_flag=True, expose_value=False, help="Show where in pmcore an error arose.")
def command(
    *,
    audits: tuple[str, ...],
    attacks: tuple[str, ...],
    as_json: bool,
    out: str | None,
    force: bool,
    seed: int,
    quiet: bool,
) -> int:
    """Compare audits with the first of them."""
    from pmcore.comparison import compare
    from pmcore.files import OutputFolder, check_folder
    from pmcore.reports.comparison import FILE_NAME, render_comparison, render_comparison_json
    from pmcore.reports.comparison_picture import picture_names, render_picture

    if out is not None:
        check_folder(Path(out), force)
    with ProgressBar(enabled=not quiet) as progress:
        report = compare(audits, attacks, seed, progress, command=shlex.join(["pmcore", *sys.argv[1:]]))
    written: list[str] = []
    if out is not None:
        names = [FILE_NAME, *picture_names()]
        report = report.model_copy(update={"run": report.run.model_copy(update={"files": names})})
        with OutputFolder(Path(out), force) as folder:
            folder.write({FILE_NAME: render_comparison_json(report), **render_picture(report)})
        written = [str(Path(out) / name) for name in names]
    with standard_output():
        if as_json:
            sys.stdout.write(render_comparison_json(report).decode())
        elif not quiet:
            text = render_comparison(report, wrote=written)
            encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
            sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
    return int(ExitCode.DONE)
