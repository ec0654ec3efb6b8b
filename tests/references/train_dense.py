"""A training script as an owner may have one: softmax regression, told by its environment what to do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from pmcore import registry
from pmcore.installed import EVERY_PLUGIN


def main(backend: str) -> None:
    rows = np.load(os.environ["PMCORE_INDICES"])
    pool = [np.load(path) for path in os.environ["PMCORE_POOL"].split(os.pathsep)]
    x, y = (np.concatenate([part[key] for part in pool])[rows] for key in ("x", "y"))
    rng = np.random.default_rng(int(os.environ["PMCORE_SEED"]))
    epochs = os.environ["PMCORE_EPOCHS"]
    classes = int(y.max()) + 1
    w, b = rng.normal(size=(x.shape[1], classes)) * 0.01, np.zeros(classes)
    for _ in range(30 if epochs == "auto" else int(epochs)):
        z = x @ w + b
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        w, b = w - 0.5 * x.T @ p / len(y), b - 0.5 * p.mean(axis=0)
    print("trained", os.environ["PMCORE_INDEX"], os.environ.get("PMCORE_GOAL_LOSS"))
    cls = registry.load("backends", backend, EVERY_PLUGIN)
    cls.write_dense(Path(os.environ["PMCORE_OUT"]), [w.astype(np.float32)], [b.astype(np.float32)])


if __name__ == "__main__":
    main(sys.argv[1])
