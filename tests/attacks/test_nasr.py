"""The trained white-box attack: what it finds, what it must not find, and what its models are."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from pmcore.errors import InputError
from pmcore.evidence import Evidence, EvidenceKey, Needs, Source
from pmcore.interfaces import Attack
from pmcore.options import build, parse_spec
from pmcore.outputs import Array, Floats, Task
from pmcore.statistics import auc, sort_scores
from pmcore.testing import check_attack, checks_for
from pmcore.testing.checking import NotApplicable
from pmcore.whitebox_signals import Activations, GradientNorm, GradientSketch
from pmcore_gradient import NasrAttack
from pmcore_gradient.components import FURTHEST, Component, Kind, label_components
from pmcore_gradient.hyper_parameters import DEFAULTS

LOSS, NORMS = "loss", "gradient_norm:layers=[*]"
SKETCH, ACTIVATIONS = "gradient_sketch:layers=[last],size=4", "activations:layers=[last],size=4"
FOLDS = 5


def nasr(**options: object) -> NasrAttack:
    """Return the attack with small projections."""
    return build(NasrAttack, {"size": 4, "folds": FOLDS, **options}, "attack")


ENCODERS = [
    nasr(encoder="logistic"),
    nasr(encoder="hist_gradient_boosting"),
    nasr(encoder="random_forest", trees=50),
    nasr(encoder="mlp"),
    nasr(encoder="paper", epochs=50),
]


@dataclass(frozen=True)
class Records:
    """Signals by name, labels, and whether each record is a member; folds with their share of both sides."""

    signals: Mapping[str, Floats]
    labels: Array
    truth: NDArray[np.int64]
    folds: NDArray[np.int64]
    references: Mapping[str, Floats] | None = None

    def evidence(self, known: NDArray[np.int64] | None) -> Evidence:
        arrays = {EvidenceKey(Source.TARGET, name): values for name, values in self.signals.items()}
        arrays |= {EvidenceKey(Source.REFERENCES, name): values for name, values in (self.references or {}).items()}
        return Evidence(
            arrays=arrays,
            labels=self.labels,
            lower_is_member={LOSS: True, NORMS: True},
            classes=3,
            known=None if known is None else known.astype(np.int8),
        )

    def known(self, fold: int) -> NDArray[np.int64]:
        """Return what is known when a fold is scored: the two folds after it, so that no two folds teach each other."""
        after = (self.folds - fold) % FOLDS
        return np.where((after == 1) | (after == 2), self.truth, -1)

    def scored(self, attack: Attack) -> Floats:
        """Return the score of every record, each from the call for its own fold."""
        found = np.zeros(len(self.truth))
        for fold in range(FOLDS):
            own = self.folds == fold
            found[own] = attack.score(self.evidence(self.known(fold)))[own]
        return found


def records(n: int, changed: Mapping[str, Floats] | None = None, seed: int = 0) -> Records:
    """Return n records, every second one a member, whose signals know nothing of that but for those in `changed`."""
    rng = np.random.default_rng(seed)
    signals = {
        LOSS: np.exp(rng.normal(size=n)),
        NORMS: np.exp(rng.normal(size=(n, 3))),
        SKETCH: rng.normal(size=(n, 4)),
        ACTIVATIONS: rng.normal(size=(n, 4)),
    }
    truth = np.arange(n) % 2
    return Records(signals | dict(changed or {}), rng.integers(0, 3, n), truth, np.arange(n) // 2 % FOLDS)


def area(given: Records, scores: Floats) -> float:
    return float(roc_auc_score(given.truth, scores))


def test_it_keeps_every_promise_with_reference_models() -> None:
    check_attack(NasrAttack(encoder="logistic", calibrate="references"))


@pytest.mark.parametrize(
    "name",
    [
        "check_finite_scores",
        "check_planted_leak",
        "check_determinism",
        "check_global_random_state",
        "check_threads",
        "check_saturated_model",
        "check_signals_not_finite",
        "check_tasks",
    ],
)
@pytest.mark.parametrize("encoder", ["hist_gradient_boosting", "random_forest", "mlp", "paper"])
def test_other_encoders_keep_the_promises_that_they_could_break(encoder: str, name: str) -> None:
    options: dict[str, object] = {"encoder": encoder, "folds": 3}
    options |= {"epochs": 30} if encoder in ("mlp", "paper") else {"trees": 50}
    options |= {"learning_rate": 1e-3} if encoder == "paper" else {}
    attack = build(NasrAttack, options, "attack")
    check = next(each for each in checks_for(attack) if each.name == name)
    try:
        check(attack)
    except NotApplicable:
        pytest.fail(f"{name} does not apply, and is named here in vain")


@pytest.mark.parametrize("attack", ENCODERS, ids=lambda attack: attack.encoder)
def test_every_encoder_finds_a_leak_in_the_norms_with_the_right_sign(attack: NasrAttack) -> None:
    n = 600
    lower = np.exp(np.random.default_rng(1).normal(size=(n, 3)) - 1.0 * (np.arange(n) % 2)[:, None])
    given = records(n, {NORMS: lower})
    assert area(given, given.scored(attack)) > 0.78  # Phi(sqrt(3 / 2)) = .89 for who knows the distributions


@pytest.mark.parametrize("signal", [LOSS, SKETCH, ACTIVATIONS])
def test_a_leak_in_one_component_alone_is_found(signal: str) -> None:
    n = 800
    planted = dict(records(n).signals)[signal].copy()
    members = np.arange(n) % 2 == 1
    if signal == LOSS:
        planted[members] *= np.exp(-1.5)
    else:
        planted[members, 2] += 3.0
    given = records(n, {signal: planted})
    assert area(given, given.scored(nasr())) > 0.75


def test_members_in_the_middle_are_found_where_every_threshold_fails() -> None:
    """Early records of an overfitted model: members' losses are small but not as small as the easiest others'."""
    n = 800
    rng = np.random.default_rng(2)
    members = np.arange(n) % 2 == 1
    loss = np.exp(np.where(members, rng.normal(scale=0.5, size=n), rng.normal(scale=5.0, size=n)))
    given = records(n, {LOSS: loss})
    assert area(given, -loss) == pytest.approx(0.5, abs=0.06)
    assert area(given, given.scored(nasr())) > 0.8


def test_the_label_tells_where_sides_differ_in_their_classes() -> None:
    given = records(600)
    tilted = Records(
        given.signals, np.where(np.arange(600) % 3 == 0, given.labels, given.truth), given.truth, given.folds
    )
    assert area(tilted, tilted.scored(nasr())) > 0.75


def test_scores_pooled_over_folds_keep_the_interval_of_the_auc_without_a_leak() -> None:
    """Two hundred audits of 200 records whose membership is chance: folds that do not teach each other may be pooled.

    Had every fold been told of all others, the interval would hold .5 in about 84 % of these audits.
    """
    attack = nasr()
    areas, covered = [], 0
    for seed in range(200):
        given = records(200, seed=seed)
        scores = given.scored(attack)
        found = auc(sort_scores(scores[given.truth == 1], scores[given.truth == 0]))
        assert found.value is not None
        assert found.low is not None
        assert found.high is not None
        areas.append(found.value)
        covered += found.low <= 0.5 <= found.high
    assert np.mean(areas) == pytest.approx(0.5, abs=0.01)
    assert covered >= 0.93 * 200 - 4


@pytest.mark.parametrize("attack", ENCODERS, ids=lambda attack: attack.encoder)
def test_hidden_records_have_no_say_in_how_the_others_are_scored(attack: NasrAttack) -> None:
    given = records(200)
    known = given.known(0)
    hidden = np.flatnonzero(known < 0)
    kept, others = hidden[::2], hidden[1::2]
    changed = {name: values.copy() for name, values in given.signals.items()}
    for values in changed.values():
        values[others] = 1e3
    first = attack.score(given.evidence(known))
    second = attack.score(Records(changed, given.labels, given.truth, given.folds).evidence(known))
    np.testing.assert_allclose(first[kept], second[kept], rtol=1e-5, atol=1e-6)


def test_known_records_get_no_score() -> None:
    given = records(200)
    scores = nasr().score(given.evidence(given.known(0)))
    assert (scores[given.known(0) >= 0] == 0).all()
    assert len(np.unique(scores[given.known(0) < 0])) > 50


def test_differences_to_references_find_what_difficulty_hides() -> None:
    n = 800
    rng = np.random.default_rng(5)
    difficulty = rng.normal(scale=5.0, size=n)
    leak = -1.5 * (np.arange(n) % 2)
    loss = np.exp(difficulty + leak + 0.5 * rng.normal(size=n))
    plain = records(n, {LOSS: loss})
    references = {LOSS: np.exp(difficulty + 0.5 * rng.normal(size=(8, n))), NORMS: np.exp(rng.normal(size=(8, n, 3)))}
    given = Records(plain.signals, plain.labels, plain.truth, plain.folds, references)
    alone = area(plain, plain.scored(nasr()))
    calibrated = area(given, given.scored(nasr(calibrate="references")))
    assert alone < 0.65
    assert calibrated > 0.9


def test_what_it_declares_makes_the_signals_that_are_meant() -> None:
    attack = NasrAttack(("fc", "-2"), size=16, folds=7, calibrate="references")
    loss, norms, sketch, activations = attack.needs.target
    assert build(GradientNorm, parse_spec(norms).options, "signal") == GradientNorm(("*",))
    assert build(GradientSketch, parse_spec(sketch).options, "signal") == GradientSketch(("fc", "-2"), 16)
    assert build(Activations, parse_spec(activations).options, "signal") == Activations(("fc", "-2"), 16)
    assert attack.needs == Needs(
        target=(loss, norms, sketch, activations), references=(loss, norms), min_references=1, known_folds=7
    )
    assert NasrAttack().needs.references == ()


def test_standardisation_is_that_of_the_known_records() -> None:
    values = np.array([[1.0, 5.0, 0.0], [3.0, 5.0, 0.0], [1e9, 5.0, -1e-300], [4.0, 6.0, 0.0]])
    found = Component(Kind.LOSS, values).standardised(np.array([True, True, False, False])).values
    expected = [[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [FURTHEST, 0.0, 0.0], [2.0, 0.0, 0.0]]
    np.testing.assert_allclose(found, np.array(expected))


@pytest.mark.parametrize(
    ("labels", "task", "classes", "expected"),
    [
        (np.array([0, 2]), Task.MULTICLASS, 3, [[1, 0, 0], [0, 0, 1]]),
        (np.array([0, 1]), Task.BINARY, 2, [[1, 0], [0, 1]]),
        (np.array([[0, 1, 1]]), Task.MULTILABEL, 3, [[0, 1, 1]]),
        (np.array([0, 2]), Task.MULTICLASS, 101, None),
        (np.array([[0, 1] * 51]), Task.MULTILABEL, 102, None),
        (np.array([0.5, 2.0]), Task.REGRESSION, 1, None),
    ],
)
def test_labels_are_columns_for_up_to_a_hundred_classes(
    labels: Array, task: Task, classes: int, expected: list[list[float]] | None
) -> None:
    found = label_components(Evidence({}, labels, task=task, classes=classes))
    assert [component.values.tolist() for component in found] == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("encoder", "option", "value"),
    [(encoder, option, value) for encoder, options in DEFAULTS.items() for option, value in options.items()],
)
def test_every_hyper_parameter_of_an_encoder_changes_its_model(encoder: str, option: str, value: float) -> None:
    fewer = {"trees": 5, "epochs": 3, "batch_size": 7}
    quick = {name: fewer[name] for name in ("trees", "epochs") if name in DEFAULTS[encoder]}  # type: ignore[index]
    other = fewer[option] + 2 if option in fewer else value / 3 + 1e-2
    given = records(200)
    first, second = (
        build(NasrAttack, {"size": 4, "encoder": encoder, **quick, **changed}, "attack").score(
            given.evidence(given.known(0))
        )
        for changed in ({}, {option: other})
    )
    assert not np.array_equal(first, second)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"encoder": "logistic", "trees": 5}, "trees.*weight_decay"),
        ({"encoder": "random_forest", "learning_rate": 0.1}, "learning_rate"),
        ({"dropout": 0.5}, "dropout"),
        ({"encoder": "paper", "dropout": 1.0}, "dropout"),
        ({"encoder": "paper", "epochs": 0}, "epochs"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"learning_rate": "nan"}, "learning_rate"),
        ({"encoder": "logistic", "weight_decay": 0}, "weight_decay"),
        ({"weight_decay": -1}, "weight_decay"),
        ({"encoder": "svm"}, "encoder"),
        ({"folds": 2}, "folds"),
        ({"size": 0}, "size"),
        ({"layers": []}, "layers"),
        ({"layers": "*"}, "layers"),
        ({"layers": "a'b"}, "layers"),
    ],
)
def test_options_without_a_meaning_are_refused_by_name(options: dict[str, object], names: str) -> None:
    with pytest.raises(InputError, match=f"^[^\n]*{names}[^\n]*$"):
        build(NasrAttack, options, "attack 'nasr'")


def test_known_records_of_one_side_alone_are_refused() -> None:
    given = records(40)
    for side in (0, 1):
        with pytest.raises(InputError, match=r"^nasr: [^\n]*fewer folds or more records$"):
            nasr().score(given.evidence(np.where(given.truth == side, side, -1)))
    with pytest.raises(InputError, match="no membership is known"):
        nasr().score(given.evidence(None))


@pytest.mark.parametrize(("signal", "names"), [(LOSS, "loss"), (NORMS, "gradient norms"), (ACTIVATIONS, "activations")])
def test_signals_that_are_not_finite_are_refused_by_name(signal: str, names: str) -> None:
    given = records(40)
    spoilt = given.signals[signal].copy()
    spoilt.reshape(-1)[3] = np.inf
    with pytest.raises(InputError, match=f"^nasr: {names}: [^\n]*not finite"):
        nasr().score(records(40, {signal: spoilt}).evidence(given.known(0)))


def test_references_of_another_architecture_are_refused() -> None:
    plain = records(40)
    references = {LOSS: np.ones((2, 40)), NORMS: np.ones((2, 40, 5))}
    given = Records(plain.signals, plain.labels, plain.truth, plain.folds, references)
    with pytest.raises(InputError, match="5 layers"):
        nasr(calibrate="references").score(given.evidence(given.known(0)))


def test_without_torch_the_network_of_the_paper_is_refused_and_the_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"needs torch: pip install 'pmcore\[whitebox\]'"):
        NasrAttack(encoder="paper")
    given = records(100)
    assert np.isfinite(nasr().score(given.evidence(given.known(0)))).all()


def test_importing_the_package_imports_neither_torch_nor_scikit_learn() -> None:
    program = "import sys, pmcore_gradient; print([name for name in ('torch', 'sklearn') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
