"""Records times parameters are never held: the peak of a process that takes gradients in each of the ways."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 2**20
BUDGET = 64 * MEBIBYTE

WAYS = {
    "outer_products": "Linear(700, 700), nn.ReLU(), nn.Linear(700, 700), nn.ReLU(), nn.Linear(700, 10)",
    "convolutions": "Unflatten(1, (7, 10, 10)), nn.Conv2d(7, 256, 3, 2), nn.ReLU(), nn.Conv2d(256, 256, 3, 2), "
    "nn.Flatten()",
    "normalised_weights_and_vmap": "utils.parametrizations.weight_norm(nn.Linear(700, 700)), nn.ReLU(), Twice(700, 40)",
}
PROGRAM = """
import numpy as np
import torch
from torch import nn
from benchmarks.processes import print_own_peak
from pmcore.interfaces import GradientRequest
from pmcore_autograd.per_record import PerRecord

class Twice(nn.Bilinear):
    def __init__(self, given, made):
        super().__init__(given, 10, made)

    def forward(self, x):
        return super().forward(x, x[:, :10])

torch.set_num_threads(1)
module = nn.Sequential(nn.{layers}).eval()
inputs = {{"x": torch.randn({records}, 700)}}
engine = PerRecord(module, lambda given: module(given["x"]), {{"all": list(module.parameters())}}, budget={budget})
requests = [GradientRequest(), GradientRequest(order=1.0), GradientRequest((), "sketch", size=16)]
engine.reduce(inputs, lambda predictions, _: np.ones(predictions.shape), requests)
print(sum(value.numel() for value in module.parameters()), len(engine.method) > 0)
print_own_peak()
"""


def peak(layers: str, records: int) -> tuple[int, int]:
    """Return the number of parameters, and the peak of a process that reduces gradients of some records, in bytes."""
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'backends'}", "OMP_NUM_THREADS": "1", "PATH": ""}
    program = PROGRAM.format(layers=layers, records=records, budget=BUDGET)
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=path, check=True, capture_output=True, text=True
    )
    told, taken = ended.stdout.splitlines()
    return int(told.split()[0]), int(taken)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_more_records_do_not_take_more_than_the_budget(way: str) -> None:
    parameters, few = peak(WAYS[way], 3)
    _, many = peak(WAYS[way], 300)
    assert 300 * parameters * 4 > 8 * BUDGET
    assert many - few < 2 * BUDGET
