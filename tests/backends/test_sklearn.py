"""Estimators of scikit-learn: which answer is read, that it means what `predict_proba` means, and whole audits."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import (
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    VotingClassifier,
)
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Perceptron, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from pmcore import Audit
from pmcore.backend import wrap_model
from pmcore.description import LoadOptions
from pmcore.errors import AuditError, InputError, ModelError, OutOfMemory
from pmcore.installed import PluginPolicy
from pmcore.interfaces import Array, Floats, Outputs, Scale, Task
from pmcore_sklearn import SklearnModel

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::FutureWarning")

DIGITS = load_digits()
X: Floats = DIGITS.data[:500] / 16
Y = DIGITS.target[:500]
LABELS = np.stack([Y % 2, Y > 4, Y % 3 == 0], axis=1).astype(np.int64)


def wrapped(estimator: Any, y: Array = Y, **options: Any) -> SklearnModel:
    model = SklearnModel.wrap(estimator.fit(X, y), LoadOptions(**options))
    model.prepare({"x": X[:32]})
    return model


def network() -> MLPClassifier:
    return MLPClassifier((12,), activation="tanh", max_iter=15, random_state=0)


LOGITS = {
    "logistic": (LogisticRegression(), "decision_function"),
    "discriminant": (LinearDiscriminantAnalysis(), "decision_function"),
    "quadratic": (QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.5), "decision_function"),
    "boosting": (GradientBoostingClassifier(n_estimators=2), "decision_function"),
    "histogram boosting": (HistGradientBoostingClassifier(max_iter=2), "decision_function"),
    "perceptron": (network(), "logits"),
    "perceptron in a search in a pipeline": (
        make_pipeline(StandardScaler(), GridSearchCV(network(), {"alpha": [0.1, 1.0]}, cv=2)),
        "logits",
    ),
    "gaussian naive Bayes": (GaussianNB(var_smoothing=0.1), "predict_log_proba"),
    "bernoulli naive Bayes": (BernoulliNB(binarize=0.5), "predict_log_proba"),
    "stochastic, with log loss": (SGDClassifier(loss="log_loss", random_state=0), "log_sigmoid"),
    "one against the rest": (OneVsRestClassifier(LogisticRegression()), "log_sigmoid"),
}


@pytest.mark.parametrize("name", LOGITS)
def test_the_softmax_of_logits_is_what_the_estimator_answers(name: str) -> None:
    estimator, output = LOGITS[name]
    model = wrapped(estimator)
    told = model.describe()
    assert (told.output, told.task, told.classes, told.scale) == (output, Task.MULTICLASS, 10, Scale.LOGITS)
    assert told.pre_softmax
    assert not told.resolution_limited
    np.testing.assert_allclose(
        softmax(model.predict({"x": X}), axis=1), estimator.predict_proba(X), rtol=1e-6, atol=1e-12
    )


BINARY = {
    "logistic": (LogisticRegression(), "decision_function"),
    "perceptron": (network(), "logits"),
    "boosting": (GradientBoostingClassifier(n_estimators=2), "decision_function"),
    "stochastic, with log loss": (SGDClassifier(loss="log_loss", random_state=0), "decision_function"),
}


@pytest.mark.parametrize("name", BINARY)
def test_of_two_classes_one_column_is_read(name: str) -> None:
    estimator, output = BINARY[name]
    model = wrapped(estimator, Y > 4)
    z = model.predict({"x": X})
    assert z.shape == (500, 1)
    assert (model.describe().output, model.describe().task, model.describe().classes) == (output, Task.BINARY, 2)
    np.testing.assert_allclose(expit(z[:, 0]), estimator.predict_proba(X)[:, 1], rtol=1e-6, atol=1e-12)


PROBABILITIES = {
    "forest": RandomForestClassifier(5, random_state=0),
    "neighbours": KNeighborsClassifier(),
    "calibrated": CalibratedClassifierCV(LinearSVC(), cv=2),
    "vote": VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], voting="soft"),
    "boosting with exponential loss": GradientBoostingClassifier(loss="exponential", n_estimators=2),
}


@pytest.mark.parametrize("name", PROBABILITIES)
def test_where_nothing_is_behind_them_probabilities_are_read_and_the_report_says_so(name: str) -> None:
    estimator = PROBABILITIES[name]
    y = Y > 4 if "exponential" in name else Y
    model = wrapped(estimator, y)
    told = model.describe()
    assert (told.output, told.scale, told.resolution_limited) == ("predict_proba", Scale.PROBABILITIES, True)
    np.testing.assert_array_equal(model.predict({"x": X}), estimator.predict_proba(X))
    losses = Outputs(told.task, told.scale, y.astype(np.int64), model.predict({"x": X})).rescaled_logit
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("estimator", [LinearSVC(), RidgeClassifier(), SGDClassifier(random_state=0), SVC()])
@pytest.mark.parametrize("two", [False, True])
def test_margins_are_read_where_there_are_no_probabilities(estimator: Any, two: bool) -> None:
    model = wrapped(estimator, Y > 4 if two else Y)
    told = model.describe()
    assert (told.output, told.scale, told.pre_softmax) == ("decision_function", Scale.LOGITS, False)
    assert any("margins" in note for note in told.notes)
    expected = estimator.decision_function(X)
    np.testing.assert_array_equal(model.predict({"x": X}), expected.reshape(len(X), -1))


@pytest.mark.parametrize(
    "estimator",
    [
        VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())]),
        SVC(decision_function_shape="ovo"),
    ],
)
def test_labels_alone_are_read_as_shares_of_zero_and_one(estimator: Any) -> None:
    model = wrapped(estimator)
    told = model.describe()
    assert (told.output, told.scale, told.resolution_limited) == ("predict", Scale.PROBABILITIES, True)
    assert any("labels alone" in note for note in told.notes)
    np.testing.assert_array_equal(model.predict({"x": X}).argmax(axis=1), estimator.predict(X))
    np.testing.assert_array_equal(model.predict({"x": X}).sum(axis=1), 1.0)


MULTILABEL = {
    "perceptron": (network(), "logits"),
    "one against the rest": (OneVsRestClassifier(LogisticRegression()), "decision_function"),
    "chain": (ClassifierChain(LogisticRegression()), "decision_function"),
    "forest": (RandomForestClassifier(5, random_state=0), "predict_proba"),
    "neighbours": (KNeighborsClassifier(), "predict_proba"),
    "one estimator per label": (MultiOutputClassifier(LogisticRegression()), "predict_proba"),
}


@pytest.mark.parametrize("name", MULTILABEL)
def test_several_labels_at_once_are_one_share_each(name: str) -> None:
    estimator, output = MULTILABEL[name]
    model = wrapped(estimator, LABELS)
    told = model.describe()
    assert (told.task, told.classes, told.output) == (Task.MULTILABEL, 3, output)
    shares = estimator.predict_proba(X)
    expected = np.stack([p[:, 1] for p in shares], axis=1) if isinstance(shares, list) else shares
    found = model.predict({"x": X})
    np.testing.assert_allclose(expit(found) if told.scale is Scale.LOGITS else found, expected, rtol=1e-6, atol=1e-12)


def test_a_label_that_nobody_had_is_no_share_at_all() -> None:
    model = wrapped(KNeighborsClassifier(), np.stack([Y % 2, np.zeros_like(Y), np.ones_like(Y)], axis=1))
    np.testing.assert_array_equal(model.predict({"x": X})[:, 1:], np.tile([0.0, 1.0], (500, 1)))


@pytest.mark.parametrize("targets", [1, 3])
def test_regressors_answer_with_values(targets: int) -> None:
    y = (Y * 1.5) if targets == 1 else np.stack([Y, Y + 1.0, -Y], axis=1)
    for estimator in (
        Ridge(),
        MLPRegressor(hidden_layer_sizes=(5,), max_iter=5),
        make_pipeline(StandardScaler(), Ridge()),
    ):
        model = wrapped(estimator, y)
        told = model.describe()
        assert (told.task, told.scale, told.classes) == (Task.REGRESSION, Scale.VALUES, targets)
        np.testing.assert_array_equal(model.predict({"x": X}), estimator.predict(X).reshape(500, targets))


def test_classes_with_names_are_counted_by_position_and_the_report_says_so() -> None:
    names = np.array(["cat", "dog", "eel\n"])
    told = wrapped(LogisticRegression(), names[Y % 3]).describe()
    assert told.notes == ("Classes are counted by position: 'cat' = 0, 'dog' = 1, 'eel\\n' = 2.",)
    assert "-4 = 0, -1 = 1" in wrapped(LogisticRegression(), Y * 3 - 4).describe().notes[0]
    assert wrapped(LogisticRegression()).describe().notes == ()


def test_the_description_says_what_runs() -> None:
    import sklearn

    told = wrapped(make_pipeline(StandardScaler(), LogisticRegression())).describe()
    assert (told.runtime, told.device, told.precision) == (f"scikit-learn {sklearn.__version__}", "CPU", "float64")
    assert [str(spec) for spec in told.inputs] == ["x float64 [batch,64]"]
    assert told.properties == {"estimator": "Pipeline(StandardScaler, LogisticRegression)"}


def test_an_output_may_be_chosen_by_name() -> None:
    model = wrapped(LogisticRegression(), output="predict_proba")
    assert model.describe().scale is Scale.PROBABILITIES
    with pytest.raises(InputError, match=r"no output 'z' that can be read; it has decision_function, .*predict_proba"):
        wrapped(LogisticRegression(), output="z")


@pytest.mark.parametrize(
    ("estimator", "words"),
    [
        (LogisticRegression(), "LogisticRegression is not fitted"),
        (make_pipeline(StandardScaler(), Ridge()), "Pipeline is not fitted"),
        (LogisticRegression, "LogisticRegression is a class"),
        (StandardScaler().fit(X), "StandardScaler does not predict"),
        (IsolationForest(n_estimators=2).fit(X), "neither a classifier nor a regressor"),
        (RandomForestClassifier(2).fit(X, np.stack([Y, Y], axis=1)), "several outputs of several classes"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(estimator: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        SklearnModel.wrap(estimator, LoadOptions())
    assert "\n" not in str(caught.value)


def test_a_task_that_does_not_fit_is_refused() -> None:
    for estimator, task in ((LogisticRegression(), Task.REGRESSION), (Ridge(), Task.MULTICLASS)):
        with pytest.raises(InputError, match=f"task {task} does not fit"):
            wrapped(estimator, task=task)
    assert wrapped(GaussianNB(), Y > 4, task=Task.BINARY).describe().task is Task.BINARY


class Duck:
    """An estimator that knows nothing of scikit-learn, and fails on request."""

    def __init__(self) -> None:
        self.classes_ = np.arange(3)
        self.failure: Exception | None = None

    def get_params(self) -> dict[str, Any]:
        return {}

    def fit(self, x: Array, y: Array) -> Duck:
        return self

    def predict(self, x: Array) -> Array:
        best: Array = self.predict_proba(x).argmax(axis=1)
        return best

    def predict_proba(self, x: Array) -> Array:
        if self.failure is not None:
            raise self.failure
        shares: Array = softmax(x[:, :3].astype(np.float32), axis=1)
        return shares


def test_what_only_looks_like_an_estimator_is_taken_too() -> None:
    loaded = wrap_model(Duck(), PluginPolicy())
    assert loaded.plugin.name == "sklearn"
    loaded.model.prepare({"x": X[:32]})
    told = loaded.model.describe()
    assert (told.task, told.classes, told.output) == (Task.MULTICLASS, 3, "predict_proba")
    assert loaded.model.predict({"x": X}).dtype == np.float32


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (MemoryError("too much"), OutOfMemory),
        (NotFittedError("fit me"), InputError),
        (KeyError("a\nb"), ModelError),
    ],
)
def test_failures_are_one_line_of_the_right_kind(failure: Exception, kind: type[AuditError]) -> None:
    duck = Duck()
    model = SklearnModel.wrap(duck, LoadOptions())
    duck.failure = failure
    with pytest.raises(kind) as caught:
        model.predict({"x": X})
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


def test_an_estimator_is_never_changed() -> None:
    for estimator in (network(), RandomForestClassifier(3), make_pipeline(StandardScaler(), SVC()), GaussianNB()):
        model = wrapped(estimator)
        before = model.sha256()
        assert before is not None
        model.predict({"x": X})
        assert model.sha256() == before
        assert SklearnModel.wrap(estimator, LoadOptions()).sha256() == before


def test_estimators_that_compute_otherwise_have_another_sha256() -> None:
    one, other = LogisticRegression().fit(X, Y), LogisticRegression().fit(X, Y)
    same = SklearnModel.wrap(one, LoadOptions()).sha256()
    assert same == SklearnModel.wrap(other, LoadOptions()).sha256()
    other.coef_ = np.nextafter(other.coef_, np.inf)
    assert same != SklearnModel.wrap(other, LoadOptions()).sha256()


def test_what_cannot_be_written_down_has_no_sha256() -> None:
    estimator = LogisticRegression().fit(X, Y)
    estimator.note_ = lambda: None
    assert SklearnModel.wrap(estimator, LoadOptions()).sha256() is None


def test_names_of_columns_are_not_asked_for() -> None:
    estimator = LogisticRegression().fit(X, Y)
    estimator.feature_names_in_ = np.array([f"pixel {i}" for i in range(64)], dtype=object)
    with pytest.warns(UserWarning, match="valid feature names"):
        estimator.predict(X)
    model = SklearnModel.wrap(estimator, LoadOptions())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.prepare({"x": X[:32]})
        model.predict({"x": X})


def test_a_record_that_is_not_finite_costs_the_others_nothing() -> None:
    estimator = LogisticRegression()
    model = wrapped(estimator)
    spoiled = X.copy()
    spoiled[7, 3] = np.nan
    found = model.predict({"x": spoiled})
    assert np.isnan(found[7]).all()
    others = np.arange(len(X)) != 7
    np.testing.assert_allclose(found[others], estimator.decision_function(X)[others], rtol=1e-12)
    with pytest.raises(ModelError, match="contains NaN"):
        model.predict({"x": spoiled[7:8]})


def test_records_of_another_width_are_refused_in_one_line() -> None:
    model = wrapped(LogisticRegression())
    for shape in ((3, 63), (3, 8, 8), (3,)):
        with pytest.raises(InputError, match=r"takes records of shape \[64\]"):
            model.predict({"x": np.zeros(shape)})


def test_threads_are_kept_to_and_given_back() -> None:
    from threadpoolctl import threadpool_info

    seen: list[int] = []

    class Watched(LogisticRegression):  # type: ignore[misc]
        def decision_function(self, x: Array) -> Array:
            seen.extend(pool["num_threads"] for pool in threadpool_info())
            found: Array = super().decision_function(x)
            return found

    before = threadpool_info()
    model = wrapped(Watched(), threads=1)
    model.predict({"x": X})
    assert set(seen) == {1}
    assert threadpool_info() == before


@pytest.mark.parametrize("options", [{"device": "cuda"}, {"threads": 0}])
def test_options_that_cannot_be_kept_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        wrapped(LogisticRegression(), **options)


def test_a_closed_model_answers_no_more() -> None:
    model = wrapped(LogisticRegression())
    model.close()
    with pytest.raises(AuditError, match="was closed"):
        model.predict({"x": X})


AUDITED = {
    "logistic": LogisticRegression(C=100.0),
    "forest": RandomForestClassifier(20, random_state=0),
    "perceptron": MLPClassifier((64,), max_iter=200, random_state=0),
    "pipeline with probabilities": make_pipeline(StandardScaler(), CalibratedClassifierCV(SVC(), ensemble=False)),
    "pipeline with margins": make_pipeline(StandardScaler(), LinearSVC()),
    "labels alone": Perceptron(),
}


def records(folder: Path, x: Array, y: Array, members: int) -> dict[str, str]:
    np.savez(folder / "members.npz", x=x[:members], y=y[:members])
    np.savez(folder / "others.npz", x=x[members:], y=y[members:])
    return {"members": str(folder / "members.npz"), "non_members": str(folder / "others.npz")}


@pytest.mark.slow
@pytest.mark.parametrize("name", AUDITED)
def test_whole_audits_of_classifiers(name: str, tmp_path: Path) -> None:
    x, y = DIGITS.data / 16, DIGITS.target
    noisy = np.where(np.random.default_rng(0).random(len(y)) < 0.2, (y + 3) % 10, y)
    estimator = AUDITED[name].fit(x[:400], noisy[:400])
    report = Audit(model=estimator, **records(tmp_path, x, noisy, 400)).run().report
    assert (report.valid, report.model.backend) == (True, "sklearn")
    auc = report.attacks["population"].auc.value
    assert auc is not None
    assert auc > (0.9 if name == "forest" else 0.5)


@pytest.mark.slow
def test_a_whole_audit_of_a_regressor(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    estimator = make_pipeline(StandardScaler(), RandomForestRegressor(50, random_state=0))
    estimator.fit(x[:100], y[:100])
    report = Audit(model=estimator, **records(tmp_path, x, y, 100)).run().report
    assert report.model.task == Task.REGRESSION.value
    auc = report.attacks["population"].auc.value
    assert auc is not None
    assert auc > 0.7
