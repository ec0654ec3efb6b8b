"""`pmcore inspect`: what a model file holds, as pmcore sees it."""

from __future__ import annotations

import os

import rich_click as click

from pmcore.commands.output import echo
from pmcore.installed import PluginPolicy
from pmcore.interfaces import Model, ModelDescription, Precision
from pmcore.settings import MOST_THREADS


@click.command(name="inspect")
@click.argument("model")
@click.option("--backend", metavar="NAME[:option=value,…]", help="Default: found from the file.")
@click.option("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1, gpu, npu, …")
@click.option("--threads", type=click.IntRange(1, MOST_THREADS), metavar="N", help="Threads of the runtime.")
@click.option("--output", metavar="NAME", help="Output of the model that holds the predictions.")
@click.option("--precision", type=click.Choice(["float32", "deployed"]), help="Default: float32.")
@click.option("--trust-model", metavar="sha256:…", help="Vouch for a model that may run code when it is loaded.")
@click.option("--model-class", metavar="MODULE:FACTORY", help="What makes the model, for files of weights alone.")
@click.option("--no-third-party", is_flag=True, help="Load no plugin of another distribution.")
@click.option("--debug", is_flag=True, help="Show the traceback of every error.")
def command(
    *,
    model: str,
    backend: str | None,
    device: str,
    threads: int | None,
    output: str | None,
    precision: str | None,
    trust_model: str | None,
    model_class: str | None,
    no_third_party: bool,
    debug: bool,
) -> int:
    """Show what MODEL holds: inputs, outputs, classes, layers, and the attacks that can run on it.

    No records are needed: where something shows only in the answers, the model is asked about noise.
    """
    from pmcore.backend import Loading, load_model
    from pmcore.installed import policy_from_environment
    from pmcore.probe import prepare_on_noise

    policy = policy_from_environment(os.environ, no_third_party)
    loading = Loading(
        backend=backend,
        device=device,
        threads=threads,
        output=output,
        precision=Precision(precision) if precision is not None else None,
        trust_model=trust_model,
        model_class=model_class,
    )
    loaded = load_model(model, policy, loading)
    note = prepare_on_noise(loaded.model)
    description = loaded.model.describe()
    echo(f"model         {loaded.path}")
    echo(f"sha256        {loaded.sha256}")
    echo(f"backend       {loaded.plugin.name}, {description.runtime}, {description.device}")
    _echo_description(description)
    for line in (*description.notes, *([note] if note else [])):
        echo(f"note          {line}")
    echo(f"capabilities  {', '.join(sorted(loaded.model.capabilities))}")
    for key, value in description.properties.items():
        shown = value if len(value) <= 60 else f"{value[:57]}…"
        echo(f"property      {key} = {shown}")
    _echo_attacks(loaded.model, policy)
    _echo_layers(loaded.model)
    loaded.model.close()
    return 0


def _echo_description(description: ModelDescription) -> None:
    for spec in description.inputs:
        echo(f"input         {spec}")
    scale = "logits, read before the last activation" if description.pre_softmax else description.scale.value
    limited = " (resolution limited)" if description.resolution_limited else ""
    echo(f"output        {description.output}: {scale}{limited}")
    kind = {"regression": "value", "multilabel": "label"}.get(description.task, "class")
    plural = "" if description.classes == 1 else "es" if kind == "class" else "s"
    # Zero stands for what only answers to records tell.
    counted = f"{description.classes} {kind}{plural}" if description.classes else "classes not known without records"
    echo(f"task          {description.task}, {counted}, {description.precision}")
    if description.batch is not None:
        echo(f"batch         fixed at {description.batch}")


def _echo_attacks(model: Model, policy: PluginPolicy) -> None:
    from pmcore.selection import Skipped, attacks_possible, signal_names

    echo("")
    echo("attacks")
    for found in attacks_possible(model, policy):
        if isinstance(found, Skipped):
            told = f"cannot run: {found.reason}"
        elif found.note is not None:
            told = f"can run on {', '.join(signal_names(found.needs))}: {found.note}"
        else:
            told = "can run"
        echo(f"  {found.name:<16} {told}")


def _echo_layers(model: Model) -> None:
    layers = model.layers()
    if not layers:
        return
    echo("")
    total = sum(layer.parameters for layer in layers)
    echo(f"layers        {len(layers)}, {total} parameters")
    rows = [
        (
            str(layer.index),
            layer.name,
            layer.kind,
            "?" if layer.shape is None else "x".join("?" if s is None else str(s) for s in layer.shape),
            str(layer.parameters) if layer.parameters else "",
        )
        for layer in layers
    ]
    head = ("index", "name", "op", "shape", "parameters")
    widths = [min(48, max(len(row[column]) for row in [head, *rows])) for column in range(5)]
    for row in [head, *rows]:
        cells = [
            cell if len(cell) <= width else f"{cell[: width - 1]}…" for cell, width in zip(row, widths, strict=True)
        ]
        echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
