"""Which trainer retrains a target: the one that is named, or the first that is for such files and can."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pmcore import registry
from pmcore.errors import InputError, PluginError
from pmcore.installed import Plugin, PluginPolicy, list_plugins
from pmcore.interfaces import Trainer
from pmcore.options import build, parse_spec
from pmcore.plugin_failures import answerable
from pmcore.reference_training.settings import ReferenceSettings
from pmcore.training import TrainingTask

COMMAND = "command"
"""The trainer that ``--command`` stands for."""


@dataclass(frozen=True)
class ChosenTrainer:
    """A trainer and who registers it."""

    plugin: Plugin
    trainer: Trainer


def named_trainer(settings: ReferenceSettings, policy: PluginPolicy) -> ChosenTrainer | None:
    """Return the trainer that the settings name, or None if they name none.

    Raises
    ------
    AuditError
        There is no such trainer, its options do not fit, or two are named.
    """
    if settings.trainer is None and settings.command is None:
        return None
    name, options = parse_spec(settings.trainer if settings.trainer is not None else COMMAND)
    if settings.command is not None:
        if name != COMMAND or "run" in options:
            raise InputError(f"trainer: {settings.trainer} - --command names the trainer already; leave one out")
        options = {**options, "run": settings.command}
    plugin = registry.find("trainers", name, policy)
    cls = registry.load("trainers", name, policy)
    with answerable(plugin), registry.framework_needed("trainers", name):
        return ChosenTrainer(plugin, build(cls, options, f"trainer {name!r}"))


def able_trainer(
    named: ChosenTrainer | None, settings: ReferenceSettings, task: TrainingTask, policy: PluginPolicy
) -> ChosenTrainer:
    """Return the trainer that is named, or else pmcore's own or the first installed one for such a target.

    Raises
    ------
    InputError
        It cannot train references of this target, or none is for such files.
    """
    if named is not None:
        obstacle = _obstacle(named, task)
        if obstacle is not None:
            raise InputError(f"trainer {named.plugin.name!r}: {obstacle}")
        return named
    suffix = Path(settings.model).suffix.lower()
    obstacles, broken = [], []
    for plugin in sorted(list_plugins("trainers", policy), key=lambda plugin: plugin.third_party):
        try:
            cls = registry.load("trainers", plugin.name, policy)
        except PluginError as error:  # what it would be for cannot be told
            broken.append(f"; {error}")
            continue
        if suffix not in cls.suffixes:
            continue
        try:
            with answerable(plugin), registry.framework_needed("trainers", plugin.name):
                found = ChosenTrainer(plugin, build(cls, {}, f"trainer {plugin.name!r}"))
            obstacle = _obstacle(found, task)
        except PluginError as error:  # no matter as long as another can
            obstacles.append(str(error))
            continue
        if obstacle is None:
            return found
        obstacles.append(f"trainer {plugin.name!r}: {obstacle}")
    if obstacles:
        raise InputError(obstacles[0])
    names = ", ".join(plugin.name for plugin in list_plugins("trainers", policy)) or "none"
    raise InputError(
        f"{settings.model}: no trainer retrains {suffix or 'such'} files (installed: {names}) - name one with "
        f"--trainer, or give a command that trains: --command 'python train.py'{''.join(broken[:1])}"
    )


def _obstacle(chosen: ChosenTrainer, task: TrainingTask) -> str | None:
    with answerable(chosen.plugin), registry.framework_needed("trainers", chosen.plugin.name):
        return chosen.trainer.obstacle(task)
