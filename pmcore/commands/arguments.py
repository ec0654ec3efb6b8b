"""The arguments of an audit on the command line: every one is a key of the audit file, and others share some."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from pmcore.commands.several import SeveralOption

F = TypeVar("F", bound=Callable[..., Any])

click.rich_click.MAX_WIDTH = 100
_INPUT_FLAGS = ["--scale", "--mean", "--std", "--layout", "--dtype", "--flatten"]
_MODEL_FLAGS = ["--output", "--task", "--model-class", "--trust-model"]
_REFERENCE_FLAGS = ["--references", "--reference-membership", "--trust-references", "--game"]
_GENERAL_FLAGS = ["--no-third-party", "--debug", "--help"]

click.rich_click.OPTION_GROUPS = {
    f"pmcore {command}": [
        {
            "name": "Records",
            "options": [
                "--members",
                "--non-members",
                "--population",
                "--population-share",
                "--x-key",
                "--y-key",
                "--drop-overlap",
            ],
        },
        {"name": "Inputs, as the model wants them", "options": [*_INPUT_FLAGS, "--expected-accuracy"]},
        {"name": "Attacks", "options": ["--attack", "--layers", "--fpr", "--seed"]},
        {
            "name": "Reference models",
            "options": ["--references", "--reference-membership", "--trust-references", "--game"],
        },
        {
            "name": "Model",
            "options": ["--backend", "--device", "--precision", "--threads", "--batch-size", *_MODEL_FLAGS],
        },
        {
            "name": "Report",
            "options": ["--out", "--force", "--report", "--save-signals", "--json", "--quiet"],
        },
        {"name": "General", "options": ["--config", *_GENERAL_FLAGS]},
    ]
    for command in ("audit", "plan")
}
click.rich_click.OPTION_GROUPS["pmcore references"] = [
    {"name": "Records", "options": ["--pool", "--members", "--non-members", "--x-key", "--y-key"]},
    {"name": "Inputs, as the model wants them", "options": _INPUT_FLAGS},
    {
        "name": "Training",
        "options": ["--count", "--assign", "--trainer", "--command", "--epochs", "--seed", "--jobs"],
    },
    {"name": "Model", "options": ["--backend", "--device", "--precision", "--threads", *_MODEL_FLAGS]},
    {"name": "Result", "options": ["--out", "--resume", "--quiet"]},
    {"name": "General", "options": _GENERAL_FLAGS},
]

_PREPROCESSING = ("scale", "mean", "std", "layout", "dtype", "flatten")
_PLURAL = {"attack": "attacks", "report": "reports", "x_key": "x_keys"}

# Values stay text: they are read, and misfits explained, where those of the audit file are.

_FILES = (
    click.option(
        "--config",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Audit file (YAML) with the same keys as these flags, which win over it.",
    ),
    click.option("--members", metavar="FILE", help="Records that trained the model (.npz, .npy, .csv, .parquet)."),
    click.option("--non-members", metavar="FILE", help="Records of the same kind that did not."),
    click.option(
        "--population",
        metavar="FILE",
        help="More records that did not train it. Default: a share of the non-members is set aside.",
    ),
    click.option("--population-share", metavar="SHARE", help="Share of the non-members set aside. Default: one third."),
)
_KEYS = (
    click.option("--x-key", multiple=True, metavar="KEY", help="Name of an input in the files; repeatable."),
    click.option("--y-key", metavar="KEY", help="Name of the labels in the files. Default: y."),
)
_OVERLAP = (click.option("--drop-overlap", is_flag=True, default=None, help="Drop records that stand in two roles."),)
_INPUTS = (
    click.option("--scale", metavar="NUMBER", help="Multiply inputs: 1/255 or 0.0039."),
    click.option("--mean", metavar="A,B,C", help="Subtract, per channel, after scaling."),
    click.option("--std", metavar="A,B,C", help="Divide by, per channel, after the mean."),
    click.option("--layout", metavar="NAME", help="Layout that the model wants: nchw, nhwc or as-is."),
    click.option("--dtype", metavar="NAME", help="Type of the model's input, where the model does not tell."),
    click.option("--flatten", is_flag=True, default=None, help="Send each record as one row of numbers."),
)
_ATTACKS = (
    click.option(
        "--expected-accuracy",
        metavar="RATE",
        help="Accuracy known from elsewhere on new records, such as 0.91; if it is not measured, INVALID.",
    ),
    click.option(
        "--attack",
        multiple=True,
        metavar="NAME[:option=value,…]",
        help="Attack to run; repeatable; `all` for every one that can run. Default: population.",
    ),
    click.option(
        "--layers",
        metavar="A,B,…",
        help="Layers for white-box attacks: names or indices as `pmcore inspect` lists them, -1 for the last, "
        "last for the last one with parameters.",
    ),
    click.option("--fpr", metavar="A,B,…", help="False-positive rates to report. Default: 0.1,0.01,0.001."),
)
_REFERENCES = (
    click.option(
        "--references",
        cls=SeveralOption,
        multiple=True,
        metavar="PATH …",
        help="What `pmcore references` made, several model files, or an .npz of logits (references, records, classes).",
    ),
    click.option(
        "--reference-membership",
        metavar="FILE",
        help="Which record trained which reference: 0 and 1, a row per record (members, then non-members) and a column "
        "per reference (.npy, .npz). Default: what the references themselves tell, else none did.",
    ),
    click.option(
        "--trust-references",
        metavar="sha256:…",
        help="Vouch for references.json, and so for each model that it names, which may run code when it is loaded.",
    ),
    click.option(
        "--game",
        metavar="NAME",
        help="Whose leakage is measured: that of this model (the default), of the algorithm, or of single records.",
    ),
)
_SEED = (click.option("--seed", metavar="N", help="Fixes everything that is drawn. Default: 0."),)
_RUNTIME = (
    click.option("--backend", metavar="NAME[:option=value,…]", help="Default: found from the file."),
    click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, gpu, npu, … Default: auto."),
    click.option("--threads", metavar="N", help="Threads of the runtime. Default: its own choice."),
)
_BATCH = (click.option("--batch-size", metavar="N", help="Records per query, or auto (the default)."),)
_HEAD = (
    click.option("--output", metavar="NAME", help="Output that holds the predictions. Default: found in the graph."),
    click.option(
        "--task", metavar="NAME", help="multiclass, binary, multilabel or regression. Default: from the model."
    ),
    click.option(
        "--precision",
        metavar="NAME",
        help="float32, or deployed for what the runtime takes by itself. Default: float32.",
    ),
    click.option(
        "--model-class", metavar="MODULE:FACTORY", help="Function or class that makes the model, for weights alone."
    ),
    click.option(
        "--trust-model", metavar="sha256:…", help="Vouch for a model file that may run code when it is loaded."
    ),
)
_REPORT = (
    click.option("--out", metavar="DIR", help="Folder for the report. Without it, nothing is written."),
    click.option("--force", is_flag=True, default=None, help="Write into a folder that is not empty."),
    click.option("--report", multiple=True, metavar="NAME", help="Form to write; repeatable. Default: json, plots."),
    click.option("--save-signals", is_flag=True, default=None, help="Write every signal to signals.npz."),
)
_GENERAL = (
    click.option("--no-third-party", is_flag=True, help="Load no plugin of another distribution."),
    click.option("--debug", is_flag=True, help="Show the traceback of every error."),
)


def audit_arguments(command: F) -> F:
    """Give a command all arguments of an audit; it receives them as one dict, see `settings_of`."""
    model = click.argument("model", required=False)
    records = (*_FILES, *_KEYS, *_OVERLAP)
    return _given(
        command,
        model,
        *records,
        *_INPUTS,
        *_ATTACKS,
        *_REFERENCES,
        *_SEED,
        *_RUNTIME,
        *_BATCH,
        *_HEAD,
        *_REPORT,
        *_GENERAL,
    )


def model_arguments(command: F) -> F:
    """Give a command the arguments that an audit has of a model, its inputs and its data; see `settings_of`."""
    return _given(command, *_KEYS, *_INPUTS, *_SEED, *_RUNTIME, *_HEAD, *_GENERAL)


def settings_of(given: dict[str, Any]) -> dict[str, Any]:
    """Return the keys of the audit file that were given as flags."""
    settings: dict[str, Any] = {}
    for flag, value in given.items():
        if flag in ("config", "debug") or value is None or value == () or value is False:
            continue
        if flag in _PREPROCESSING:
            settings.setdefault("preprocessing", {})[flag] = value
        elif flag == "no_third_party":
            settings["third_party"] = False
        else:
            settings[_PLURAL.get(flag, flag)] = value
    return settings


def _given(command: F, *options: Callable[[F], F]) -> F:
    for option in reversed(options):
        command = option(command)
    return command
