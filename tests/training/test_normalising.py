"""BatchNormalization that an exporter folded away is put back for the time of training, and folded again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from pmcore.interfaces import TrainingJob
from pmcore_autograd.loading import read_cut
from pmcore_autograd.module import ExportedModule
from pmcore_autograd.training import ExportTrainer
from pmcore_autograd.training.normalising import find_folded, fold_back, unfold
from tests.autograd.exported import EXPORTERS, distance
from tests.training.cases import FoldedCnn, cnn, digits, jobs_in, onnx, openvino, task_of, trained


def file_of(form: str, folder: Path) -> Path:
    return openvino(folder, cnn(), images=True) if form == "openvino" else onnx(folder, cnn(), True, form)


@pytest.mark.parametrize("form", [*EXPORTERS, "openvino"])
def test_convolutions_show_by_their_names_what_was_folded_into_them(form: str, tmp_path: Path) -> None:
    cut = read_cut(file_of(form, tmp_path))
    assert [each.channels for each in find_folded(cut, everywhere=False)] == [8, 16]
    assert [each.channels for each in find_folded(cut, everywhere=True)] == [8, 16, 16]


@pytest.mark.parametrize("form", ["legacy", "openvino"])
def test_a_normalisation_folded_back_computes_the_same(form: str, tmp_path: Path) -> None:
    path = file_of(form, tmp_path)
    cut = read_cut(path)
    folded = find_folded(cut, everywhere=True)
    module, plain = ExportedModule(unfold(cut, folded), path), ExportedModule(read_cut(path), path)
    module.reset_parameters(1)
    module.train()
    module.batch_statistics = True
    x = torch.rand(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for _ in range(5):
            module(x)
        for value in module.parameters():
            value.add_(0.1 * torch.rand(value.shape, generator=torch.Generator().manual_seed(1)))
    module.eval()
    assert distance(fold_back(module, plain, folded)(x), module(x)) < 1e-5


def test_folded_networks_train_as_fast_as_the_original_with_their_normalisation_back(tmp_path: Path) -> None:
    target = onnx(tmp_path, cnn(), images=True)
    task = task_of(target, images=True, epochs=8)
    back, without = (
        float(np.mean([each.loss for each in trained(trainer, task, jobs_in(tmp_path / trainer.batch_norm, (0, 1)))]))
        for trainer in (ExportTrainer(batch_norm="auto"), ExportTrainer(batch_norm="none"))
    )
    original = float(np.mean([_original(job, 8) for job in jobs_in(tmp_path / "original", (0, 1))]))
    assert back < 0.75 * without, (back, without)
    assert back < 1.6 * original, (back, original)


def _original(job: TrainingJob, epochs: int) -> float:
    """Return the loss of the network as its owner trains it, before an exporter sees it."""
    x, y = (torch.from_numpy(array[job.rows]) for array in digits())
    x = x.view(-1, 1, 8, 8)
    with torch.random.fork_rng():
        torch.manual_seed(job.seed)
        net = FoldedCnn()
        optimiser = torch.optim.Adam(net.parameters())
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(y)), 64):
                optimiser.zero_grad()
                torch.autograd.backward(functional.cross_entropy(net(x[batch]), y[batch]))
                optimiser.step()
    net.eval()
    return float(functional.cross_entropy(net(x), y).detach())
