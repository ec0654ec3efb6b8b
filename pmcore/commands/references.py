"""`pmcore references`: trains reference models of a target and leaves a folder that an audit reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from pmcore.commands.arguments import model_arguments, settings_of
from pmcore.commands.output import echo
from pmcore.commands.progress import ProgressBar
from pmcore.commands.several import CommandWithSeveral, SeveralOption
from pmcore.errors import AuditError, ExitCode

if TYPE_CHECKING:
    from pmcore.reference_manifest import Manifest
    from pmcore.reference_training.settings import ReferenceSettings

HELP = """Train reference models of MODEL, each on a seeded half of the pool.

\b
pmcore references model.onnx --pool members.npz nonmembers.npz
                  --count 16 --out refs/

The first file of the pool is taken for the records that trained MODEL, the second for records that it has not seen.
Run again with --resume, what was killed goes on where it was, and ends with the same files.
"""


class Interrupted(AuditError):
    """Ctrl-C while there is something to go on with."""

    exit_code = ExitCode.INTERRUPTED


@click.command(name="references", help=HELP, cls=CommandWithSeveral)
@click.argument("model", required=False)
@click.option(
    "--pool", cls=SeveralOption, multiple=True, metavar="FILE…", help="Records to train on, in one file or several."
)
@click.option("--members", metavar="FILE", help="Records that trained MODEL. Default: the first file of the pool.")
@click.option("--non-members", metavar="FILE", help="Records that did not. Default: the second file of the pool.")
@click.option("--count", metavar="N", help="Number of references. Default: 16.")
@click.option(
    "--assign",
    metavar="NAME",
    help="in-out: the pool holds the records to audit, and each trains half of the references; out-only: it holds "
    "population records alone. Default: in-out.",
)
@click.option("--trainer", metavar="NAME[:option=value,…]", help="Default: found from the suffix of MODEL.")
@click.option(
    "--command", metavar="COMMAND", help="Train with a command of yours; `pmcore plugins show command` says how."
)
@click.option(
    "--epochs", metavar="N", help="Epochs, or auto: until a reference knows its records as MODEL knows its own."
)
@click.option("--jobs", metavar="N", help="Processes that train, or auto: one for each core (the default).")
@click.option("--out", metavar="DIR", help="Folder for the references.")
@click.option("--resume", is_flag=True, help="Go on with references that were begun in this folder.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@model_arguments
def command(*, quiet: bool, **given: Any) -> int:
    """Train references and say how well they know their records."""
    from pmcore.reference_training.run import train_references
    from pmcore.reference_training.settings import read_reference_settings
    from pmcore.reference_training.summary import summary

    settings = read_reference_settings(settings_of(given))
    try:
        with ProgressBar(enabled=not quiet) as progress:
            trained = train_references(settings, progress)
    except KeyboardInterrupt:
        if not (Path(settings.out) / ".work").is_dir():
            raise
        raise Interrupted("interrupted - go on with --resume") from None
    if not quiet:
        for line in summary(trained.out, trained.manifest, trained.already, _runs_code(settings, trained.manifest)):
            echo(line)
    return int(ExitCode.DONE)


def _runs_code(settings: ReferenceSettings, manifest: Manifest) -> bool:
    """Tell whether an audit with these references needs somebody who vouches for their list."""
    factories = {part.loading.get("model_class") for part in manifest.models}
    return settings.trust_model is not None or bool(factories - {None, settings.model_class})
