"""Checks of what a trainer makes of a job: that it learns its rows, and depends on them, the seed and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pmcore.errors import AuditError
from pmcore.interfaces import Array, Floats, Task, Trained, TrainingJob, TrainingTask
from pmcore.option_docs import describe_options, resolved_options
from pmcore.options import build
from pmcore.outputs import CLASSIFICATION
from pmcore.testing.backend_case import distance
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.damage import contents
from pmcore.testing.refusals import require, require_one_line
from pmcore.testing.trainer_answers import knowledge, predictions
from pmcore.testing.trainer_case import Bench
from pmcore.testing.trainer_task import made_target
from pmcore.training import Goal

ROUNDING = 1e-3
"""Most by which answers may differ, relative to the largest, after a few epochs whose sums were added up otherwise."""
TOO_FAST = 1e30
"""A learning rate with which nothing can be learnt."""


def check_learns(bench: Bench) -> None:
    """Learn the records of the job, and the labels that they are given."""
    (trained,) = bench.train(bench.job(), task=bench.variant(epochs=bench.enough))
    known, guessed = knowledge(bench.answered(trained))
    require(
        known >= (1 + guessed) / 2,
        f"after {bench.enough} epochs the model is right about {known:.0%} of its own records, where guessing gives "
        f"{guessed:.0%}; train on `rows` and `labels`",
    )


def check_determinism(bench: Bench) -> None:
    """Give the same files, byte by byte, for the same task and job."""
    first, second = (_files(bench, bench.job(3, seed=5)) for _ in range(2))
    require_same_files(first, second, "trained again", "draw from the job's seed alone, and leave out times")


def check_seed(bench: Bench) -> None:
    """Give another model with another seed."""
    jobs = [bench.job(seed=seed) for seed in (11, 12)]
    first, second = (bench.train(job)[0] for job in jobs)
    if not np.array_equal(_answers(bench, first), _answers(bench, second)):
        return
    same = written(jobs[0], first) == written(jobs[1], second)
    require(not same, "two seeds give the same file; draw weights and the order of batches from the job's seed")
    raise NotApplicable("another seed gives another file with the same answers: this way of training draws nothing")


def check_index(bench: Bench) -> None:
    """Give the same model whatever the reference's number is."""
    first, second = (_files(bench, bench.job(index)) for index in (0, 5))
    require_same_files(first, second, "as reference 5 instead of 0", "the seed alone tells references apart")


def check_other_rows(bench: Bench) -> None:
    """Depend on the job's rows alone: the other records of the pool may be anything."""
    before = _files(bench, bench.job())
    other = np.setdiff1d(np.arange(len(bench.task.labels)), bench.rows)
    inputs = {name: _changed(array, other) for name, array in bench.task.inputs.items()}
    labels = np.array(bench.task.labels)
    labels[other] = _relabelled(labels[other], bench.task)
    after = _files(bench, bench.job(), bench.variant(inputs=inputs, labels=labels))
    require_same_files(
        before, after, "with other records beside those of the job", "read inputs and labels at `rows` alone"
    )


def check_fresh_weights(bench: Bench) -> None:
    """Begin with fresh weights: what the target has learnt leaves no trace."""
    if not bench.written:
        raise NotApplicable("the target was given, and none with other weights")
    other = bench.variant(target=made_target(bench.given, bench.folder / "other", seed=8))
    first, second = (bench.train(bench.job(), task=task)[0] for task in (bench.task, other))
    apart = distance(*(_answers(bench, trained) for trained in (first, second)))
    require(
        apart <= ROUNDING,
        f"targets that differ in their weights alone give models whose answers are {apart:.1g} apart, relative to the "
        "largest; draw all weights from the job's seed",
    )


def check_several_jobs(bench: Bench) -> None:
    """Train several jobs in one call as each alone: to the byte, or up to rounding where they go side by side."""
    rows = [bench.rows, bench.rows[1:], bench.rows[:-7], bench.rows]
    alone, together = ([bench.job(i, 11 + i, part) for i, part in enumerate(rows)] for _ in range(2))
    single = [bench.train(job)[0] for job in alone]
    several = bench.train(*together)
    exact = bench.trainer.side_by_side(bench.task) == 1
    for index, (one, other) in enumerate(zip(single, several, strict=True)):
        what = f"reference {index} of several"
        if exact:
            remedy = "train each as if it were alone, or say in side_by_side that they go together"
            require_same_files(written(alone[index], one), written(together[index], other), what, remedy)
        apart = distance(_answers(bench, one), _answers(bench, other))
        require(apart <= ROUNDING, f"{what}: its answers are {apart:.1g} apart from when it is trained alone")


def check_progress(bench: Bench) -> None:
    """Tell of each epoch as it ends: its number, from 1 upwards, and the most that there will be."""
    told: list[tuple[int, int]] = []
    bench.train(bench.job(), progress=lambda epoch, most: told.append((epoch, most)))
    if not told:
        raise NotApplicable("it tells of no epochs")
    epochs = [epoch for epoch, _ in told]
    require(epochs[0] == 1, f"progress begins with epoch {epochs[0]}; count from 1")
    falls = [(one, other) for one, other in pairwise(epochs) if other <= one]
    require(not falls, f"progress tells of epoch {falls[0][1]} after {falls[0][0]}" if falls else "")
    most = {each for _, each in told}
    require(len(most) == 1, f"progress tells of {sorted(most)} epochs at most; say the same each time")
    require(max(epochs) <= max(most), f"progress tells of epoch {max(epochs)} of {max(most)}")


def check_epochs(bench: Bench) -> None:
    """Train for the epochs that are asked for, and without a number until the goal is reached."""
    easy = Goal(1e6, None if bench.task.task is Task.REGRESSION else 0.0)
    until = bench.variant(epochs=None, goal=easy)
    asked, free = (bench.train(bench.job(), task=task)[0].epochs for task in (bench.task, until))
    if asked is None or free is None:
        raise NotApplicable("it does not tell how many epochs it took")
    if asked == free:
        raise NotApplicable(f"it takes {asked} epochs whatever is asked for")
    require(asked == bench.task.epochs, f"it takes {asked} epochs where {bench.task.epochs} are asked for")
    require(
        free < until.most_epochs,
        f"a goal that any model reaches takes {free} epochs; end when loss and accuracy are those of `goal`",
    )


def check_failure(bench: Bench) -> None:
    """Raise an error of one line when training diverges or the records cannot be learnt, and write no broken model."""
    floats = {name: np.full_like(a, np.nan) for name, a in bench.task.inputs.items() if a.dtype.kind == "f"}
    tried = 0
    if floats:
        tried += 1
        _require_sound(bench, "records of NaN", task=bench.variant(inputs={**bench.task.inputs, **floats}))
    if "learning_rate" in {option.name for option in describe_options(type(bench.given))}:
        tried += 1
        _require_sound(bench, f"learning_rate={TOO_FAST:g}", rate=TOO_FAST)
    if not tried:
        raise NotApplicable("it has no learning_rate, and the records are whole numbers")


def _require_sound(bench: Bench, case: str, task: TrainingTask | None = None, rate: float | None = None) -> None:
    """Require that training is refused in one line, or writes a model that answers with numbers."""
    trainer = bench.trainer
    try:
        if rate is not None:
            options = {**resolved_options(trainer), "learning_rate": rate}
            trainer = build(type(trainer), options, "the trainer")
        (trained,) = bench.train(bench.job(), task=task, trainer=trainer)
    except AuditError as error:
        require_one_line(str(error), case)
        return
    except Exception as error:  # a plugin is called: whatever else it raises is told
        raise CheckFailed(f"{case}: raised {type(error).__name__} ({error}); raise ModelError") from error
    try:
        finite = bool(np.isfinite(predictions(bench.answered(trained))).all())
    except AuditError:
        finite = False
    require(finite, f"{case}: wrote a model that does not answer with numbers; raise ModelError")


def _files(bench: Bench, job: TrainingJob, task: TrainingTask | None = None) -> Mapping[str, str]:
    """Return what training a job writes."""
    return written(job, bench.train(job, task=task)[0])


def written(job: TrainingJob, trained: Trained) -> Mapping[str, str]:
    """Return the SHA-256 of the model and of all files in the job's folder, by their paths in it."""
    inside = {str(Path(path).relative_to(job.out)): digest for path, digest in contents(job.out).items()}
    return inside or {Path(path).name: digest for path, digest in contents(trained.file).items()}


def require_same_files(first: Mapping[str, str], second: Mapping[str, str], what: str, remedy: str) -> None:
    differ = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    require(not differ, f"{what}, {', '.join(differ[:3])} differs; {remedy}")


def _answers(bench: Bench, trained: Trained) -> Floats:
    wide: Floats = predictions(bench.answered(trained)).astype(np.float64)
    return wide


def _changed(array: Array, rows: NDArray[np.int64]) -> Array:
    """Return a copy in which some records are others: of other values, or in another order where they are no floats."""
    copy = np.array(array)
    copy[rows] = copy[rows] * 2 + 1 if copy.dtype.kind == "f" else copy[rows][::-1]
    return copy


def _relabelled(labels: Array, task: TrainingTask) -> Array:
    if task.task in CLASSIFICATION:
        return (labels + 1) % max(task.classes, 2)
    return 1 - labels if task.task is Task.MULTILABEL else labels * 2 + 1
