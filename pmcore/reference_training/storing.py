"""The pool as the model takes it, written once into files that all workers map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pmcore.data import Progress
from pmcore.errors import InputError
from pmcore.reference_training.pool import Pool
from pmcore.reference_training.stored_task import ArrayFile, StoredTask, without_arrays
from pmcore.training import TrainingTask

BATCH = 4096
"""Records that are preprocessed at a time."""


def store_task(task: TrainingTask, pool: Pool, folder: Path, progress: Progress) -> StoredTask:
    """Write the preprocessed records and the labels of a task; return it without them.

    Raises
    ------
    InputError
        A record is not finite, or the files of the pool give records of different shapes or types.
    """
    names = list(pool.feeds[pool.files[0]].discovery.binding)
    paths = {name: folder / f"input-{place}.npy" for place, name in enumerate(names)}
    files: dict[str, ArrayFile] = {}
    done = 0
    try:
        for path in pool.files:
            feed = pool.feeds[path]
            for start in range(0, len(feed), BATCH):
                inputs, _ = feed.batch(start, min(start + BATCH, len(feed)))
                for name in names:
                    if name not in files:
                        files[name] = ArrayFile(paths[name], len(pool), inputs[name])
                    if not files[name].fits(inputs[name]):
                        raise InputError(
                            f"{path}: gives the input {name} as {inputs[name].dtype} {list(inputs[name].shape[1:])}, "
                            f"and {pool.files[0]} does not - prepare the files of the pool alike"
                        )
                    files[name].write(inputs[name])
                done += len(inputs[names[0]])
                progress("preparing the pool", done, len(pool))
    finally:
        for file in files.values():
            file.close()
    labels = folder / "labels.npy"
    np.save(labels, pool.labels)
    return StoredTask(without_arrays(task), paths, labels)
