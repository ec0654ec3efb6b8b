"""References from the owner's own training command, which is told what to train on and where to write."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Trainer
from pmcore.training import Trained, TrainingJob, TrainingProgress, TrainingTask

POOL = "PMCORE_POOL"
"""The files of the pool, joined as the system joins paths; set for every worker."""
INDICES = "indices.npy"
LONGEST = 200


@dataclass(frozen=True)
class CommandTrainer(Trainer):
    """Runs a training command of yours once for each reference, and takes the model that it exports.

    The command finds what it needs in its environment::

        PMCORE_POOL           the files of the pool in their order, with os.pathsep between
        PMCORE_INDICES        .npy: records to train on, counted through these files
        PMCORE_OUT            where to write the model
        PMCORE_SEED           of the weights and of the order of the batches
        PMCORE_INDEX          number of the reference, from 0
        PMCORE_EPOCHS         how many, or auto: until the records are known as the
                              target knows its members, which is
        PMCORE_GOAL_LOSS      mean loss, where it is known
        PMCORE_GOAL_ACCURACY  share that is predicted right, where it is known

    It runs with one thread, in the folder that `pmcore` was called in. It must give the same file for the same
    environment. Nothing that it prints is shown unless it fails.

    Parameters
    ----------
    run : the command line, split as a shell would; no shell runs it
    suffix : of the file that it writes; by default that of the target
    timeout : seconds that one reference may take, or none
    """

    run: str
    suffix: str | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse a command line that cannot be split."""
        try:
            words = shlex.split(self.run)
        except ValueError as error:
            raise InputError(f"command {self.run!r}: {str(error).lower()} - close it") from None
        if not words:
            raise InputError("command: empty - give the command that trains one model")
        if self.suffix is not None and (not self.suffix.startswith(".") or {"/", os.sep} & set(self.suffix)):
            raise InputError(f"suffix: {self.suffix!r} - give the suffix of the model file, such as .onnx")
        if self.timeout is not None and self.timeout <= 0:
            raise InputError(f"timeout: {self.timeout:g} - give more than 0 seconds")

    def obstacle(self, task: TrainingTask) -> str | None:
        """Return that there is no such program, or None."""
        program = shlex.split(self.run)[0]
        return f"{program}: no such program - check the command" if shutil.which(program) is None else None

    def train(self, task: TrainingTask, jobs: Sequence[TrainingJob], progress: TrainingProgress) -> Sequence[Trained]:
        """Run the command for each job; see `Trainer.train`."""
        return [self._trained(task, job) for job in jobs]

    def _trained(self, task: TrainingTask, job: TrainingJob) -> Trained:
        file = job.out / f"model{task.target.suffix if self.suffix is None else self.suffix}"
        with tempfile.TemporaryDirectory(dir=job.out.parent) as folder:
            indices = Path(folder) / INDICES
            np.save(indices, job.rows)
            code, said = self._ended(_environment(task, job, indices, file), job)
        if code != 0:
            how = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
            raise ModelError(f"command for reference {job.index}: {how}, {said} - mend the command")
        if not file.exists():
            raise ModelError(
                f"command for reference {job.index}: wrote no model, {said} - let it write to the path in PMCORE_OUT"
            )
        return Trained(file, task.epochs, None)

    def _ended(self, environment: dict[str, str], job: TrainingJob) -> tuple[int, str]:
        """Run the command; return its exit code, and the last that it said."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
            try:
                # In the group of the worker, so that it ends with it whatever happens.
                done = subprocess.run(
                    shlex.split(self.run),
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=errors,
                    env=environment,
                    timeout=self.timeout,
                )
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ModelError(f"command {self.run!r}: {reason} - check the command") from None
            except subprocess.TimeoutExpired:
                raise ModelError(
                    f"command for reference {job.index}: still running after {self.timeout:g} s - give it more time "
                    "(option timeout)"
                ) from None
            for stream in (errors, out):
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - 4096))
                lines = stream.read().decode("utf-8", "replace").split("\n")
                last = next((" ".join(line.split()) for line in reversed(lines) if line.strip()), "")
                if last:
                    return done.returncode, f"saying {last[:LONGEST]!r}"
        return done.returncode, "saying nothing"


def _environment(task: TrainingTask, job: TrainingJob, indices: Path, file: Path) -> dict[str, str]:
    """Return what the command is told."""
    told = {
        "PMCORE_INDICES": str(indices.absolute()),
        "PMCORE_OUT": str(file.absolute()),
        "PMCORE_SEED": str(job.seed),
        "PMCORE_INDEX": str(job.index),
        "PMCORE_EPOCHS": "auto" if task.epochs is None else str(task.epochs),
    }
    if task.goal is not None:
        told["PMCORE_GOAL_LOSS"] = repr(task.goal.loss)
        if task.goal.accuracy is not None:
            told["PMCORE_GOAL_ACCURACY"] = repr(task.goal.accuracy)
    return {**os.environ, **told}
