"""Jobs trained one after another, or side by side where that is quicker, whatever else the process does."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from math import inf

import numpy as np
import torch
from torch import nn

from pmcore.errors import ModelError
from pmcore.training import Trained, TrainingJob, TrainingProgress, TrainingTask
from pmcore_autograd.exactly import exactly
from pmcore_autograd.training.loop import Training
from pmcore_autograd.training.network import Architecture
from pmcore_autograd.training.pool import tensor_of
from pmcore_autograd.training.recipe import Recipe
from pmcore_autograd.training.stack import Stack

SIDE_BY_SIDE = 8
"""Small networks that are trained at once."""
_FEW = 60_000
"""Most parameters of a network that is quicker beside others than alone."""
_RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
_RATES_OF_SGD = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
_TRIAL = 5
"""Epochs after which learning rates are compared."""


def train(
    recipe: Recipe,
    task: TrainingTask,
    jobs: Sequence[TrainingJob],
    architecture: Architecture,
    progress: TrainingProgress,
) -> list[Trained]:
    """Train a model for each job and write it; see `pmcore.interfaces.Trainer.train`."""
    at_once = side_by_side(task, architecture) if len(jobs) > 1 else 1
    groups = list(_groups(jobs, at_once))
    found: dict[int, Trained] = {}
    for number, group in enumerate(groups):
        told = _counted(progress, number, len(groups))
        with exactly("cpu", 1, deployed=False, gradients=True), seeded(jobs[group[0]].seed):
            chosen = [jobs[place] for place in group]
            networks = [architecture.fresh(job.seed) for job in chosen]
            fitted = Training(recipe, task, chosen, architecture, networks).run(told)
        for place, network, end in zip(group, networks, fitted, strict=True):
            network.eval()
            file = architecture.write(network, jobs[place].out)
            found[place] = Trained(file, end.epochs, end.loss, architecture.loading())
    return [found[place] for place in range(len(jobs))]


def best_rate(
    recipe: Recipe, task: TrainingTask, job: TrainingJob, architecture: Architecture, progress: TrainingProgress
) -> float:
    """Return the learning rate, of a few, with which one reference knows its records best after some epochs.

    Raises
    ------
    ModelError
        Training diverges with each of them.
    """
    rates = _RATES_OF_SGD if recipe.optimiser == "sgd" else _RATES
    short = replace(task, epochs=min(_TRIAL, task.most_epochs), goal=None)
    losses: dict[float, float] = {}
    for number, rate in enumerate(rates):
        tried = replace(recipe, learning_rate=rate, schedule="constant")
        with exactly("cpu", 1, deployed=False, gradients=True), seeded(job.seed):
            network = architecture.fresh(job.seed)
            training = Training(tried, short, [job], architecture, [network])
            try:
                losses[rate] = training.run(_counted(progress, number, len(rates)))[0].loss
            except ModelError as error:
                losses[rate], last = inf, error
    best = min(rates, key=lambda rate: losses[rate])
    if losses[best] == inf:
        raise last
    return best


def side_by_side(task: TrainingTask, architecture: Architecture) -> int:
    """Return how many networks are best trained at once: several where single ones are too small to keep a core busy.

    Those with convolutions, running statistics or dropout are trained alone.
    """
    with exactly("cpu", 1, deployed=False, gradients=True), seeded(0):
        network = architecture.fresh(0)
        sizes = [value.numel() for value in network.parameters()]
        flat = all(value.dim() <= 2 for value in network.parameters())
        if not sizes or not flat or sum(sizes) > _FEW or next(network.buffers(), None) is not None:
            return 1
        sample = [tensor_of(np.stack([task.inputs[name][:2]] * 2)) for name in architecture.names]
        return SIDE_BY_SIDE if _is_plain(network, architecture.fresh(1), sample) else 1


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let everything that draws random numbers in the block do so by a seed, and put all generators back."""
    before, arrays = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(arrays)


def _is_plain(first: nn.Module, second: nn.Module, sample: Sequence[torch.Tensor]) -> bool:
    """Tell whether two networks answer side by side as each does alone, in training, and draw nothing."""
    alone = []
    try:
        with torch.no_grad():
            for network, place in ((first, 0), (second, 1)):
                network.train()
                alone.append(network(*(value[place] for value in sample)))
            together = Stack([first, second])(sample)
    except Exception:  # what a network does may not be possible for several at once
        return False
    expected = torch.cat(alone)
    return expected.shape == together.shape and torch.allclose(expected, together, rtol=1e-4, atol=1e-5)


def _groups(jobs: Sequence[TrainingJob], at_once: int) -> Iterator[list[int]]:
    """Yield places of jobs that are trained together: as many records each, in the jobs' order."""
    ordered = sorted(range(len(jobs)), key=lambda place: len(jobs[place].rows))
    for _, same in groupby(ordered, key=lambda place: len(jobs[place].rows)):
        places = list(same)
        for start in range(0, len(places), at_once):
            yield places[start : start + at_once]


def _counted(progress: TrainingProgress, before: int, parts: int) -> TrainingProgress:
    """Return progress over several trainings in a row, each with as many epochs at most."""

    def told(epoch: int, most: int) -> None:
        progress(before * most + epoch, parts * most)

    return told
