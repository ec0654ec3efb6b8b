"""Games: the model's own, the algorithm's over models audited in turn, and that of single records."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score

from pmcore.errors import InputError
from pmcore.evidence import Evidence, EvidenceKey, Source
from pmcore.games import _TOGETHER, STATEMENTS, _Interval, _over_models
from pmcore.outputs import Floats
from pmcore.record_game import record_aucs
from pmcore.reports.terminal import render_terminal
from pmcore_reference import LiraAttack
from tests.core.reference_cases import ReferenceCase, make_reference_case


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> ReferenceCase:
    return make_reference_case(tmp_path_factory.mktemp("games"))


def rescaled(case: ReferenceCase) -> Floats:
    """Return the rescaled logits of the audited model and of its references, (models, n), by plain numpy."""
    own = np.zeros_like(case.logits[0])
    own[:] = case.case.x[:, : own.shape[1]]
    z = np.concatenate([own[None], case.logits]).astype(np.float64)
    label = z[:, np.arange(z.shape[1]), case.case.y]
    z[:, np.arange(z.shape[1]), case.case.y] = -np.inf
    found: Floats = label - np.log(np.exp(z).sum(axis=2))
    return found


def truth(case: ReferenceCase) -> NDArray[np.bool_]:
    """Return which record trained which model, (models, n), the audited one first."""
    own = np.arange(len(case.case.y)) < case.case.n_members
    return np.vstack([own, case.membership.T])


def test_the_game_of_the_model_is_what_the_audit_finds(case: ReferenceCase) -> None:
    report = case.audit().run().report
    assert report.game.game == "model"
    assert not report.game.algorithm
    assert report.game.statement == STATEMENTS["model"]
    assert "Game of the" not in render_terminal(report)


def test_the_game_of_the_algorithm_averages_over_models_that_are_never_compared(case: ReferenceCase) -> None:
    report = case.audit(attacks=("calibrated:signal=rescaled_logit",), game="algorithm").run().report
    found = report.game.algorithm["calibrated"]
    phi, inside = rescaled(case), truth(case)
    expected = []
    for model in range(len(phi)):
        partner = (model - 1 ^ 1) + 1 if model else 0  # trained on the other half of the records
        others = [other for other in range(1, len(phi)) if other not in (model, partner)]
        unseen = ~inside[others].T
        fewest = int(unseen.sum(axis=1).min())
        scores = []
        for record in range(phi.shape[1]):
            chosen = [other for other, free in zip(others, unseen[record], strict=True) if free][:fewest]
            scores.append(phi[model, record] - phi[chosen, record].mean())
        expected.append(roc_auc_score(inside[model], scores))
    assert [one.auc for one in found.per_model] == pytest.approx(expected, abs=1e-6)
    assert found.auc.value == pytest.approx(np.mean(expected), abs=1e-6)
    wide = 2.306 * np.std(expected, ddof=1) / 3  # Student's t with 8 degrees of freedom
    assert found.auc.low == pytest.approx(np.mean(expected) - wide, abs=1e-4)
    assert found.auc.models == 9


def test_the_game_of_records_compares_models_on_one_record(case: ReferenceCase) -> None:
    result = case.audit(attacks=("lira:mode=offline",), game="record").run()
    part = result.report.game.records["lira"]
    values = result.scores.beside["lira.record_auc"]
    assert part.records == len(values) == len(case.case.y)
    assert part.mean_auc.value == pytest.approx(values.mean())
    assert part.mean_auc.low is not None
    assert part.mean_auc.low > 0.6
    assert "records are told from chance" in render_terminal(result.report)


def test_comparing_models_on_a_record_leaves_their_order_by_the_signal_as_it_is(case: ReferenceCase) -> None:
    result = case.audit(attacks=("calibrated:signal=rescaled_logit",), game="record").run()
    phi, inside = rescaled(case), truth(case)
    expected = [roc_auc_score(inside[:, i], phi[:, i]) for i in range(phi.shape[1])]
    np.testing.assert_allclose(result.scores.beside["calibrated.record_auc"], expected, atol=1e-9)


def test_aucs_of_records_are_those_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(9, 40)).round(1)
    inside = rng.permuted(np.tile(np.arange(9)[:, None] % 2 == 0, (1, 40)), axis=0)
    found = record_aucs(scores, inside)
    expected = [roc_auc_score(inside[:, i], scores[:, i]) for i in range(40)]
    np.testing.assert_allclose(found.values, expected)
    untied = rng.normal(size=(9, 40))
    tests = [
        mannwhitneyu(untied[inside[:, i], i], untied[~inside[:, i], i], alternative="greater", method="exact").pvalue
        for i in range(40)
    ]
    np.testing.assert_allclose(record_aucs(untied, inside).p_values, tests)


def test_records_without_a_leak_are_hardly_ever_called_exposed() -> None:
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(50):
        inside = rng.permuted(np.tile(np.arange(16)[:, None] % 2 == 0, (1, 200)), axis=0)
        called += record_aucs(rng.normal(size=(16, 200)), inside).exposed > 0
    assert called <= 8  # of 50 at a false discovery rate of 5 %: 2.5 expected


@pytest.mark.parametrize("game", ["algorithm", "record"])
def test_games_without_references_that_saw_records_are_refused(case: ReferenceCase, tmp_path: Path, game: str) -> None:
    with pytest.raises(InputError, match="0 references are given"):
        case.case.audit(attacks=("population",), game=game).plan()
    np.savez(tmp_path / "unseen.npz", logits=case.logits)
    with pytest.raises(InputError, match="needs references that trained on half of the audited records"):
        case.audit(references=str(tmp_path / "unseen.npz"), attacks=("reference",), game=game).plan()


def test_attacks_that_know_members_do_not_play_and_the_report_says_so(case: ReferenceCase) -> None:
    report = case.audit(attacks=("lira", "nasr"), game="algorithm").run().report
    assert "learns from known members" in report.game.left_out["nasr"]
    assert "nasr" in report.attacks


def test_intervals_of_the_algorithm_hold_where_models_are_each_others_references() -> None:
    rng = np.random.default_rng(7)
    held = 0
    for _ in range(60):
        n, r = 150, 8
        halves = rng.permuted(np.tile(np.arange(n) % 2 == 0, (r // 2, 1)), axis=1)
        membership = np.stack([halves, ~halves], axis=2).transpose(1, 0, 2).reshape(n, r)
        phi = rng.normal(0.0, 2.0, n) + rng.normal(size=(r, n))
        scores = []
        for model in range(r):
            others = np.array([other for other in range(r) if other not in (model, model ^ 1)])
            arrays = {
                EvidenceKey(Source.TARGET, "rescaled_logit"): phi[model],
                EvidenceKey(Source.REFERENCES, "rescaled_logit"): phi[others],
            }
            labels = np.zeros(n, dtype=np.int64)
            evidence = Evidence(arrays, labels, classes=2, reference_membership=membership[:, others])
            scores.append(LiraAttack().score(evidence))
        interval = _Interval(0.95, _TOGETHER)
        auc = _over_models(np.stack(scores), membership.T, ("",) * r, (0.1,), interval).auc
        assert auc.low is not None
        assert auc.high is not None
        held += auc.low <= 0.5 <= auc.high
    assert held >= 55  # Student's own interval holds in 47 to 53 of 60


def test_a_null_algorithm_has_an_auc_of_one_half(tmp_path: Path) -> None:
    case = make_reference_case(tmp_path, leak=0.0)
    for game in ("algorithm", "record"):
        part = case.audit(game=game).run().report.game
        figure = part.algorithm["lira"].auc if game == "algorithm" else part.records["lira"].mean_auc
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low - 0.02 < 0.5 < figure.high + 0.02
