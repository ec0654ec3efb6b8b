"""Estimators in `.skops` files: what is trusted, what is refused before anything of it runs, and the promises."""

from __future__ import annotations

import functools
import json
import operator
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from pmcore.checksums import files_sha256
from pmcore.description import LoadOptions
from pmcore.errors import InputError, ModelError, UntrustedError
from pmcore.interfaces import Array, Model, Scale, Task
from pmcore.testing import parametrize_with_checks
from pmcore_sklearn import SklearnModel
from tests.core.command import run_here

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")

DIGITS = load_digits()
X = DIGITS.data[:400] / 16
Y = DIGITS.target[:400]
INPUTS = {"x": X[:40]}


@parametrize_with_checks([SklearnModel])
def test_the_backend_keeps_every_promise(plugin: type[Model], check: Callable[[type[Model]], None]) -> None:
    check(plugin)


def saved(path: Path, estimator: Any) -> Path:
    skops.io.dump(estimator.fit(X, Y), path)
    return path


def load(path: Path, **options: Any) -> SklearnModel:
    return SklearnModel.load(path, LoadOptions(**options))


def vouch(path: Path) -> str:
    return f"sha256:{files_sha256([path])}"


TRUSTED = {
    "logistic": LogisticRegression(),
    "perceptron": MLPClassifier((8,), max_iter=5),
    "perceptron by another solver": MLPClassifier((8,), max_iter=5, solver="sgd"),
    "bayes": GaussianNB(),
    "pipeline": make_pipeline(StandardScaler(), SVC()),
    "calibrated": CalibratedClassifierCV(LinearSVC(), cv=2),
    "search": GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2),
    "numpy function": make_pipeline(FunctionTransformer(np.log1p), LogisticRegression()),
    "regressor": Ridge(),
}


@pytest.mark.parametrize("name", TRUSTED)
def test_what_holds_nothing_but_numbers_is_loaded_and_answers_as_in_memory(name: str, tmp_path: Path) -> None:
    estimator = TRUSTED[name]
    from_file = load(saved(tmp_path / "model.skops", estimator))
    in_memory = SklearnModel.wrap(estimator, LoadOptions())
    for model in (from_file, in_memory):
        model.prepare(INPUTS)
    np.testing.assert_array_equal(from_file.predict(INPUTS), in_memory.predict(INPUTS))
    assert from_file.describe() == in_memory.describe()


@pytest.mark.parametrize("estimator", [RandomForestClassifier(3), HistGradientBoostingClassifier(max_iter=2)])
def test_trees_are_loaded_only_for_who_vouches_for_them(estimator: Any, tmp_path: Path) -> None:
    path = saved(tmp_path / "model.skops", estimator)
    with pytest.raises(UntrustedError, match=r"holds decision trees, .*--trust-model sha256:") as caught:
        load(path)
    assert "\n" not in str(caught.value)
    model = load(path, trust_model=vouch(path))
    model.prepare(INPUTS)
    assert any("somebody vouched for" in note for note in model.describe().notes)
    assert model.predict(INPUTS).shape == (40, 10)
    with pytest.raises(UntrustedError, match="not the one that was trusted"):
        load(path, trust_model=f"sha256:{'0' * 64}")


MARKER = "marker"


class Planted:
    """An estimator, somebody's own, that writes a file when it is made."""

    def __init__(self) -> None:
        self.classes_ = [0, 1]

    def __setstate__(self, state: dict[str, Any]) -> None:
        Path(MARKER).touch()

    def predict(self, x: Array) -> Array:
        return np.zeros(len(x))


def touch(x: Array) -> Array:
    Path(MARKER).touch()
    return x


def with_function(function: Any) -> Any:
    pipeline = make_pipeline(FunctionTransformer(), LogisticRegression()).fit(X, Y)
    pipeline.steps[0][1].func = function
    return pipeline


def forged(path: Path) -> None:
    """Write a file that names a function of numpy that runs text in place of a harmless one."""
    skops.io.dump(with_function(np.log1p), path)
    harmless = '"__class__": "log1p",\n'
    with zipfile.ZipFile(path) as archive:
        assert harmless in archive.read("schema.json").decode()

    def change(text: str) -> str:
        before, _, after = text.partition(harmless)
        return before + '"__class__": "runstring",\n' + after.replace('"numpy"', '"numpy.testing"', 1)

    rewrite(path, change)


def rewrite(path: Path, change: Callable[[str], str]) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["schema.json"] = change(content["schema.json"].decode()).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, piece in content.items():
            archive.writestr(name, piece)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "an object of its own": lambda path: skops.io.dump(Planted(), path),
    "a function": lambda path: skops.io.dump(with_function(touch), path),
    "a partial function": lambda path: skops.io.dump(
        with_function(functools.partial(os.system, f"touch {MARKER}")), path
    ),
    "a getter of attributes": lambda path: skops.io.dump(with_function(operator.attrgetter("tofile")), path),
    "a caller of methods": lambda path: skops.io.dump(with_function(operator.methodcaller("tofile", MARKER)), path),
    "a bound method": lambda path: skops.io.dump(with_function(GaussianNB().fit(X, Y).predict), path),
    "a function of numpy that runs text": forged,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_with_exit_3_in_one_line_and_leaves_no_marker(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    HOSTILE[name](tmp_path / "model.skops")
    np.savez(tmp_path / "records.npz", x=X, y=Y)
    roles = ("--members", "records.npz", "--non-members", "records.npz")
    for command in (("inspect", "model.skops"), ("audit", "model.skops", *roles)):
        ended = run_here(capsys, *command)
        assert ended.code == 3, ended.err
        (line,) = ended.complaints
        assert "model.skops: holds " in line
        assert "which can run code" in line
        assert "--trust-model sha256:" in line
    assert not (tmp_path / MARKER).exists()


MACHINES: dict[str, Any] = {
    "few weights": {"_dual_coef_": np.zeros((1, 1))},
    "few vectors": {"support_vectors_": np.zeros((1, 6))},
    "no offsets": {"_intercept_": np.zeros(0)},
    "more classes": {"_n_support": np.ones(400, np.int32), "support_vectors_": np.zeros((400, 6))},
    "negative counts": {"_n_support": np.array([-5, 5], np.int32)},
}


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("name", MACHINES)
def test_support_vectors_that_do_not_fit_each_other_are_refused(name: str, nested: bool, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6))
    machine = SVC().fit(x, x[:, 0] > 0)
    vars(machine).update(MACHINES[name])
    path = tmp_path / "model.skops"
    skops.io.dump(make_pipeline(FunctionTransformer(), machine) if nested else machine, path)
    with pytest.raises(InputError, match="support vectors do not fit each other"):
        load(path)


@pytest.mark.parametrize("kernel", ["linear", "rbf", "precomputed"])
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_support_vectors_that_were_fitted_pass(kernel: str, classes: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6))
    path = tmp_path / "model.skops"
    given = x @ x.T if kernel == "precomputed" else x
    skops.io.dump(SVC(kernel=kernel).fit(given, rng.integers(0, classes, 60)), path)
    assert load(path).describe().classes == classes


def test_that_marker_would_be_left_by_who_vouches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.skops"
    HOSTILE["a function"](path)
    load(path, trust_model=vouch(path)).predict(INPUTS)
    assert (tmp_path / MARKER).exists()


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.skops"])
def test_a_pickle_is_refused_under_any_name_with_advice(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(GaussianNB().fit(X, Y)))
    ended = run_here(capsys, "inspect", "--backend", "sklearn", tmp_path / name)
    assert ended.code == 3
    assert "is a Python pickle, which can run code when loaded; save the estimator with skops.io.dump" in ended.err


def test_a_packed_pickle_of_joblib_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "model.joblib").write_bytes(zlib.compress(pickle.dumps(GaussianNB().fit(X, Y))))  # as joblib packs
    with pytest.raises(UntrustedError, match="is a Python pickle"):
        load(tmp_path / "model.joblib")


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", " " * 2**27)


def echo(path: Path) -> None:
    """Name one member very often: each time, it is read anew."""
    saved(path, GaussianNB())

    def change(text: str) -> str:
        schema = json.loads(text)
        schema["more"] = [{"file": "big.npy"}] * 400
        return json.dumps(schema)

    rewrite(path, change)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("big.npy", np.random.default_rng(0).bytes(2**20))


def nested(path: Path) -> None:
    """Hide a bomb in an archive within the archive."""
    estimator = LogisticRegression().fit(X, Y)
    estimator.coef_ = sparse.csr_matrix((10, 2**24), dtype=np.float64)
    estimator.coef_.indptr = np.zeros(2**24 + 1, dtype=np.int64)
    skops.io.dump(estimator, path)


@pytest.mark.parametrize("make", [bomb, echo, nested])
def test_what_would_fill_the_memory_is_refused_before_it_is_unpacked(
    make: Callable[[Path], None], tmp_path: Path
) -> None:
    make(tmp_path / "model.skops")
    with pytest.raises(InputError, match=r"would unpack from .* bytes, which is refused"):
        load(tmp_path / "model.skops")


def deep(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("schema.json", "[" * 10**5)


def foreign(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")


def incomplete(path: Path) -> None:
    saved(path, GaussianNB())
    rewrite(path, lambda text: text.replace('"theta_"', '"thaw_"'))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (deep, "model.skops: .*save"),
        (foreign, "without schema.json"),
        (incomplete, "model.skops"),
        (lambda path: saved(path, StandardScaler()), "StandardScaler does not predict"),
        (lambda path: skops.io.dump([1, 2], path), "list does not predict"),
    ],
)
def test_other_archives_are_refused_in_one_line(make: Callable[[Path], object], words: str, tmp_path: Path) -> None:
    make(tmp_path / "model.skops")
    with pytest.raises((InputError, ModelError), match=words) as caught:
        load(tmp_path / "model.skops").predict(INPUTS)
    assert "\n" not in str(caught.value)


def test_a_file_from_another_scikit_learn_says_so(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.skops", GaussianNB())
    rewrite(path, lambda text: text.replace(f'\\"{sklearn_version()}\\"', '\\"1.2.0\\"'))
    assert any("1.2.0" in note for note in load(path).describe().notes)


def sklearn_version() -> str:
    import sklearn

    return str(sklearn.__version__)


def test_an_archive_of_skops_is_known_under_any_name_and_records_are_not(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.zip", GaussianNB())
    np.savez(tmp_path / "records.npz", x=X)
    for file, ours in ((path, True), (tmp_path / "records.npz", False)):
        assert SklearnModel.recognises(file, file.read_bytes()[:4096]) is ours


@pytest.mark.parametrize("widths", [(5, 4), (5, 7, 4), (5, 7, 6, 3), (5, 2), (5, 7, 2)])
def test_a_dense_network_is_read_back_to_its_logits(widths: tuple[int, ...], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=pair) for pair in pairwise(widths)]
    biases = [rng.normal(size=width) for width in widths[1:]]
    SklearnModel.write_dense(tmp_path / "model.skops", weights, biases)
    model = load(tmp_path / "model.skops")
    x = rng.normal(size=(20, 5))
    model.prepare({"x": x})
    z = x
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        z = np.maximum(z @ weight + bias, 0)
    z = z @ weights[-1] + biases[-1]
    two = widths[-1] == 2
    assert_allclose(model.predict({"x": x}), z[:, 1:] - z[:, :1] if two else z, atol=1e-12)
    told = model.describe()
    assert (told.task, told.scale) == (Task.BINARY if two else Task.MULTICLASS, Scale.LOGITS)


def test_fewer_than_two_classes_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two classes or more"):
        SklearnModel.write_dense(tmp_path / "model.skops", [np.ones((3, 1))], [np.ones(1)])


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [make_pipeline(StandardScaler(), LinearSVC()), RandomForestClassifier(10)])
def test_the_command_line_audits_a_file(estimator: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = np.where(np.random.default_rng(0).random(len(DIGITS.target)) < 0.2, 0, DIGITS.target)
    skops.io.dump(estimator.fit(DIGITS.data[:400], noisy[:400]), tmp_path / "model.skops")
    np.savez(tmp_path / "a.npz", x=DIGITS.data[:400], y=noisy[:400])
    np.savez(tmp_path / "b.npz", x=DIGITS.data[400:], y=noisy[400:])
    trust = ("--trust-model", vouch(tmp_path / "model.skops")) if isinstance(estimator, RandomForestClassifier) else ()
    roles = ("--members", tmp_path / "a.npz", "--non-members", tmp_path / "b.npz")
    ended = run_here(capsys, "audit", tmp_path / "model.skops", *roles, "--json", *trust)
    assert (ended.code, ended.err) == (0, "")
    report = json.loads(ended.out)
    assert report["model"]["backend"] == "sklearn"
    assert report["attacks"]["population"]["auc"]["value"] > 0.55
