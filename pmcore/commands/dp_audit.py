"""`pmcore dp-audit`: a lower bound of epsilon from one training run with canaries, and the canaries for it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import rich_click as click

from pmcore.commands.arguments import model_arguments, settings_of
from pmcore.commands.output import echo, standard_output
from pmcore.commands.progress import ProgressBar
from pmcore.errors import Complaints, ExitCode, InputError
from pmcore.numerals import count

if TYPE_CHECKING:
    from numpy.random import Generator

    from pmcore.canary_scores import AskedScores
    from pmcore.dp_audit import OneRunBound
    from pmcore.installed import PluginPolicy

HELP = """Bound the epsilon of a training algorithm from below, by one model that it trained (MODEL).

\b
pmcore dp-audit --make-canaries pool.npz --count 1000 --out canaries/
pmcore dp-audit model.onnx --canaries canaries/canaries.npz
                --included canaries/included.npy --delta 1e-5
pmcore dp-audit --scores scores.npz

A fair coin decides for every canary whether it is among the training records. The first command draws canaries out of a
pool and writes what to train on; train MODEL on that as you always do. The second one guesses the coins from the model:
the more of the guesses are right, the larger epsilon must be (Steinke, Nasr, Jagielski 2023).
"""

click.rich_click.OPTION_GROUPS["pmcore dp-audit"] = [
    {"name": "Canaries", "options": ["--canaries", "--included", "--scores", "--x-key", "--y-key"]},
    {"name": "Bound", "options": ["--signal", "--delta", "--confidence", "--guesses", "--seed"]},
    {"name": "Making canaries", "options": ["--make-canaries", "--count", "--kind", "--out", "--force"]},
    {
        "name": "Inputs, as the model wants them",
        "options": ["--scale", "--mean", "--std", "--layout", "--dtype", "--flatten"],
    },
    {
        "name": "Model",
        "options": [
            *("--backend", "--device", "--precision", "--threads", "--batch-size"),
            *("--output", "--task", "--model-class", "--trust-model"),
        ],
    },
    {"name": "General", "options": ["--json", "--no-third-party", "--debug", "--help"]},
]


@click.command(name="dp-audit", help=HELP)
@click.argument("model", required=False)
@click.option("--canaries", metavar="FILE", help="Records of all canaries, with the labels that they were given.")
@click.option(
    "--included",
    metavar="FILE",
    help="1 for each canary that trained MODEL, else 0 (.npy, .npz, .csv), in their order.",
)
@click.option(
    "--scores",
    metavar="FILE",
    help="Instead of a model: a file with columns score and included; --x-key and --y-key name others, such as "
    "lira.score and role of an audit's scores.npz.",
)
@click.option("--signal", metavar="NAME[:option=value,…]", default="loss", help="What guesses go by. Default: loss.")
@click.option("--delta", type=float, default=0.0, metavar="NUMBER", help="Delta of the bound. Default: 0.")
@click.option("--confidence", type=float, default=0.95, metavar="SHARE", help="Of the bound. Default: 0.95.")
@click.option(
    "--guesses",
    metavar="N",
    help="Guesses about the most extreme canaries; the others are left out. Default: a fifth of all, at least 20. "
    "best: whatever shows most, corrected for the choice.",
)
@click.option("--make-canaries", "pool", metavar="FILE", help="Draw canaries out of these records, and nothing else.")
@click.option("--count", "number", type=int, metavar="N", help="Number of canaries to draw.")
@click.option(
    "--kind",
    type=click.Choice(["mislabelled", "as-is"]),
    default="mislabelled",
    help="Whether canaries get a wrong label, which can only be known by heart. Default: mislabelled.",
)
@click.option("--out", metavar="DIR", help="Folder for the canaries that are made.")
@click.option("--force", is_flag=True, help="Write into a folder that is not empty.")
@click.option("--batch-size", metavar="N", help="Records per query, or auto (the default).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@model_arguments
def command(
    *,
    model: str | None,
    canaries: str | None,
    included: str | None,
    scores: str | None,
    signal: str,
    delta: float,
    confidence: float,
    guesses: str | None,
    pool: str | None,
    number: int | None,
    kind: Literal["mislabelled", "as-is"],
    out: str | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> int:
    """Make canaries, or bound epsilon from a model or from scores."""
    import numpy as np

    rng = np.random.default_rng(np.random.SeedSequence(_seed(given["seed"])))
    if pool is not None:
        _refuse("--make-canaries", {"MODEL": model, "--canaries": canaries, "--scores": scores})
        _make(pool, number, kind, out, force, rng, given)
        return int(ExitCode.DONE)
    _refuse("a bound", {"--count": number, "--out": out})
    chosen = _guesses(guesses)
    if scores is not None:
        _refuse("--scores", {"MODEL": model, "--canaries": canaries, "--included": included})
        from pmcore.canary_scores import read_scores
        from pmcore.dp_audit import one_run_bound

        x_key, y_key = _columns(given)
        read = read_scores(scores, x_key, y_key, _policy(given))
        bound = one_run_bound(read.scores, read.included, rng, chosen, delta, confidence)
        facts: dict[str, Any] = {"scores": scores, "signal": x_key}
        warnings: tuple[str, ...] = ()
    else:
        asked, bound = _audited(model, canaries, included, signal, (chosen, delta, confidence), rng, given)
        facts = {
            "model": {"path": asked.model, "sha256": asked.sha256, "backend": asked.backend},
            "canaries_file": canaries,
            "included_file": included,
            "signal": signal,
        }
        warnings = asked.warnings
    _print(bound, facts | {"seed": _seed(given["seed"])}, warnings, as_json)
    return int(ExitCode.DONE)


def _audited(
    model: str | None,
    canaries: str | None,
    included: str | None,
    signal: str,
    bound: tuple[int | Literal["best"] | None, float, float],
    rng: Generator,
    given: dict[str, Any],
) -> tuple[AskedScores, OneRunBound]:
    complaints = Complaints()
    for what, value, how in (
        ("model", model, "the path of the model as first argument, or --scores FILE, or --make-canaries FILE"),
        ("canaries", canaries, "the records of all canaries: --canaries FILE"),
        ("included", included, "which of them trained the model: --included FILE"),
    ):
        with complaints.collect():
            if value is None:
                raise InputError(f"{what}: missing - give {how}")
    complaints.raise_any()
    assert canaries is not None
    assert included is not None
    from pmcore.canaries import read_included
    from pmcore.canary_scores import ask_for_scores
    from pmcore.dp_audit import check_fair, one_run_bound
    from pmcore.settings import read_settings

    coins = read_included(Path(included))
    check_fair(coins)
    settings = read_settings(settings_of({**given, "model": model, "members": canaries, "non_members": canaries}))
    with ProgressBar() as progress:
        asked = ask_for_scores(settings, signal, coins, progress)
    return asked, one_run_bound(asked.scores, coins, rng, *bound)


def _make(
    pool: str,
    number: int | None,
    kind: Literal["mislabelled", "as-is"],
    out: str | None,
    force: bool,
    rng: Generator,
    given: dict[str, Any],
) -> None:
    from pmcore.canaries import make_canaries, read_pool, write_canaries
    from pmcore.files import check_folder

    complaints = Complaints()
    with complaints.collect():
        if number is None:
            raise InputError("count: missing - give the number of canaries: --count 1000")
    with complaints.collect():
        if out is None:
            raise InputError("out: missing - give a folder for the canaries: --out canaries/")
        check_folder(Path(out), force)
    complaints.raise_any()
    assert number is not None
    assert out is not None
    y_key = given["y_key"] or "y"
    records = read_pool(pool, tuple(given["x_key"]), y_key, _policy(given))
    made = make_canaries(records, number, rng, kind)
    paths = write_canaries(Path(out), made, y_key, force)
    inside = int(made.included.sum())
    with standard_output():
        _entry("wrote", "  ".join(str(path) for path in paths))
        _entry(
            "canaries",
            f"{count(number)} of {pool}, {kind}; {count(inside)} of them in {paths[2].name}, beside "
            f"{count(len(made.train_labels) - inside)} records that are none",
        )
        _entry("next", f"train MODEL on {paths[2]} as you always do, then")
        _entry("", f"pmcore dp-audit MODEL --canaries {paths[0]} --included {paths[1]}")


def _print(bound: OneRunBound, facts: dict[str, Any], warnings: tuple[str, ...], as_json: bool) -> None:
    from pmcore.one_run_report import as_text, as_values

    with standard_output():
        if as_json:
            json.dump(as_values(bound, facts, warnings), sys.stdout, indent=2, allow_nan=False, ensure_ascii=False)
            sys.stdout.write("\n")
            return
        for label, text in as_text(bound, facts, warnings):
            _entry(label, text)


def _entry(label: str, text: str) -> None:
    echo(f"{label:<10} {text}".rstrip())


def _refuse(what: str, others: dict[str, object]) -> None:
    for name, value in others.items():
        if value is not None:
            raise InputError(f"{name}: has no part in {what} - leave it out (see pmcore dp-audit --help)")


def _seed(text: str | None) -> int:
    if text is None:
        return 0
    if not text.isdecimal() or len(text) > 18:
        raise InputError(f"seed: {text[:100]} - give a whole number from 0")
    return int(text)


def _guesses(text: str | None) -> int | Literal["best"] | None:
    if text is None:
        return None
    if text == "best":
        return "best"
    if not text.isdecimal() or len(text) > 18 or int(text) < 1:
        raise InputError(f"guesses: {text[:100]} - give a whole number from 1, or best")
    return int(text)


def _columns(given: dict[str, Any]) -> tuple[str, str]:
    names = tuple(given["x_key"]) or ("score",)
    if len(names) > 1:
        raise InputError(f"x_key: {', '.join(names)} - scores stand in one column; name one")
    return names[0], given["y_key"] or "included"


def _policy(given: dict[str, Any]) -> PluginPolicy:
    from pmcore.installed import policy_from_environment

    return policy_from_environment(os.environ, no_third_party=given["no_third_party"])
