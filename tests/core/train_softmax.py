"""A training command as an owner may have one: softmax regression, told by its environment what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy_backend.files import write_network


def main() -> None:
    rows = np.load(os.environ["PMCORE_INDICES"])
    with np.load(os.environ["PMCORE_POOL"]) as pool:
        x, y = pool["x"][rows].astype(np.float64), pool["y"][rows]
    rng = np.random.default_rng(int(os.environ["PMCORE_SEED"]))
    epochs = os.environ["PMCORE_EPOCHS"]
    weight, bias = rng.normal(size=(x.shape[1], 3)) * 0.01, np.zeros(3)
    for _ in range(30 if epochs == "auto" else int(epochs)):
        z = x @ weight + bias
        p = np.exp(z - z.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        weight, bias = weight - 0.1 * x.T @ p / len(y), bias - 0.1 * p.mean(axis=0)
    if not np.isfinite(weight).all():
        raise SystemExit("the weights are no numbers")
    write_network(Path(os.environ["PMCORE_OUT"]), [weight.astype(np.float32)], [bias.astype(np.float32)])


if __name__ == "__main__":
    main()
