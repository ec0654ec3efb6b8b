"""References made by a factory: trained with whatever the module does in training, and loaded again by the backend."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from pmcore.errors import InputError
from pmcore.interfaces import TrainingTask
from pmcore_torch import TorchModel
from pmcore_torch.options import TorchOptions
from pmcore_torch.training import TorchTrainer
from tests.training.cases import digits, jobs_in, right, silent, task_of, trained

MODULES = """
import torch
from torch import nn

def mlp():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))

def ended():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(1))

def small():
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))

def linear():
    return nn.ReLU()

class Cnn(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Linear(288, 10)
        self.drop = nn.Dropout(0.2)

    def forward(self, x, scale=None):
        return {"logits": self.head(self.drop(torch.relu(self.norm(self.conv(x))).flatten(1)))}

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight
        self.head = nn.Linear(64, 10)

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))
"""
TRAINER = TorchTrainer(learning_rate=1e-2)


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trainer_nets.py").write_text(MODULES)
    monkeypatch.syspath_prepend(str(tmp_path))


def task_for(folder: Path, factory: str, images: bool = False, epochs: int = 8) -> TrainingTask:
    task = task_of(folder / "target.safetensors", images, epochs, output="output")
    return replace(task, options={"model_class": f"trainer_nets:{factory}"})


@pytest.mark.parametrize(("factory", "images"), [("mlp", False), ("ended", False), ("Cnn", True), ("Tied", False)])
def test_a_reference_learns_its_records_and_is_loaded_again(factory: str, images: bool, tmp_path: Path) -> None:
    task, (job,) = task_for(tmp_path, factory, images), jobs_in(tmp_path)
    assert TRAINER.obstacle(task) is None
    (found,) = trained(TRAINER, task, [job])
    assert found.file == job.out / "target.safetensors"
    assert found.loading == {"model_class": f"trainer_nets:{factory}"}
    model = TorchModel.load(found.file, TorchOptions(device="cpu", **found.loading))  # type: ignore[arg-type]
    x = task.inputs["x"][job.rows]
    model.prepare({"x": x[:16]})
    scores = model.predict({"x": x})
    assert right(scores, job) > 0.95
    labels = torch.from_numpy(digits()[1][job.rows])
    expected = float(nn.functional.cross_entropy(torch.from_numpy(scores), labels))
    assert found.loss == pytest.approx(expected, rel=1e-3)


def test_the_factory_may_be_another_than_the_targets(tmp_path: Path) -> None:
    task = task_for(tmp_path, "nowhere")
    assert "trainer_nets" in str(TRAINER.obstacle(task))
    assert replace(TRAINER, factory="trainer_nets:mlp").obstacle(task) is None
    assert "factory" in str(TRAINER.obstacle(replace(task, options={})))
    assert "4 classes, and the target has 10" in str(replace(TRAINER, factory="trainer_nets:small").obstacle(task))
    assert "without parameters" in str(replace(TRAINER, factory="trainer_nets:linear").obstacle(task))
    with pytest.raises(InputError):
        trained(TRAINER, task, jobs_in(tmp_path))


def test_files_are_the_same_byte_by_byte_though_dropout_draws(tmp_path: Path) -> None:
    task = task_for(tmp_path, "Cnn", images=True, epochs=2)
    (first,) = trained(TRAINER, task, jobs_in(tmp_path / "a"))
    torch.rand(7)
    before = torch.get_rng_state()
    (second,) = trained(TRAINER, task, jobs_in(tmp_path / "b"))
    assert first.file.read_bytes() == second.file.read_bytes()
    assert torch.equal(torch.get_rng_state(), before)
    others = trained(TRAINER, task, jobs_in(tmp_path / "c", (1, 0)))
    assert others[1].file.read_bytes() == first.file.read_bytes()


def test_plain_modules_are_trained_side_by_side_and_those_that_draw_alone(tmp_path: Path) -> None:
    assert TRAINER.side_by_side(task_for(tmp_path, "mlp")) > 1
    assert TRAINER.side_by_side(task_for(tmp_path, "Cnn", images=True)) == 1
    task = task_for(tmp_path, "Tied", epochs=3)
    together = trained(TRAINER, task, jobs_in(tmp_path / "a", (0, 1)))
    (alone,) = trained(TRAINER, task, jobs_in(tmp_path / "b", (1,)))
    expected = load_file(alone.file)
    for name, value in load_file(together[1].file).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)


def test_the_learning_rate_can_be_found(tmp_path: Path) -> None:
    task, (job,) = task_for(tmp_path, "mlp"), jobs_in(tmp_path)
    assert TorchTrainer(learning_rate="auto").settled(task, job, silent).rate in (3e-3, 1e-2)
