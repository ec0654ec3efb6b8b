"""Whole audits: known answers, independence of everything that must not matter, and what makes one invalid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy_backend import NumpyModel
from sklearn.metrics import roc_auc_score

from pmcore import Audit, AuditResult
from pmcore.errors import AuditError, InputError, ModelError
from pmcore.evidence import PLAIN
from pmcore.gather import Batching, gather
from pmcore.reports.json_report import JsonReport
from pmcore.stand import make_evidence, make_stand, target_arrays
from tests.core.cases import Case, losses, make_case, write_records


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def result(case: Case) -> AuditResult:
    return case.audit().run()


def comparable(result: AuditResult) -> str:
    """Return the report without what may differ from run to run."""
    report = json.loads(JsonReport().render(result.report)["report.json"])
    del report["run"]
    return json.dumps(report)


def by_record(result: AuditResult, name: str) -> dict[tuple[bool, int], float]:
    keys = zip(result.scores.is_member.tolist(), result.scores.ids.tolist(), strict=True)
    return dict(zip(keys, result.scores.scores[name].tolist(), strict=True))


def test_the_auc_is_what_plain_numpy_gives_on_the_same_records(case: Case, result: AuditResult) -> None:
    audited = np.concatenate([np.arange(case.n_members), case.n_members + result.scores.ids[case.n_members :]])
    truth = np.arange(len(audited)) < case.n_members
    expected = roc_auc_score(truth, -losses(case)[audited])
    assert result.report.attacks["population"].auc.value == pytest.approx(expected, abs=1e-12)


def test_a_planted_leak_is_found_and_its_absence_too(case: Case, tmp_path: Path) -> None:
    found = case.audit().run().report.attacks["population"].auc
    assert found.low is not None
    assert found.low > 0.75
    nothing = make_case(tmp_path, leak=0.0, seed=4).audit().run().report.attacks["population"].auc
    assert nothing.low is not None
    assert nothing.high is not None
    assert nothing.low < 0.5 < nothing.high


def test_the_same_audit_gives_the_same_report(case: Case, result: AuditResult) -> None:
    assert comparable(case.audit().run()) == comparable(result)


def test_another_seed_draws_another_population(case: Case, result: AuditResult) -> None:
    other = case.audit(seed=1).run()
    assert set(other.scores.ids.tolist()) != set(result.scores.ids.tolist()) or not np.array_equal(
        other.scores.ids, result.scores.ids
    )


@pytest.mark.parametrize("batch_size", [1, 7, 64, 10_000])
def test_figures_do_not_depend_on_the_batch_size(case: Case, result: AuditResult, batch_size: int) -> None:
    other = case.audit(batch_size=batch_size).run()
    for name, expected in result.report.attacks["population"].tpr_at_fpr.items():
        assert other.report.attacks["population"].tpr_at_fpr[name].value == pytest.approx(expected.value, abs=1e-6)
    np.testing.assert_allclose(other.scores.scores["population"], result.scores.scores["population"], atol=1e-6, rtol=0)


@pytest.mark.parametrize("per_class", [False, True])
def test_scores_and_figures_do_not_depend_on_the_order_of_the_records(
    case: Case, tmp_path: Path, per_class: bool
) -> None:
    attack = f"population:per_class={str(per_class).lower()}"
    straight = case.audit(attacks=attack).run()
    rng = np.random.default_rng(9)
    order = {}
    for role, part in (("members", slice(0, 300)), ("nonmembers", slice(300, None))):
        shuffled = rng.permutation(len(case.y[part]))
        order[role] = shuffled
        write_records(tmp_path / f"{role}.npz", case.x[part][shuffled], case.y[part][shuffled])
    other = case.audit(
        attacks=attack, members=str(tmp_path / "members.npz"), non_members=str(tmp_path / "nonmembers.npz")
    ).run()
    moved = {
        (member, int(order["members" if member else "nonmembers"][place])): score
        for (member, place), score in by_record(other, "population").items()
    }
    assert moved == by_record(straight, "population")
    first, second = (run.report.attacks["population"].model_dump() for run in (straight, other))
    assert first == second


def test_the_population_is_set_aside_and_never_audited(case: Case, result: AuditResult) -> None:
    assert result.report.data.population is not None
    audited = result.scores.ids[case.n_members :]
    assert len(np.unique(audited)) == len(audited)
    assert len(audited) + result.report.data.population.n == 600
    assert result.report.data.population.n == pytest.approx(200, abs=4)


def test_a_population_of_its_own_leaves_all_non_members_audited(case: Case, tmp_path: Path) -> None:
    more = make_case(tmp_path, n_members=2, n_nonmembers=150, seed=77)
    population = str(more.folder / "nonmembers.npz")
    report = case.audit(population=population).run().report
    assert report.data.nonmembers.n == 600
    assert report.data.population is not None
    assert report.data.population.n == 150


def test_shared_records_make_the_audit_invalid(case: Case, tmp_path: Path) -> None:
    x, y = np.concatenate([case.x[300:], case.x[:5]]), np.concatenate([case.y[300:], case.y[:5]])
    write_records(tmp_path / "nonmembers.npz", x, y)
    report = case.audit(non_members=str(tmp_path / "nonmembers.npz")).run().report
    assert not report.valid
    assert report.data.overlap["members & nonmembers"] == 5
    assert report.attacks["population"].auc.value is not None


def test_shared_records_can_be_dropped_and_are_counted(case: Case, tmp_path: Path) -> None:
    x, y = np.concatenate([case.x[:5], case.x[300:]]), np.concatenate([case.y[:5], case.y[300:]])
    write_records(tmp_path / "nonmembers.npz", x, y)
    result = case.audit(non_members=str(tmp_path / "nonmembers.npz"), drop_overlap=True).run()
    assert result.report.valid
    assert result.report.data.dropped == {"nonmembers": 5}
    assert min(result.scores.ids[~result.scores.is_member]) >= 5


def test_an_accuracy_other_than_the_expected_one_makes_the_audit_invalid(case: Case) -> None:
    report = case.audit(expected_accuracy=0.5).run().report
    assert not report.valid
    assert case.audit(expected_accuracy=report.data.nonmembers.accuracy.value).run().report.valid  # type: ignore[union-attr]


def test_accuracy_at_the_level_of_guessing_makes_the_audit_invalid_unless_it_is_expected(
    case: Case, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    write_records(tmp_path / "nonmembers.npz", case.x[300:], rng.integers(0, 4, 600))
    guessing = {"non_members": str(tmp_path / "nonmembers.npz")}
    assert not case.audit(**guessing).run().report.valid
    assert case.audit(**guessing, expected_accuracy=0.25).run().report.valid


def test_no_form_of_an_invalid_report_shows_a_figure(case: Case, tmp_path: Path) -> None:
    result = case.audit(expected_accuracy=0.5, out=str(tmp_path / "out")).run()
    auc = result.report.attacks["population"].auc.value
    assert auc is not None
    shown = f"{auc:.3f}".lstrip("0")
    assert shown not in str(result)
    assert shown not in result._repr_html_()
    assert {path.name for path in result.written} == {
        "report.json",
        "invalid.png",
        "invalid.svg",
        "scores.csv",
        "scores.npz",
    }


def test_everything_that_is_wrong_is_told_at_once(case: Case, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    audit = case.audit(attacks=["populaton"], members="nowhere.npz", reports=["jsn"], out=str(tmp_path / "full"))
    with pytest.raises(AuditError) as caught:
        audit.plan()
    lines = str(caught.value).splitlines()
    assert len(lines) == 4
    for word in ("full", "populaton", "nowhere.npz", "jsn"):
        assert any(word in line for line in lines)


def test_an_unknown_key_is_answered_with_the_nearest_one(case: Case) -> None:
    with pytest.raises(InputError, match="did you mean 'expected_accuracy'"):
        case.audit(expected_acuracy=0.9)


def test_infinite_answers_are_counted_and_stop_the_audit(case: Case, tmp_path: Path) -> None:
    x = case.x[:300].copy()
    x[[4, 9], 0] = np.float32(3e38)
    x[[4, 9], 1] = np.float32(3e38)
    weights = np.zeros((12, 4), dtype=np.float32)
    weights[0], weights[1] = 2.0, 2.0
    NumpyModel.write_dense(tmp_path / "model.npz", [weights], [np.zeros(4, dtype=np.float32)])
    write_records(tmp_path / "members.npz", x, case.y[:300])
    audit = case.audit(model=str(tmp_path / "model.npz"), members=str(tmp_path / "members.npz"))
    with pytest.raises(ModelError, match=r"2 of 300 answers are not finite \(first at record 4\)"):
        audit.run()


def test_an_attack_sees_only_what_it_declares_and_not_who_is_a_member(case: Case) -> None:
    audit = case.audit()
    plan = audit.plan()
    model = plan.model.model
    model.prepare(plan.roles.sample())
    answers = {
        (role, PLAIN): gather(model, feed, plan.signals_of(role), Batching()) for role, feed in plan.roles.feeds.items()
    }
    stand = make_stand(plan, model.describe(), target_arrays(plan, answers), {}, {})
    evidence = make_evidence(plan.attacks[0], stand)
    with pytest.raises(AuditError, match="declare"):
        evidence.target("entropy")
    with pytest.raises(ValueError, match="read-only"):
        evidence.target("loss")[0] = 1.0
    places = plan.roles.evidence_order() < case.n_members
    assert 0.2 < places[:300].mean() < 0.6


def test_the_written_files_agree_with_the_report(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "report"
    result = case.audit(out=str(out), save_signals=True).run()
    report = json.loads((out / "report.json").read_text())
    assert report["attacks"]["population"]["auc"]["value"] == result.report.attacks["population"].auc.value
    rows = (out / "scores.csv").read_text().splitlines()
    assert rows[0] == "id,role,label,population.score,population.p_value"
    assert len(rows) == 1 + len(result.scores.ids)
    with np.load(out / "signals.npz") as signals:
        np.testing.assert_array_equal(signals["members.loss"], result.signals["members.loss"])
    with np.load(out / "scores.npz") as scores:
        np.testing.assert_array_equal(scores["population.score"], result.scores.scores["population"])
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.iterdir())


def test_nothing_of_an_earlier_audit_stands_beside_a_new_one(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "report"
    case.audit(out=str(out)).run()
    (out / "mine.txt").write_text("mine")
    case.audit(out=str(out), force=True, expected_accuracy=0.01).run()
    assert {path.name for path in out.iterdir()} == {
        "report.json",
        "invalid.png",
        "invalid.svg",
        "scores.csv",
        "scores.npz",
        "mine.txt",
    }


def test_a_folder_that_holds_an_input_is_refused_even_by_force(case: Case) -> None:
    before = {path.name: path.read_bytes() for path in case.folder.iterdir()}
    with pytest.raises(InputError, match=r"holds an input \(model: "):
        case.audit(out=str(case.folder), force=True).run()
    assert {path.name: path.read_bytes() for path in case.folder.iterdir()} == before


def test_files_that_pmcore_did_not_write_survive_a_forced_audit(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "report"
    case.audit(out=str(out)).run()
    mine = ("report.md", "roc.txt", "scores-my-notes.png")
    for name in mine:
        (out / name).write_text("mine")
    case.audit(out=str(out), force=True, expected_accuracy=0.01).run()
    assert all((out / name).read_text() == "mine" for name in mine)
    assert not (out / "roc.png").exists()


def test_roles_may_name_their_only_array_differently(case: Case, tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", images=case.x[300:], y=case.y[300:])
    report = case.audit(non_members=str(tmp_path / "other.npz")).run().report
    assert report.data.nonmembers.n == 400


def test_two_attacks_of_one_kind_are_told_apart_by_their_options(case: Case) -> None:
    report = case.audit(attacks=["population", "population:signal=hinge,per_class=true"]).run().report
    assert set(report.attacks) == {"population", "population:signal=hinge;per_class=true"}


def test_the_audit_file_takes_options_as_a_mapping(case: Case, tmp_path: Path) -> None:
    config = tmp_path / "audit.yaml"
    settings: Mapping[str, object] = {**case.arguments, "attacks": [{"population": {"signal": "hinge"}}], "seed": 3}
    config.write_text(json.dumps(settings))
    audit = Audit(config=config, seed=4)
    assert audit.settings.seed == 4
    assert audit.run().report.attacks["population"].options["signal"] == "hinge"


@pytest.mark.parametrize("signal", ["hinge", "entropy", "modified_entropy", "correctness", "confidence"])
def test_the_population_attack_runs_on_every_built_in_signal(case: Case, signal: str) -> None:
    report = case.audit(attacks=[f"population:signal={signal}"]).run().report
    attack = report.attacks["population"]
    assert attack.threat_model.access == ("label" if signal == "correctness" else "scores")
    assert attack.auc.value is not None
    assert attack.auc.value > 0.5
