"""References of Keras networks: trained from fresh weights of their own, and loaded again by the backend."""

from __future__ import annotations

import json
import random
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pmcore.errors import InputError, ModelError
from pmcore.interfaces import Array, Scale, Task, Trained, TrainingJob, TrainingTask
from pmcore.training import Goal
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from pmcore_tensorflow.architecture import read_architecture
from pmcore_tensorflow.optimisers import make_optimiser
from pmcore_tensorflow.training import KerasTrainer
from tests.backends.tensorflow_builders import keras

RNG = np.random.default_rng(4)
CENTRES = RNG.normal(size=(5, 36))
LABELS = RNG.integers(5, size=600)
RECORDS = (CENTRES[LABELS] + RNG.normal(size=(600, 36))).astype(np.float32)
IMAGES = RECORDS.reshape(-1, 6, 6, 1)
TRAINER = KerasTrainer(learning_rate=1e-2)


def mlp(activation: str | None = None, columns: int = 5) -> Any:
    k = keras()
    first = k.Input((36,), name="x")
    hidden = k.layers.Dense(24, activation="relu", name="hidden")(first)
    return k.Model(first, k.layers.Dense(columns, activation=activation, name="scores")(hidden))


def cnn(activation: str | None = None) -> Any:
    k = keras()
    layers = k.layers
    return k.Sequential(
        [
            k.Input((6, 6, 1), name="x"),
            layers.Conv2D(6, 3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Dropout(0.1),
            layers.Flatten(),
            layers.Dense(5, activation=activation, kernel_regularizer=k.regularizers.L2(1e-4)),
        ]
    )


def softmax_apart() -> Any:
    k = keras()
    bare = mlp()
    return k.Model(bare.input, k.layers.Softmax()(bare.output))


def saved(folder: Path, model: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "target.keras"
    model.save(path)
    return path


def task_for(path: Path, inputs: Array = RECORDS, labels: Array = LABELS, **changes: Any) -> TrainingTask:
    """Return a task with the target as it describes itself."""
    model = load(path, inputs, changes.pop("task", None))
    told = model.describe()
    task = TrainingTask(path, told.task, told.classes, told.output, told.scale, {"x": inputs}, labels, epochs=15)
    return replace(task, **changes)


def load(path: Path, inputs: Array, task: Task | None = None) -> TensorflowModel:
    model = TensorflowModel.load(path, TensorflowOptions(device="cpu", task=task))
    model.prepare({"x": inputs[:20]})
    return model


def job(folder: Path, index: int = 3, seed: int = 5) -> TrainingJob:
    folder.mkdir(parents=True)
    rows = np.sort(np.random.default_rng(index).permutation(600)[:321])
    return TrainingJob(index, rows.astype(np.int64), seed, folder)


def trained(trainer: KerasTrainer, task: TrainingTask, *jobs: TrainingJob) -> list[Trained]:
    return list(trainer.train(task, jobs, lambda epoch, most: None))


@pytest.mark.parametrize(
    ("make", "inputs"),
    [
        (mlp, RECORDS),
        (softmax_apart, RECORDS),
        (cnn, IMAGES),
        (lambda: cnn("softmax"), IMAGES),
    ],
    ids=["mlp", "mlp, softmax apart", "cnn", "cnn, softmax"],
)
def test_a_reference_learns_its_records_and_is_loaded_again(
    make: Callable[[], Any], inputs: Array, tmp_path: Path
) -> None:
    path, one = saved(tmp_path, make()), job(tmp_path / "3")
    task = task_for(path, inputs)
    assert TRAINER.obstacle(task) is None
    (found,) = trained(TRAINER, task, one)
    assert (found.file, found.epochs) == (one.out / "target.keras", 15)
    model = load(found.file, inputs)
    told = model.describe()
    assert (told.output, told.scale, told.task) == (task.output, Scale.LOGITS, Task.MULTICLASS)
    scores = model.predict({"x": inputs[one.rows]}).astype(np.float64)
    labels = LABELS[one.rows]
    assert (scores.argmax(1) == labels).mean() > 0.97
    expected = (np.log(np.exp(scores).sum(1)) - scores[np.arange(len(scores)), labels]).mean()
    assert found.loss == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_other_tasks_have_their_own_losses(tmp_path: Path) -> None:
    one = job(tmp_path / "jobs")
    sets = np.stack([LABELS > 1, LABELS == 3], axis=1).astype(np.int64)
    values = RECORDS[:, :2].astype(np.float64) * 3
    kinds: list[tuple[Task, str | None, Array]] = [
        (Task.BINARY, "sigmoid", (LABELS > 1).astype(np.int64)),
        (Task.BINARY, None, (LABELS > 1).astype(np.int64)),
        (Task.MULTILABEL, "sigmoid", sets),
        (Task.REGRESSION, None, values),
    ]
    for number, (kind, activation, labels) in enumerate(kinds):
        columns = labels.reshape(600, -1).shape[1]
        path = saved(tmp_path / str(number), mlp(activation, columns))
        task = task_for(path, labels=labels, task=kind)
        task = replace(task, options={"task": str(kind)})
        (found,) = trained(TRAINER, task, one)
        answers = load(found.file, RECORDS, kind).predict({"x": RECORDS[one.rows]}).astype(np.float64)
        own = labels[one.rows].reshape(answers.shape)
        if kind is Task.REGRESSION:
            expected = ((answers - own) ** 2).sum(1).mean()
            assert expected < 0.2 * (own - own.mean(0)).var()
        else:
            expected = np.logaddexp(0, np.where(own == 1, -answers, answers)).sum(1).mean()
            assert ((answers > 0) == own).mean() > 0.97
        assert found.loss == pytest.approx(expected, rel=1e-4)


def test_probabilities_that_come_from_no_activation_are_learnt_as_they_are(tmp_path: Path) -> None:
    k = keras()
    shares = mlp("softplus")
    model = k.Model(shares.input, shares.output / k.ops.sum(shares.output, axis=1, keepdims=True))
    path, one = saved(tmp_path, model), job(tmp_path / "3")
    task = task_for(path)
    assert task.scale is Scale.PROBABILITIES
    (found,) = trained(TRAINER, task, one)
    p = load(found.file, RECORDS).predict({"x": RECORDS[one.rows]})[np.arange(321), LABELS[one.rows]]
    expected = -np.log(p).mean()
    assert found.loss == pytest.approx(expected, rel=1e-4)
    assert expected < 0.3


@pytest.mark.slow
def test_files_are_the_same_byte_by_byte_and_others_for_another_seed(tmp_path: Path) -> None:
    path = saved(tmp_path, cnn("softmax"))
    task = task_for(path, IMAGES, epochs=2)
    (first,) = trained(TRAINER, task, job(tmp_path / "a"))
    random.seed(1)
    expected = random.random()
    random.seed(1)
    others = trained(TRAINER, task, job(tmp_path / "b", seed=6), job(tmp_path / "c"))
    assert random.random() == expected
    assert others[1].file.read_bytes() == first.file.read_bytes()
    found, other = (load(one.file, IMAGES).predict({"x": IMAGES[:9]}) for one in (first, others[0]))
    assert np.abs(found - other).max() > 0.1


def test_training_ends_when_the_goal_is_reached(tmp_path: Path) -> None:
    task = task_for(saved(tmp_path, mlp()), epochs=None, goal=Goal(0.05, 0.99))
    told: list[tuple[int, int]] = []
    (found,) = TRAINER.train(task, [job(tmp_path / "a")], lambda *done: told.append(done))
    assert found.epochs is not None
    assert found.loss is not None
    assert 2 < found.epochs < 60
    assert 0.02 < found.loss <= 0.05
    assert told == [(epoch, 200) for epoch in range(1, found.epochs + 1)]


def test_what_training_does_not_change_is_kept_and_seeds_of_the_file_are_not(tmp_path: Path) -> None:
    k = keras()
    layers, seed = k.layers, k.initializers.HeNormal(seed=3)
    scale = layers.Normalization()
    scale.adapt(RECORDS * 40 + 7)
    frozen = layers.Dense(30, name="frozen", trainable=False)
    model = k.Sequential(
        [k.Input((36,), name="x"), scale, frozen, layers.Dense(5, kernel_initializer=seed), layers.Softmax()]
    )
    path = saved(tmp_path, model)
    task = task_for(path, RECORDS * 40 + 7, epochs=1)
    jobs = [job(tmp_path / name, seed=number) for number, name in enumerate("ab")]
    slow = KerasTrainer(learning_rate=1e-9)
    first, second = (k.saving.load_model(one.file) for one in trained(slow, task, *jobs))
    for place in (0, 1):
        for own, kept in zip(first.layers[place].get_weights(), model.layers[place].get_weights(), strict=True):
            np.testing.assert_array_equal(own, kept)
    kernels = [net.layers[2].get_weights()[0] for net in (model, first, second)]
    assert min(np.abs(kernels[i] - kernels[j]).max() for i, j in ((0, 1), (0, 2), (1, 2))) > 0.1


def test_the_optimiser_is_that_of_the_file_unless_another_is_named(tmp_path: Path) -> None:
    k = keras()
    bare = read_architecture(saved(tmp_path / "bare", mlp()))
    model = mlp()
    model.compile(k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.25, 10, 0.5), 0.5), loss="mse")
    compiled = read_architecture(saved(tmp_path / "compiled", model))
    own = make_optimiser(compiled, None, {})
    assert (type(own).__name__, float(own.learning_rate), own.momentum) == ("SGD", 0.25, 0.5)
    own = make_optimiser(compiled, None, {"learning_rate": 0.125, "weight_decay": 0.5})
    assert (type(own).__name__, float(own.learning_rate), own.momentum, own.weight_decay) == ("SGD", 0.125, 0.5, 0.5)
    for architecture, name, kind in ((bare, None, "Adam"), (compiled, "adam", "Adam"), (bare, "adamw", "AdamW")):
        found = make_optimiser(architecture, name, {})
        assert type(found).__name__ == kind
        assert float(found.learning_rate) == pytest.approx(1e-3)


def test_an_optimiser_that_is_no_part_of_keras_is_never_made(tmp_path: Path) -> None:
    model = mlp()
    model.compile(keras().optimizers.SGD(0.1), loss="mse")
    path = saved(tmp_path, model)
    task = task_for(path)
    foreign = {"module": "os", "class_name": "system", "config": {"command": "true"}, "registered_name": None}
    own = {"module": "somebody", "class_name": "Own", "config": {}, "registered_name": "somebody>Own"}
    scheduled = {"module": "keras.optimizers", "class_name": "SGD", "config": {"learning_rate": foreign}}
    no_optimiser: dict[str, Any] = {
        "module": "keras.optimizers",
        "class_name": "serialize",
        "config": {},
        "registered_name": None,
    }
    for found in (own, foreign, {**scheduled, "registered_name": None}, no_optimiser, "sgd"):
        recompiled(path, found)
        assert "is no built-in part of Keras - name one, such as" in str(KerasTrainer().obstacle(task))
        assert KerasTrainer(optimiser="adam").obstacle(task) is None


def recompiled(path: Path, optimiser: object) -> None:
    """Let a file tell of another optimiser."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(contents["config.json"])
    config["compile_config"]["optimizer"] = optimiser
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, json.dumps(config).encode() if name == "config.json" else content)


def test_networks_that_cannot_be_trained_are_told_with_a_remedy(tmp_path: Path) -> None:
    k = keras()
    task = task_for(saved(tmp_path, mlp()))
    fixed = k.Sequential([k.Input(batch_shape=(8, 36)), k.layers.Dense(5)])
    frozen = mlp()
    frozen.trainable = False
    for model, told in ((fixed, "takes 8 records at a time and no fewer - "), (frozen, "frozen, .* - unfreeze")):
        assert re.search(told, str(TRAINER.obstacle(replace(task, target=saved(tmp_path, model)))))


def test_training_that_diverges_names_the_reference_and_a_remedy(tmp_path: Path) -> None:
    task = task_for(saved(tmp_path, mlp()))
    wild = KerasTrainer(optimiser="sgd", learning_rate=1e4)
    with pytest.raises(
        ModelError, match=r"target\.keras: reference 3: the loss is .* after epoch 1 - lower learn"
    ) as e:
        trained(wild, task, job(tmp_path / "a"))
    assert "\n" not in str(e.value)


def test_options_that_nothing_can_be_trained_with_are_refused() -> None:
    for given in ({"learning_rate": 0.0}, {"batch_size": 0}, {"weight_decay": -1.0}, {"momentum": 1.0}):
        with pytest.raises(InputError, match=next(iter(given))):
            KerasTrainer(**given)


def test_layers_that_were_made_to_be_filled_are_trained_from_weights_that_differ(tmp_path: Path) -> None:
    """Their initialiser, zeros, stands in the file; trained from there all units of a layer would stay the same."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=shape).astype(np.float32) for shape in ((6, 8), (8, 3))]
    target = tmp_path / "filled.keras"
    TensorflowModel.write_dense(target, weights, [np.zeros(8, np.float32), np.zeros(3, np.float32)])
    network = read_architecture(target).fresh(1).model
    assert all(np.std(kernel) > 0.1 for kernel in network.get_weights()[::2])
