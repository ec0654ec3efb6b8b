"""How much a model speaks for the membership of canaries: asked of the model, or read from a file of scores."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

import numpy as np

from pmcore import registry
from pmcore.backend import LoadedModel, load_model, loading_from
from pmcore.canaries import read_pool
from pmcore.data import Progress, Records
from pmcore.discovery import discover
from pmcore.dp_audit import Bools, checked_included
from pmcore.errors import InputError
from pmcore.feed import Feed
from pmcore.gather import Batching, gather
from pmcore.installed import PluginPolicy, policy_from_environment
from pmcore.interfaces import Direction, Floats, Signal
from pmcore.labels import check_labels
from pmcore.numerals import count
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable
from pmcore.settings import AuditSettings
from pmcore.wishes import wish_of


@dataclass(frozen=True, eq=False)
class AskedScores:
    """Scores of canaries, higher where membership is more likely, and the model that gave them.

    Parameters
    ----------
    scores : (m,)
    warnings : what makes the answers doubtful
    """

    scores: Floats
    model: str
    sha256: str | None
    backend: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ReadScores:
    """Scores of canaries with their coins, each shape (m,)."""

    scores: Floats
    included: Bools


def ask_for_scores(
    settings: AuditSettings, signal: str, included: Bools, progress: Progress | None = None
) -> AskedScores:
    """Ask a model once about every canary.

    Parameters
    ----------
    settings : of an audit whose members are the canaries, in the order of their file
    signal : "NAME" or "NAME:option=value,..."; one number per record, with a direction
    included : (m,) one coin for each canary

    Raises
    ------
    AuditError
        The model, the canaries, their coins or the signal do not fit together, or the model fails.
    """
    policy = policy_from_environment(os.environ, no_third_party=not settings.third_party)
    computed = _load_signal(signal, policy)
    canaries = read_pool(settings.members, settings.x_keys, settings.y_key, policy)
    if len(canaries) != len(included):
        raise InputError(
            f"included: {count(len(included))} values, and {canaries.path} holds {count(len(canaries))} canaries - "
            "give one for each, in their order"
        )
    model = load_model(settings.model, policy, loading_from(settings))
    try:
        with answerable(model.plugin):
            feed = _feed(canaries, model, settings)
            _check_signal(signal, computed, model)
            gathered = gather(model.model, feed, {signal: computed}, Batching(settings.batch_size), progress)
    finally:
        model.model.close()
    values = gathered.signals[signal]
    if values.ndim != 1:
        raise InputError(f"signal {signal!r} gives {values.shape[1]} numbers per record; choose one with a single one")
    signed = -values if computed.direction is Direction.LOWER else values
    return AskedScores(signed, model.path, model.sha256, model.plugin.name, feed.discovery.warnings)


def read_scores(path: str, score_key: str, included_key: str, policy: PluginPolicy) -> ReadScores:
    """Return scores and coins from a file of columns, such as .npz, .csv or .parquet.

    Raises
    ------
    InputError
        The file has no such columns, or they do not hold what they should.
    """
    records = read_pool(path, (score_key,), included_key, policy)
    values = next(iter(records.inputs.values()))
    if values.shape != (len(records),) and values.shape != (len(records), 1):
        raise InputError(f"{path}: {score_key}: shape {list(values.shape)} - give one score for each canary")
    try:
        included = checked_included(records.labels)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return ReadScores(np.asarray(values, dtype=np.float64).reshape(-1), included)


def _load_signal(text: str, policy: PluginPolicy) -> Signal:
    name, options = parse_spec(text)
    plugin = registry.find("signals", name, policy)
    with answerable(plugin):
        signal: Signal = build(registry.load("signals", name, policy), options, f"signal {name!r}")
    if signal.direction is Direction.NEITHER:
        raise InputError(f"signal {text!r} has no direction that speaks for membership - choose another, such as loss")
    return signal


def _feed(canaries: Records, model: LoadedModel, settings: AuditSettings) -> Feed:
    """Return the canaries on their way to the model, which has seen a few of them."""
    found = discover(model.model.describe(), model.source, canaries.inputs, canaries.path, settings.preprocessing)
    model.model.prepare(Feed(canaries, found).sample())
    description = model.model.describe()
    checked = check_labels(canaries.labels, description.task, description.classes, canaries.path, settings.y_key)
    return Feed(replace(canaries, labels=checked.labels), found)


def _check_signal(text: str, signal: Signal, model: LoadedModel) -> None:
    task = model.model.describe().task
    if task not in signal.tasks:
        tasks = ", ".join(sorted(signal.tasks))
        raise InputError(f"signal {text!r} is defined for {tasks}, and the model is {task} - choose another signal")
    reason = model.model.obstacle(wish_of((signal,), model.model).want)
    if reason is not None:
        raise InputError(f"signal {text!r}: {reason}")
