"""The training loop: what a plain loop of torch gives, alone or side by side; goals, failures, tasks and options."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import pmcore_autograd
from pmcore.errors import AuditError, InputError, ModelError
from pmcore.interfaces import Outputs, Scale, Task, TrainingJob, TrainingTask
from pmcore.options import build
from pmcore.signals import Correctness, Loss
from pmcore.training import Goal
from pmcore_autograd.training import ExportTrainer
from pmcore_autograd.training.augmenting import Augmentation
from pmcore_autograd.training.descent import Descent
from pmcore_autograd.training.losses import Objective
from pmcore_autograd.training.pool import generator
from pmcore_autograd.training.running import SIDE_BY_SIDE
from pmcore_autograd.training.stack import Stack
from tests.training.cases import cnn, digits, jobs_in, mlp, onnx, silent, task_of, trained


def orders(job: TrainingJob, epochs: int) -> Iterator[torch.Tensor]:
    """Yield the order in which a job's records are seen, epoch by epoch."""
    random = generator(job.seed, 0)
    for _ in range(epochs):
        yield torch.randperm(len(job.rows), generator=random)


def plainly(trainer: ExportTrainer, task: TrainingTask, job: TrainingJob, epochs: int) -> dict[str, torch.Tensor]:
    """Return the weights after the loop that one would write by hand, with optimisers that are not fused."""
    module = pmcore_autograd.load(task.target, (task.output,))
    module.reset_parameters(job.seed)
    x, y = torch.from_numpy(task.inputs["x"][job.rows]), torch.from_numpy(task.labels[job.rows])
    options: dict[str, Any] = {"lr": trainer.rate, "weight_decay": trainer.weight_decay, "foreach": False}
    kinds: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    options |= {"momentum": trainer.momentum} if trainer.optimiser == "sgd" else {}
    optimiser = kinds[trainer.optimiser](module.parameters(), **options)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(y) // trainer.batch_size))
    for order in orders(job, epochs):
        for batch in torch.split(order, trainer.batch_size):
            optimiser.zero_grad()
            loss = functional.cross_entropy(module(x[batch]), y[batch], label_smoothing=trainer.label_smoothing)
            torch.autograd.backward(loss)
            if trainer.clip_gradient is not None:
                nn.utils.clip_grad_norm_(module.parameters(), trainer.clip_gradient)
            optimiser.step()
            if trainer.schedule == "cosine":
                schedule.step()
    return {name: value.detach() for name, value in module.named_parameters()}


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in pmcore_autograd.load(path).named_parameters()}


RECIPES = {
    "adam": ExportTrainer(),
    "adamw": ExportTrainer(optimiser="adamw", weight_decay=0.1, schedule="cosine"),
    "adam with a penalty": ExportTrainer(weight_decay=1e-3, clip_gradient=0.5),
    "sgd": ExportTrainer(optimiser="sgd", learning_rate=0.1, clip_gradient=1.0),
    "sgd without momentum": ExportTrainer(optimiser="sgd", learning_rate=0.1, momentum=0.0, label_smoothing=0.1),
}


@pytest.mark.parametrize("name", RECIPES)
def test_training_gives_the_weights_of_a_plain_loop(name: str, tmp_path: Path) -> None:
    trainer = RECIPES[name]
    task, (job,) = task_of(onnx(tmp_path, mlp()), epochs=3), jobs_in(tmp_path, records=200)
    (found,) = trained(trainer, task, [job])
    expected = plainly(trainer, task, job, 3)
    for key, value in weights(found.file).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-5, atol=1e-5)


def test_gradients_that_do_not_lie_in_order_are_put_in_order() -> None:
    stack, other = Stack([nn.Linear(40, 30, bias=False)]), nn.Linear(40, 30, bias=False)
    (weight,), factors = stack.parameters, torch.rand(40, 30)
    other.weight.data = weight.detach().clone()
    optimiser = torch.optim.Adam(other.parameters(), foreach=False)
    descent = Descent(ExportTrainer(), stack, 3)
    for _ in range(3):
        (gradient,) = torch.autograd.grad((weight.t().square() * factors).sum(), [weight])
        assert not gradient.is_contiguous()
        descent.step((weight.t().square() * factors).sum())
        other.weight.grad = 2 * other.weight.detach() * factors.t()
        optimiser.step()
    torch.testing.assert_close(weight, other.weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_side_by_side_gives_what_each_gives_alone(name: str, tmp_path: Path) -> None:
    trainer, task = replace(RECIPES[name], augment=("noise=0.05",)), task_of(onnx(tmp_path, mlp()), epochs=3)
    assert trainer.side_by_side(task) == SIDE_BY_SIDE
    together = trained(trainer, task, jobs_in(tmp_path / "together", (0, 1, 2), records=200))
    again = trained(trainer, task, jobs_in(tmp_path / "again", (0, 1, 2), records=200))
    alone = [trained(trainer, task, [job])[0] for job in jobs_in(tmp_path / "alone", (0, 1, 2), records=200)]
    for one, same, other in zip(together, again, alone, strict=True):
        assert one.file.read_bytes() == same.file.read_bytes()
        assert one.loss == pytest.approx(other.loss, rel=1e-3)
        expected = weights(other.file)
        for key, value in weights(one.file).items():
            torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


def test_jobs_of_different_sizes_come_back_in_their_order(tmp_path: Path) -> None:
    task = task_of(onnx(tmp_path, mlp()), epochs=2)
    jobs = [replace(job, rows=job.rows[: 100 + 7 * (job.index % 2)]) for job in jobs_in(tmp_path, (0, 1, 2))]
    told: list[tuple[int, int]] = []
    found = ExportTrainer().train(task, jobs, lambda epoch, most: told.append((epoch, most)))
    assert [each.file.parent for each in found] == [job.out for job in jobs]
    assert told == [(epoch, 4) for epoch in (1, 2, 3, 4)]


def test_large_and_convolutional_networks_are_trained_alone(tmp_path: Path) -> None:
    assert ExportTrainer().side_by_side(task_of(onnx(tmp_path, mlp(width=1024)))) == 1
    assert ExportTrainer().side_by_side(task_of(onnx(tmp_path, cnn(), images=True), images=True)) == 1


def test_training_ends_when_a_reference_knows_its_records_as_the_target_does(tmp_path: Path) -> None:
    goal = Goal(loss=0.2, accuracy=0.95)
    task = task_of(onnx(tmp_path, mlp()), epochs=None, goal=goal)
    jobs = jobs_in(tmp_path / "goal", (0, 1, 2))
    told: list[tuple[int, int]] = []
    found = ExportTrainer().train(task, jobs, lambda epoch, most: told.append((epoch, most)))
    assert len({each.epochs for each in found}) > 1
    assert told[-1] == (max(each.epochs or 0 for each in found), 200)
    for each, job in zip(found, jobs_in(tmp_path / "fixed", (0, 1, 2)), strict=True):
        assert each.epochs is not None
        assert each.loss is not None
        assert each.loss <= 0.2
        (same,) = trained(ExportTrainer(), replace(task, epochs=each.epochs), [job])
        assert same.loss == pytest.approx(each.loss, rel=1e-3)
        (short,) = trained(ExportTrainer(), replace(task, epochs=each.epochs - 1), [replace(job, out=_new(job.out))])
        assert short.loss is not None
        assert short.loss > 0.2


def test_a_goal_out_of_reach_ends_with_the_most_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pmcore.training.MOST_EPOCHS", 5)
    task, (job,) = task_of(onnx(tmp_path, mlp()), epochs=None, goal=Goal(1e-9, 1.0)), jobs_in(tmp_path)
    assert trained(ExportTrainer(), task, [job])[0].epochs == 5


@pytest.mark.parametrize("trainer", [ExportTrainer(learning_rate=1e6), ExportTrainer("sgd", learning_rate=1e6)])
def test_training_that_diverges_says_where_and_what_to_change(trainer: ExportTrainer, tmp_path: Path) -> None:
    task, jobs = task_of(onnx(tmp_path, mlp())), jobs_in(tmp_path, (3,))
    with pytest.raises(ModelError, match=r"reference 3: the loss is .* after epoch 1 - lower learning_rate") as caught:
        trained(trainer, task, jobs)
    assert "\n" not in str(caught.value)


def test_a_learning_rate_is_found_on_one_reference(tmp_path: Path) -> None:
    task, (job,) = task_of(onnx(tmp_path, mlp()), epochs=8), jobs_in(tmp_path)
    asked = ExportTrainer(learning_rate="auto")
    told: list[tuple[int, int]] = []
    settled = asked.settled(task, job, lambda epoch, most: told.append((epoch, most)))
    assert settled == replace(asked, learning_rate=1e-2)
    assert told[-1] == (25, 25)
    assert list(job.out.iterdir()) == []
    assert ExportTrainer().settled(task, job, silent) == ExportTrainer()
    with pytest.raises(AuditError, match="learning_rate: auto"):
        trained(asked, task, [job])


def labels_of(task: Task, columns: int) -> Any:
    y = digits()[1]
    if task is Task.MULTILABEL:
        return np.stack([y % 2, y // 5, y == 3, y == 7], axis=1).astype(np.int64)[:, :columns]
    if task is Task.REGRESSION:
        return (digits()[0][:, 10:12] * y[:, None] / 9 + 1).astype(np.float64)[:, :columns]
    return (y > 4).astype(np.int64)


@pytest.mark.parametrize(
    ("kind", "columns", "ending"),
    [
        (Task.BINARY, 1, None),
        (Task.BINARY, 1, nn.Sigmoid()),
        (Task.BINARY, 2, None),
        (Task.BINARY, 2, nn.Softmax(1)),
        (Task.MULTILABEL, 4, None),
        (Task.MULTILABEL, 4, nn.Sigmoid()),
        (Task.REGRESSION, 1, None),
        (Task.REGRESSION, 2, None),
    ],
)
def test_every_task_is_learnt_by_the_loss_of_its_signal(
    kind: Task, columns: int, ending: nn.Module | None, tmp_path: Path
) -> None:
    net = mlp(columns) if ending is None else nn.Sequential(mlp(columns), ending).eval()
    scale = Scale.VALUES if kind is Task.REGRESSION else Scale.LOGITS if ending is None else Scale.PROBABILITIES
    classes = {Task.BINARY: 2, Task.MULTILABEL: 4, Task.REGRESSION: columns}[kind]
    task = task_of(onnx(tmp_path, net), epochs=40, task=kind, classes=classes, scale=scale)
    task = replace(task, labels=labels_of(kind, columns))
    (job,) = jobs_in(tmp_path)
    (found,) = trained(ExportTrainer(learning_rate=1e-2), task, [job])
    with torch.no_grad():
        predictions = pmcore_autograd.load(found.file)(torch.from_numpy(task.inputs["x"][job.rows])).numpy()
    outputs = Outputs(kind, scale, task.labels[job.rows], predictions)
    assert found.loss is not None
    assert found.loss == pytest.approx(float(Loss().compute(outputs).mean()), rel=1e-3)
    objective = Objective(kind, scale)
    hits = objective.right(torch.from_numpy(predictions), objective.labels(task.labels[job.rows]))
    if kind is Task.REGRESSION:
        assert hits is None
        assert found.loss < 0.3 * float(task.labels.var(axis=0).sum())
    else:
        assert hits is not None
        assert np.array_equal(hits.numpy(), Correctness().compute(outputs))
        assert hits.double().mean() > 0.95


def test_a_last_batch_of_one_joins_the_one_before(tmp_path: Path) -> None:
    spans = ExportTrainer(batch_size=10).spans(31)
    assert [span.stop - span.start for span in spans] == [10, 10, 11]
    assert [span.stop - span.start for span in ExportTrainer(batch_size=10).spans(32)] == [10, 10, 10, 2]
    assert ExportTrainer(batch_size=10).spans(1) == [slice(0, 1)]


def test_images_are_mirrored_and_moved_anew_at_each_step() -> None:
    images = torch.arange(1.0, 65.0).view(1, 1, 1, 8, 8).expand(1, 40, 1, 8, 8)
    change = Augmentation(ExportTrainer(augment=("flip", "crop")), [3])
    (first,), (second,) = change([images]), change([images])
    assert not torch.equal(first, second)
    ways = [
        _moved(image, down, right) for image in (images[0, 0, 0], images[0, 0, 0].flip(1)) for down, right in SHIFTS
    ]
    found = {next(way for way, other in enumerate(ways) if torch.equal(image, other)) for image in first[0, :, 0]}
    assert len(found) > 10
    (last,) = change([images.movedim(2, 4)])
    assert all(any(torch.equal(image, other) for other in ways) for image in last[0, ..., 0])
    (noisy,) = Augmentation(ExportTrainer(augment=("noise=0.5",)), [3])([images])
    assert float((noisy - images).std()) == pytest.approx(0.5, rel=0.1)


SHIFTS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]


def _moved(image: torch.Tensor, down: int, right: int) -> torch.Tensor:
    frame = functional.pad(image, (1, 1, 1, 1))
    return frame[1 + down : 9 + down, 1 + right : 9 + right]


def test_options_are_checked_and_read_from_text() -> None:
    made = build(ExportTrainer, {"learning_rate": "auto", "augment": "[flip, noise=0.1]", "clip_gradient": "1"}, "t")
    assert made == ExportTrainer(learning_rate="auto", augment=("flip", "noise=0.1"), clip_gradient=1.0)
    assert build(ExportTrainer, {"learning_rate": "0.01"}, "t").rate == 0.01
    for options in (
        {"learning_rate": "0"},
        {"augment": "turn"},
        {"augment": "noise=x"},
        {"batch_size": "0"},
        {"momentum": "1"},
        {"clip_gradient": "-1"},
        {"optimiser": "lion"},
    ):
        with pytest.raises(InputError):
            build(ExportTrainer, options, "t")


def _new(folder: Path) -> Path:
    made = folder.with_name(f"{folder.name}-again")
    made.mkdir()
    return made


def test_torch_is_not_imported_before_something_is_trained() -> None:
    code = "import sys, pmcore_autograd.training as a, pmcore_torch.training as t; print('torch' in sys.modules)"
    paths = os.pathsep.join(path for path in sys.path if path)
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    assert ran.stdout == "False\n"
