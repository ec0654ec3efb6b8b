"""`pmcore demo`: a whole audit, from training a network to the report, on data that is already there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import rich_click as click

MEMBERS = 500
MISLABELLED = 0.15
"""Share of all records with a wrong label, as real data has them: what a network can only know by heart."""
SEED = 0


@click.command(name="demo")
@click.option("--out", default="demo", show_default=True, metavar="DIR", help="Folder for model, data and report.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
def command(*, out: str, force: bool, debug: bool) -> int:
    """Train a small overfitted network on scikit-learn's digits, export it to ONNX, audit it."""
    from pmcore.audit import Audit
    from pmcore.commands.output import standard_output
    from pmcore.commands.progress import ProgressBar
    from pmcore.errors import ExitCode
    from pmcore.files import check_folder
    from pmcore.reports.terminal import print_report, wants_colour

    folder = Path(out)
    check_folder(folder, force)
    _say(
        f"training a network on {MEMBERS} of scikit-learn's 1 797 digits until it knows them by heart\n"
        f"({MISLABELLED:.0%} of all are mislabelled, which no network can learn otherwise)"
    )
    make_case(folder)
    report = folder / "report"
    _say(
        f"auditing it, as this does:\n\n  pmcore audit {folder}/model.onnx --members {folder}/members.npz \\\n"
        f"      --non-members {folder}/nonmembers.npz --out {report} --force\n"
    )
    audit = Audit(
        model=str(folder / "model.onnx"),
        members=str(folder / "members.npz"),
        non_members=str(folder / "nonmembers.npz"),
        out=str(report),
        force=force,
    )
    with ProgressBar() as progress:
        result = audit.run(progress, command=f"pmcore demo --out {out}")
    with standard_output():
        print_report(result.report, sys.stdout, wants_colour(sys.stdout), [str(path) for path in result.written])
    _say("\nnext: `pmcore inspect` on a model of your own, then the command above with your files")
    return int(ExitCode.DONE if result.report.valid else ExitCode.INVALID)


def make_case(folder: Path) -> None:
    """Write model.onnx, members.npz and nonmembers.npz: digits as pixels 0 to 1, one row of 64 each."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier

    from pmcore import registry
    from pmcore.installed import policy_from_environment

    x, y = load_digits(return_X_y=True)
    x = (x / 16.0).astype(np.float32)
    rng = np.random.default_rng(SEED)
    wrong = rng.random(len(y)) < MISLABELLED
    y = np.where(wrong, (y + rng.integers(1, 10, len(y))) % 10, y).astype(np.int64)
    members, nonmembers, y_members, y_nonmembers = train_test_split(
        x, y, train_size=MEMBERS, stratify=y, random_state=SEED
    )
    network = MLPClassifier((128,), solver="lbfgs", alpha=1e-4, max_iter=500, random_state=SEED)
    network.fit(members, y_members)
    with registry.framework_needed("backends", "onnx"):
        backend = registry.load("backends", "onnx", policy_from_environment(os.environ))
        folder.mkdir(parents=True, exist_ok=True)
        backend.write_dense(
            folder / "model.onnx",
            [weights.astype(np.float32) for weights in network.coefs_],
            [biases.astype(np.float32) for biases in network.intercepts_],
        )
    np.savez(folder / "members.npz", x=members, y=y_members)
    np.savez(folder / "nonmembers.npz", x=nonmembers, y=y_nonmembers)


def _say(text: str) -> None:
    print(text, file=sys.stderr)
