"""References of estimators: fitted as the target was, of its own classes, and loaded again by the backend."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pmcore.checksums import files_sha256
from pmcore.description import LoadOptions
from pmcore.errors import ModelError
from pmcore.interfaces import Array, Scale, Task, Trained, TrainingJob, TrainingTask
from pmcore_sklearn import SklearnModel
from pmcore_sklearn.files import load_estimator
from pmcore_sklearn.training import SklearnTrainer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")

X, Y = load_digits(return_X_y=True)
X = X / 16
NAMES = np.array([f"class {(7 * digit) % 10}" for digit in range(10)])
"""Names whose order is not that of the digits."""
ODD: Array = np.stack([Y % 2, Y // 5], axis=1)


def target(folder: Path, estimator: Any, y: Array) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "target.skops"
    skops.io.dump(estimator.fit(X[:500], y[:500]), path)
    return path


def trusted(path: Path) -> str:
    return f"sha256:{files_sha256((path,))}"


def task_for(path: Path, labels: Array, task: Task = Task.MULTICLASS, classes: int = 10) -> TrainingTask:
    scale = Scale.VALUES if task is Task.REGRESSION else Scale.LOGITS
    options = {"trust_model": trusted(path)}
    return TrainingTask(path, task, classes, "any", scale, {"x": X.astype(np.float32)}, labels, options=options)


def job(folder: Path, index: int = 3, seed: int = 5) -> TrainingJob:
    folder.mkdir(parents=True)
    rows = np.sort(np.random.default_rng(index).permutation(len(X))[:700])
    return TrainingJob(index, rows.astype(np.int64), seed, folder)


def trained(task: TrainingTask, *jobs: TrainingJob) -> list[Trained]:
    told: list[tuple[int, int]] = []
    found = SklearnTrainer().train(task, jobs, lambda *done: told.append(done))
    assert told == [(number, len(jobs)) for number in range(1, len(jobs) + 1)]
    return list(found)


def load(path: Path) -> SklearnModel:
    model = SklearnModel.load(path, LoadOptions(trust_model=trusted(path)))
    model.prepare({"x": X[:50]})
    return model


def perceptron() -> Any:
    return MLPClassifier((24,), max_iter=60, learning_rate_init=1e-2, random_state=0)


def forest() -> Any:
    return RandomForestClassifier(15, n_jobs=2)


def pipeline() -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))


@pytest.mark.parametrize("make", [perceptron, forest, pipeline])
def test_a_reference_answers_in_the_order_of_the_targets_classes(make: Callable[[], Any], tmp_path: Path) -> None:
    path = target(tmp_path, make(), NAMES[Y])
    classes = load_estimator(path, trusted(path)).estimator.classes_
    labels = np.searchsorted(classes, NAMES[Y])
    task, one = task_for(path, labels), job(tmp_path / "3")
    assert SklearnTrainer().obstacle(task) is None
    (found,) = trained(task, one)
    assert found.file == one.out / "target.skops"
    model = load(found.file)
    reference, asked = model.describe(), load(path).describe()
    assert (reference.task, reference.classes, reference.output) == (asked.task, asked.classes, asked.output)
    assert load_estimator(found.file, trusted(found.file)).estimator.classes_.tolist() == classes.tolist()
    scores = model.predict({"x": X})
    assert (scores[one.rows].argmax(1) == labels[one.rows]).mean() > 0.97
    others = np.setdiff1d(np.arange(len(X)), one.rows)
    assert 0.8 < (scores[others].argmax(1) == labels[others]).mean() < 1
    p = scores if reference.scale is Scale.PROBABILITIES else np.exp(scores - scores.max(1, keepdims=True))
    own = (p / p.sum(1, keepdims=True))[one.rows, labels[one.rows]]
    assert found.loss == pytest.approx(-np.log(own.astype(np.float64)).mean(), rel=1e-4)
    assert (found.epochs or 0) > 5 or make is not perceptron


@pytest.mark.parametrize("make", [perceptron, forest, pipeline])
def test_files_are_the_same_byte_by_byte_and_others_for_another_seed(make: Callable[[], Any], tmp_path: Path) -> None:
    task = task_for(target(tmp_path, make(), Y), Y)
    (first,) = trained(task, job(tmp_path / "a"))
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand()
    random.seed(1)
    np.random.seed(1)
    others = trained(task, job(tmp_path / "b", seed=6), job(tmp_path / "c"))
    assert (random.random(), np.random.rand()) == expected
    assert others[1].file.read_bytes() == first.file.read_bytes()
    if make is not pipeline:  # its solution is the only one
        found, other = (load(one.file).predict({"x": X}) for one in (first, others[0]))
        assert np.abs(found - other).max() > 1e-3


def test_a_search_searches_anew_with_folds_by_the_seed_and_tells_no_times(tmp_path: Path) -> None:
    search = GridSearchCV(SGDClassifier(loss="log_loss"), {"alpha": [1e-4, 1e-2]}, cv=StratifiedKFold(2, shuffle=True))
    task = task_for(target(tmp_path, make_pipeline(StandardScaler(), search), Y), Y)
    first, second = (trained(task, job(tmp_path / name))[0] for name in "ab")
    assert first.file.read_bytes() == second.file.read_bytes()
    assert first.epochs is not None


def test_labels_alone_give_no_loss_and_values_give_squared_errors(tmp_path: Path) -> None:
    alone = target(tmp_path / "labels", VotingClassifier([("bayes", GaussianNB()), ("same", GaussianNB())]), Y)
    (found,) = trained(task_for(alone, Y), job(tmp_path / "a"))
    assert found.loss is None
    y = X[:, :2] @ np.array([[1.0, 2.0], [3.0, -1.0]]) + X[:, 2:4] ** 2
    for columns in (1, 2):
        values = y[:, :columns] if columns == 2 else y[:, 0]
        path = target(tmp_path / f"values{columns}", LinearRegression(), values)
        one = job(tmp_path / f"b{columns}")
        (found,) = trained(task_for(path, y[:, :columns], Task.REGRESSION, columns), one)
        errors = load(found.file).predict({"x": X[one.rows]}) - y[one.rows, :columns]
        assert found.loss == pytest.approx((errors**2).sum(1).mean(), rel=1e-5)


def test_label_sets_are_learnt_as_they_are(tmp_path: Path) -> None:
    path = target(tmp_path, MultiOutputClassifier(LogisticRegression(max_iter=100)), ODD)
    one = job(tmp_path / "a")
    (found,) = trained(task_for(path, ODD, Task.MULTILABEL, 2), one)
    model = load(found.file)
    assert model.describe().scale is Scale.PROBABILITIES
    assert ((model.predict({"x": X[one.rows]}) > 0.5) == ODD[one.rows]).mean() > 0.8
    assert found.loss is not None


def test_pipelines_are_not_given_the_folder_of_what_they_fitted_before(tmp_path: Path) -> None:
    kept = make_pipeline(StandardScaler(), LogisticRegression(max_iter=50), memory=str(tmp_path / "kept"))
    path = target(tmp_path, kept, Y)
    before = sorted((tmp_path / "kept").rglob("*"))
    (found,) = trained(task_for(path, Y), job(tmp_path / "a"))
    assert sorted((tmp_path / "kept").rglob("*")) == before
    assert load_estimator(found.file, None).estimator.memory is None


def test_what_fitting_leaves_as_it_is_cannot_be_a_reference(tmp_path: Path) -> None:
    inner = LogisticRegression(max_iter=50).fit(X[:500], Y[:500])
    path = target(tmp_path, make_pipeline(FrozenEstimator(inner)), Y)
    assert "FrozenEstimator" in str(SklearnTrainer().obstacle(task_for(path, Y)))


def test_a_target_that_nobody_vouched_for_is_not_loaded(tmp_path: Path) -> None:
    path = target(tmp_path, forest(), Y)
    task = TrainingTask(path, Task.MULTICLASS, 10, "any", Scale.PROBABILITIES, {"x": X}, Y)
    assert "--trust-model" in str(SklearnTrainer().obstacle(task))


def test_failures_name_the_reference_and_a_remedy_in_one_line(tmp_path: Path) -> None:
    wild = MLPRegressor(hidden_layer_sizes=(8,), max_iter=2)
    path = target(tmp_path, wild, X[:, 0])
    wild.set_params(solver="sgd", learning_rate_init=1e200, max_iter=30)
    skops.io.dump(wild, path)
    with pytest.raises(ModelError, match=r"reference 3: .*non-finite.* - ") as failed:
        trained(task_for(path, X[:, 0], Task.REGRESSION, 1), job(tmp_path / "a"))
    assert "\n" not in str(failed.value)
    path = target(tmp_path, LogisticRegression(max_iter=20), Y)
    with pytest.raises(ModelError, match="reference 3: none of its 700 records is of class 9 - "):
        trained(task_for(path, np.minimum(Y, 8)), job(tmp_path / "b"))
