"""References trained from an exported file alone: they learn, and the runtime answers for them as the module does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx as onnx_package
import pytest
import torch
from torch import nn

import pmcore_autograd
from pmcore.interfaces import Array, LoadOptions, Scale, TrainingTask
from pmcore_autograd.training import ExportTrainer
from pmcore_onnx import OnnxModel
from pmcore_openvino import OpenvinoModel
from tests.autograd.exported import EXPORTERS, distance
from tests.training.cases import cnn, digits, jobs_in, mlp, onnx, openvino, right, task_of, trained

TRAINER = ExportTrainer(learning_rate=1e-2)


def described(path: Path, task: TrainingTask) -> TrainingTask:
    """Return a task as the backend of a file describes it."""
    kind = OnnxModel if path.suffix == ".onnx" else OpenvinoModel
    model = kind.load(path, LoadOptions(device="cpu"))
    model.prepare({"x": task.inputs["x"][:16]})
    found = model.describe()
    model.close()
    return replace(task, output=found.output, scale=found.scale)


def answered(path: Path, x: Array) -> Array:
    """Return what the backend of a file answers."""
    kind = OnnxModel if path.suffix == ".onnx" else OpenvinoModel
    model = kind.load(path, LoadOptions(device="cpu"))
    model.prepare({"x": x[:16]})
    found = model.predict({"x": x})
    model.close()
    return found


@pytest.mark.parametrize("form", [*EXPORTERS, "openvino"])
@pytest.mark.parametrize("images", [False, True], ids=["mlp", "cnn"])
def test_a_reference_learns_its_records_and_the_runtime_answers_for_it(images: bool, form: str, tmp_path: Path) -> None:
    net = nn.Sequential(cnn() if images else mlp(), nn.Softmax(1)).eval()
    target = openvino(tmp_path, net, images) if form == "openvino" else onnx(tmp_path, net, images, form)
    task = described(target, task_of(target, images, epochs=8))
    assert task.scale is Scale.LOGITS
    assert task.output != "z"
    (job,) = jobs_in(tmp_path)
    assert TRAINER.obstacle(task) is None
    (found,) = trained(TRAINER, task, [job])
    assert found.file == job.out / target.name
    assert found.epochs == 8
    x = task.inputs["x"][job.rows]
    scores = answered(found.file, x)
    assert right(scores, job) > 0.95
    module = pmcore_autograd.load(found.file, (task.output,))
    assert distance(module(torch.from_numpy(x)), scores) < 1e-5
    labels = torch.from_numpy(digits()[1][job.rows])
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(torch.from_numpy(scores), labels)), rel=1e-3)
    whole = pmcore_autograd.load(found.file)(torch.from_numpy(x))
    assert distance(whole, torch.from_numpy(scores).softmax(1)) < 1e-5


def test_the_graph_stays_that_of_the_file(tmp_path: Path) -> None:
    target = onnx(tmp_path, nn.Sequential(cnn(), nn.Softmax(1)).eval(), images=True)
    task = described(target, task_of(target, images=True, epochs=1))
    (job,) = jobs_in(tmp_path)
    (found,) = trained(ExportTrainer(batch_norm="all"), task, [job])
    before, after = onnx_package.load(target), onnx_package.load(found.file)
    assert after.graph.node == before.graph.node
    assert [each.name for each in after.graph.initializer] == [each.name for each in before.graph.initializer]


def test_a_file_for_one_record_at_a_time_is_trained_in_batches(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 8, 3), nn.Linear(288, 10)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.head(torch.relu(self.conv(x)).reshape(1, 288))
            return logits

    target = onnx(tmp_path, Net().eval(), images=True, free=False)
    task, (job,) = task_of(target, images=True, epochs=4), jobs_in(tmp_path)
    (found,) = trained(TRAINER, task, [job])
    assert right(answered(found.file, task.inputs["x"][job.rows]), job) > 0.9


def test_what_cannot_be_trained_is_told_in_a_phrase(tmp_path: Path) -> None:
    target = onnx(tmp_path, mlp())
    reason = TRAINER.obstacle(task_of(target, output="nowhere"))
    assert reason is not None
    assert "nowhere" in reason
    assert "\n" not in reason
    relu = onnx(tmp_path, nn.ReLU(), exporter="legacy")
    assert "no weights" in str(TRAINER.obstacle(task_of(relu)))


def test_normalisations_that_the_file_kept_measure_their_statistics(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.BatchNorm1d(32), nn.Linear(32, 10)).eval()
    target = onnx(tmp_path, net)
    assert "BatchNormalization" in {node.op_type for node in onnx_package.load(target).graph.node}
    task, (job,) = task_of(target, epochs=5), jobs_in(tmp_path)
    (found,) = trained(TRAINER, task, [job])
    x = task.inputs["x"][job.rows]
    assert right(answered(found.file, x), job) > 0.95
    module = pmcore_autograd.load(found.file)
    assert any(float(value.abs().max()) > 0 for name, value in module.named_buffers() if "mean" in name)
    assert distance(module(torch.from_numpy(x)), answered(found.file, x)) < 1e-5


def test_files_are_the_same_byte_by_byte_whatever_was_drawn_before(tmp_path: Path) -> None:
    target = onnx(tmp_path, cnn(), images=True)
    task = task_of(target, images=True, epochs=1)
    trainer = replace(TRAINER, augment=("flip", "crop", "noise=0.1"))
    (first,) = trained(trainer, task, jobs_in(tmp_path / "a"))
    torch.rand(3)
    torch_state = torch.get_rng_state()
    np.random.seed(9)
    drawn = np.random.random(3)
    np.random.seed(9)
    (second,) = trained(trainer, task, jobs_in(tmp_path / "b"))
    assert first.file.read_bytes() == second.file.read_bytes()
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.random(3), drawn)
    ir = openvino(tmp_path, mlp())
    task = described(ir, task_of(ir, epochs=1))
    one, other = (trained(TRAINER, task, jobs_in(tmp_path / name))[0] for name in ("c", "d"))
    for suffix in (".xml", ".bin"):
        assert one.file.with_suffix(suffix).read_bytes() == other.file.with_suffix(suffix).read_bytes()
