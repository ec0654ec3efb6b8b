"""Whole audits whose figures plain numpy, scipy and scikit-learn give too, and p-values that keep to their level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy_backend import NumpyModel
from scipy.stats import binomtest, norm
from sklearn.metrics import r2_score

from pmcore import Audit, AuditResult
from pmcore.data import Records, Role
from pmcore.digests import split_population, with_digests
from pmcore.errors import AuditError
from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.outputs import Array, Floats, Outputs, Scale, Task
from pmcore.schema import AttackPart, Share
from pmcore.signals import Loss
from pmcore_population import PopulationAttack
from tests.core.cases import CLASSES, FEATURES, Case, make_case, write_records


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def result(case: Case) -> AuditResult:
    return case.audit().run()


def unequal_classes(folder: Path, rare: int | None = None) -> Case:
    """Return a case whose classes differ in difficulty; of the last class only `rare` non-members, if given."""
    case = make_case(folder)
    x, y = case.x.copy(), case.y.copy()
    x[np.arange(len(y)), y] += np.array([0.0, 4.0, -3.0, 2.0], dtype=np.float32)[y]
    kept = np.ones(len(y), dtype=bool)
    if rare is not None:
        last = np.flatnonzero((y == CLASSES - 1) & (np.arange(len(y)) >= case.n_members))
        kept[last[rare:]] = False
    x, y = x[kept], y[kept]
    write_records(folder / "members.npz", x[: case.n_members], y[: case.n_members])
    write_records(folder / "nonmembers.npz", x[case.n_members :], y[case.n_members :])
    return replace(case, folder=folder, x=x, y=y)


@dataclass(frozen=True)
class Sides:
    """Which records of a case were audited, in the order of the report, and which were the population."""

    audited: Array
    population: Array


def sides(case: Case, result: AuditResult) -> Sides:
    audited = np.concatenate(
        [result.scores.ids[: case.n_members], case.n_members + result.scores.ids[case.n_members :]]
    )
    everybody = np.arange(case.n_members, len(case.y))
    return Sides(audited, np.setdiff1d(everybody, audited))


def loss_of(case: Case) -> Floats:
    """Return the cross-entropy log(1 + sum of exp(z_j - z_y)) of every record."""
    z = case.x[:, :CLASSES].astype(np.float64)
    others = np.exp(z - z[np.arange(len(z)), case.y][:, None])
    others[np.arange(len(z)), case.y] = 0.0
    value: Floats = np.log1p(others.sum(axis=1))
    return value


def p_values_within_classes(case: Case, chosen: Sides, pools: Mapping[int, list[int]]) -> Floats:
    """Return (1 + number of population records of the pool of the class with no more loss) / (their number + 1)."""
    loss, result = loss_of(case), []
    for record in chosen.audited:
        pool = chosen.population[np.isin(case.y[chosen.population], pools[int(case.y[record])])]
        result.append((1 + int((loss[pool] <= loss[record]).sum())) / (len(pool) + 1))
    return np.array(result)


def assert_clopper_pearson(found: Share | None, successes: int, n: int) -> None:
    assert found is not None
    known = binomtest(successes, n).proportion_ci(0.95, method="exact")
    assert (found.value, found.n) == (successes / n, n)
    assert found.low == pytest.approx(known.low, abs=1e-12)
    assert found.high == pytest.approx(known.high, abs=1e-12)


def test_calibration_within_classes_is_what_plain_numpy_gives(tmp_path: Path) -> None:
    case = unequal_classes(tmp_path)
    result = case.audit(attacks="population:per_class=true,alpha=0.05").run()
    chosen = sides(case, result)
    sizes = np.bincount(case.y[chosen.population])
    assert sizes.min() >= 20
    expected = p_values_within_classes(case, chosen, {label: [label] for label in range(CLASSES)})
    np.testing.assert_allclose(result.scores.p_values["population"], expected, rtol=1e-12)
    within_step = result.scores.scores["population"] - (1 - expected)
    steps = 1 / (sizes[case.y[chosen.audited]] + 1)
    assert (within_step > -1e-12).all()
    assert (within_step < steps + 1e-12).all()
    pooled = p_values_within_classes(case, chosen, {label: list(range(CLASSES)) for label in range(CLASSES)})
    assert np.abs(pooled - expected).max() > 0.5
    for point in result.report.attacks["population"].calibrated:
        if point.alpha == 0.1:
            alarms = expected <= 0.1
            assert_clopper_pearson(point.tpr, int(alarms[:300].sum()), 300)
            assert_clopper_pearson(point.fpr, int(alarms[300:].sum()), len(expected) - 300)


def test_a_level_that_one_class_cannot_reach_is_not_shown(tmp_path: Path) -> None:
    case = unequal_classes(tmp_path, rare=15)
    result = case.audit(attacks="population:per_class=true,alpha=0.05", fpr=(0.5, 0.1, 0.05)).run()
    chosen = sides(case, result)
    m = int((case.y[chosen.population] == CLASSES - 1).sum())
    assert 4 <= m <= 6
    shown, *lost = result.report.attacks["population"].calibrated
    alarms = p_values_within_classes(case, chosen, {label: [label] for label in range(CLASSES)}) <= 0.5
    assert_clopper_pearson(shown.tpr, int(alarms[:300].sum()), 300)
    assert_clopper_pearson(shown.fpr, int(alarms[300:].sum()), len(alarms) - 300)
    assert [point.alpha for point in lost] == [0.1, 0.05]
    for point, needed in zip(lost, (9, 19), strict=True):
        for rate in (point.fpr, point.tpr):
            assert rate.value is None
            assert rate.reason is not None
            assert f"needs {needed} population records" in rate.reason
            assert rate.reason.endswith(f"there are {m}")


def test_the_intervals_of_a_report_are_at_95_percent(case: Case, result: AuditResult) -> None:
    assert result.report.confidence == 0.95
    right = case.x[:, :CLASSES].argmax(axis=1) == case.y
    chosen = sides(case, result).audited
    members, nonmembers = chosen[: case.n_members], chosen[case.n_members :]
    assert_clopper_pearson(result.report.data.members.accuracy, int(right[members].sum()), len(members))
    assert_clopper_pearson(result.report.data.nonmembers.accuracy, int(right[nonmembers].sum()), len(nonmembers))
    loss = loss_of(case)
    won = (loss[members][:, None] < loss[nonmembers]).astype(np.float64)
    area = won.mean()
    variance = np.var(won.mean(axis=1), ddof=1) / len(members) + np.var(won.mean(axis=0), ddof=1) / len(nonmembers)
    reach = norm.ppf(0.975) * np.sqrt(variance) / (area * (1 - area))
    found = result.report.attacks["population"].auc
    for end, sign in ((found.low, -1), (found.high, 1)):
        assert end == pytest.approx(1 / (1 + np.exp(-(np.log(area / (1 - area)) + sign * reach))), abs=1e-10)
    for point in result.report.attacks["population"].calibrated:
        p = result.scores.p_values["population"][case.n_members :]
        if point.fpr.value is not None:
            assert_clopper_pearson(point.fpr, int((p <= point.alpha).sum()), len(p))


def regression_case(folder: Path, noise: float = 0.5) -> dict[str, str]:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(200, FEATURES)).astype(np.float32)
    weights = rng.normal(size=(FEATURES, 1)).astype(np.float32)
    spread = np.repeat([noise, 3 * noise], [80, 120])
    y = (x @ weights)[:, 0].astype(np.float64) + 0.25 + rng.normal(size=200) * spread
    NumpyModel.write_dense(folder / "model.npz", [weights], [np.full(1, 0.25, dtype=np.float32)])
    write_records(folder / "members.npz", x[:80], y[:80])
    write_records(folder / "nonmembers.npz", x[80:], y[80:])
    np.savez(folder / "truth.npz", y=y, predicted=(x.astype(np.float64) @ weights.astype(np.float64))[:, 0] + 0.25)
    names = {"model": "model.npz", "members": "members.npz", "non_members": "nonmembers.npz"}
    return {**{key: str(folder / name) for key, name in names.items()}, "task": "regression"}


def test_r_squared_is_that_of_scikit_learn(tmp_path: Path) -> None:
    result = Audit(**regression_case(tmp_path)).run()
    with np.load(tmp_path / "truth.npz") as truth:
        y, predicted = truth["y"], truth["predicted"]
    data = result.report.data
    audited = 80 + result.scores.ids[80:]
    population = np.setdiff1d(np.arange(80, 200), audited)
    assert data.population is not None
    for part, rows in ((data.members, np.arange(80)), (data.nonmembers, audited), (data.population, population)):
        assert part.accuracy is None
        assert part.n == len(rows)
        assert part.r_squared == pytest.approx(r2_score(y[rows], predicted[rows]), abs=1e-5)
    assert 0 < r2_score(y[audited], predicted[audited]) < r2_score(y[:80], predicted[:80]) < 1
    accuracy = next(check for check in result.report.validity if check.name == "accuracy")
    assert accuracy.verdict == "ok"


def test_an_expected_accuracy_is_refused_for_a_regression(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="expected_accuracy: the model is a regression"):
        Audit(**regression_case(tmp_path), expected_accuracy=0.9).plan()


def test_a_model_that_always_names_the_majority_makes_the_audit_invalid(case: Case, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    y = np.where(rng.random(len(case.y)) < 0.9, 2, rng.integers(0, 2, len(case.y)))
    bias = np.array([0.0, 0.0, 100.0, 0.0], dtype=np.float32)
    NumpyModel.write_dense(tmp_path / "model.npz", [np.eye(FEATURES, CLASSES, dtype=np.float32)], [bias])
    write_records(tmp_path / "members.npz", case.x[:300], y[:300])
    write_records(tmp_path / "nonmembers.npz", case.x[300:], y[300:])
    report = Case(tmp_path, case.x, y, 300, tmp_path / "model.npz").audit().run().report
    share = report.data.nonmembers.accuracy
    assert share is not None
    assert share.value is not None
    assert share.value > 0.85
    accuracy = next(check for check in report.validity if check.name == "accuracy")
    assert accuracy.verdict == "invalid"
    assert f"what guessing gives ({100 * share.value:.1f} %)" in accuracy.text
    assert not report.valid


def test_repeated_records_are_counted_and_warned_of(case: Case, tmp_path: Path) -> None:
    rows = np.concatenate([np.arange(270), np.arange(30)])
    write_records(tmp_path / "members.npz", case.x[rows], case.y[rows])
    report = case.audit(members=str(tmp_path / "members.npz")).run().report
    assert report.data.members.duplicates == 30
    assert any("270 distinct among 300 members" in warning for warning in report.warnings)
    assert report.valid


def figures(attack: AttackPart, rates: tuple[str, ...] = ("0.1",)) -> dict[str, object]:
    """Return all that was found at the given rates and at no rate in particular."""
    found = attack.model_dump()
    found["tpr_at_fpr"] = {rate: found["tpr_at_fpr"][rate] for rate in rates}
    found["calibrated"] = [point for point in found["calibrated"] if f"{point['alpha']:g}" in rates]
    return found


def test_the_figures_of_an_attack_do_not_depend_on_what_else_is_asked(case: Case, result: AuditResult) -> None:
    alone = figures(result.report.attacks["population"])
    others = ["population:signal=hinge", "population:per_class=true,alpha=0.05"]
    for attacks in ([*others, "population"], ["population", *reversed(others)], [others[0], "population", others[1]]):
        among = case.audit(attacks=attacks, fpr=(0.3, 0.1, 0.05)).run().report.attacks
        assert len(among) == 3
        assert figures(among["population"]) == alone
    assert alone["calibrated"]
    assert result.report.attacks["population"].tpr_at_fpr["0.1"].method.startswith("bootstrap")


@pytest.mark.parametrize(
    ("dtype", "rising"),
    [
        (np.float32, [1e-44, 1e-40, 1e-30, 1e-20, 1e-13, 1e-3]),
        (np.float64, [5e-324, 1e-310, 1e-300, 1e-100, 1e-13, 1e-3]),
        (np.float16, [6e-8, 2e-7, 1e-6, 1e-3]),
    ],
)
def test_tiny_probabilities_keep_their_order(dtype: type, rising: list[float]) -> None:
    p: Array = np.array(rising, dtype=dtype)
    outputs = Outputs(
        task=Task.MULTICLASS,
        scale=Scale.PROBABILITIES,
        labels=np.zeros(len(p), dtype=np.int64),
        predictions=np.stack([p, (1 - p).astype(dtype)], axis=1),
    )
    exact = -np.log(p.astype(np.float64))
    assert all(later < earlier for earlier, later in pairwise(exact))
    np.testing.assert_allclose(outputs.log_scores[:, 0], -exact, rtol=1e-12)
    np.testing.assert_allclose(Loss().compute(outputs)[:-1], exact[:-1], rtol=1e-3)
    assert (np.diff(Loss().compute(outputs)) < 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_probability_of_0_counts_as_the_smallest_positive_number_of_its_type(dtype: type) -> None:
    smallest = float(np.nextafter(dtype(0), dtype(1)))
    outputs = Outputs(
        task=Task.MULTICLASS,
        scale=Scale.PROBABILITIES,
        labels=np.zeros(1, dtype=np.int64),
        predictions=np.array([[0, 1]], dtype=dtype),
    )
    assert outputs.log_scores[0, 0] == pytest.approx(np.log(smallest), rel=1e-12)
    assert Loss().compute(outputs)[0] == pytest.approx(-np.log(smallest), rel=1e-6)


def test_p_values_keep_to_their_level_where_many_records_are_equal() -> None:
    """Tables of 600 records with 60 distinct rows, split by default; copies kept together gave .44.

    The share of p <= .05 of one table has a mean of at most .05 and lies in [0, 1], which bounds its variance.
    """
    tables, level = 100, 0.05
    shares = []
    for table in range(tables):
        rng = np.random.default_rng(table)
        codes = rng.choice(60, 600, p=rng.dirichlet(np.ones(60)))
        rows = rng.integers(0, 3, (60, 8)).astype(np.float32)
        loss = rng.exponential(size=60)
        records = Records(Role.NONMEMBERS, "nonmembers.npz", {"x": rows[codes]}, np.zeros(600, dtype=np.int64))
        split = split_population(with_digests({Role.NONMEMBERS: records})[Role.NONMEMBERS], 1 / 3, table)
        evidence = Evidence(
            arrays={
                EvidenceKey(Source.TARGET, "loss"): loss[codes[split.audited.positions]],
                EvidenceKey(Source.POPULATION, "loss"): loss[codes[split.population.positions]],
            },
            labels=split.audited.labels,
            population_labels=split.population.labels,
            lower_is_member={"loss": True},
            classes=2,
        )
        assert len(split.population) == 200
        shares.append(float((PopulationAttack().p_values(evidence).values <= level).mean()))
    assert np.mean(shares) <= level + 4 * np.sqrt(level * (1 - level) / tables)
    assert np.mean(shares) <= level + 4 * np.std(shares) / np.sqrt(tables)
    assert np.mean(shares) > 0.005
