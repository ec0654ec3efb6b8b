"""Which attacks run: those that a model can serve, fallbacks of those that it cannot, parts of which some are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pmcore import Audit
from pmcore.errors import InputError
from pmcore.evidence import told_of
from pmcore.reports.terminal import render_terminal
from tests.core.cases import Case, make_case, write_records

PLANTED = '''
from dataclasses import dataclass
import numpy as np
from pmcore.interfaces import Attack, Evidence, Floats, Needs, PValues


@dataclass(frozen=True)
class Deep(Attack):
    """Is the gradient small? score = -norm (a test)."""

    knowledge = "nothing"
    signal: str = "gradient_sketch"
    instead: str = "loss"
    layers: tuple[str, ...] = ()

    @property
    def fallback(self) -> Attack | None:
        return Deep(signal=self.instead, instead="") if self.instead else None

    @property
    def needs(self) -> Needs:
        named = f"{self.signal}:layers=[{','.join(self.layers)}]" if self.layers else self.signal
        return Needs(target=(named,))

    def score(self, evidence: Evidence) -> Floats:
        values = evidence.target(*self.needs.target)
        return -values if values.ndim == 1 else -np.abs(values).sum(axis=1)


@dataclass(frozen=True)
class Learner(Attack):
    """Does it look like those that are known? score = closeness to the known members' mean loss (a test)."""

    knowledge = "other members"
    folds: int = 5

    @property
    def needs(self) -> Needs:
        return Needs(target=("loss",), known_folds=self.folds)

    def score(self, evidence: Evidence) -> Floats:
        assert evidence.known is not None
        loss = evidence.target("loss")
        inside, outside = (loss[evidence.known == side].mean() for side in (1, 0))
        return np.abs(loss - outside) - np.abs(loss - inside)


@dataclass(frozen=True)
class Peeper(Learner):
    """Is it told to be a member? score = what it is told, and -1 where it is told nothing (a test)."""

    def score(self, evidence: Evidence) -> Floats:
        assert evidence.known is not None
        return evidence.known.astype(np.float64)
'''


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = tmp_path / "site"
    metadata = site / "planted_selection-1.0.dist-info"
    metadata.mkdir(parents=True)
    (site / "planted_selection.py").write_text(PLANTED)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-selection\nVersion: 1.0\n")
    names = {"deep": "Deep", "learner": "Learner", "peeper": "Peeper"}
    entries = "".join(f"{name} = planted_selection:{cls}\n" for name, cls in names.items())
    (metadata / "entry_points.txt").write_text(f"[pmcore.attacks]\n{entries}")
    monkeypatch.syspath_prepend(str(site))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Audit:
    """Return the audit of a function, which has neither layers nor gradients."""
    import pmcore

    case = make_case(tmp_path_factory.mktemp("function"))
    model = pmcore.from_callable(lambda x: x[:, :4], classes=4, scale="logits")
    return case.audit(model=model, attacks=["deep", "population"])


@pytest.mark.usefixtures("planted")
def test_a_fallback_runs_where_the_model_does_not_give_what_is_asked_and_the_report_says_why(linear: Audit) -> None:
    result = linear.run()
    part = result.report.attacks["deep"]
    assert part.signals == ["loss"]
    assert part.note is not None
    assert "gradient_sketch" in part.note
    assert result.report.skipped == []
    shown = " ".join(render_terminal(result.report).split())
    assert "deep read loss instead: signal 'gradient_sketch'" in shown


@pytest.mark.usefixtures("planted")
def test_an_attack_whose_fallback_cannot_run_either_is_skipped_for_its_own_reason(case: Case) -> None:
    import pmcore

    model = pmcore.from_callable(lambda x: x[:, :4], classes=4, scale="logits")
    audit = case.audit(model=model, attacks=["deep:instead=gradient_norm", "population"])
    (skipped,) = audit.run().report.skipped
    assert skipped.attack == "deep"
    assert "gradient_sketch" in skipped.reason


@pytest.mark.usefixtures("planted")
def test_layers_of_the_audit_are_the_option_of_every_attack_that_has_one(case: Case) -> None:
    report = case.audit(attacks=["deep:signal=gradient_norm", "population"], layers="-1").run().report
    assert report.attacks["deep"].options["layers"] == ["-1"]
    assert report.attacks["deep"].signals == ["gradient_norm:layers=[-1]"]
    own = case.audit(attacks=["deep:signal=gradient_norm,layers=fc0"], layers="-1").run().report
    assert own.attacks["deep"].options["layers"] == ["fc0"]


@pytest.mark.usefixtures("planted")
def test_a_layer_that_the_model_does_not_have_is_refused_before_the_first_query(case: Case) -> None:
    with pytest.raises(InputError, match=r"'fc9' - no such layer \(did you mean 'fc0'"):
        case.audit(attacks=["deep:signal=gradient_norm"], layers="fc9").plan()


@pytest.mark.usefixtures("planted")
def test_an_attack_is_never_told_the_membership_of_what_it_scores(case: Case) -> None:
    result = case.audit(attacks="peeper").run()
    assert set(result.scores.scores["peeper"]) == {-1.0}


@pytest.mark.usefixtures("planted")
def test_an_attack_that_learns_finds_a_planted_leak_and_is_called_an_upper_bound(case: Case) -> None:
    result = case.audit(attacks="learner").run()
    auc = result.report.attacks["learner"].auc
    assert auc.low is not None
    assert auc.low > 0.7
    assert result.report.attacks["learner"].threat_model.told_of_others
    assert "learner learns from records whose membership it is told: more than" in " ".join(str(result).split())


@pytest.mark.usefixtures("planted")
def test_scores_of_an_attack_that_learns_do_not_depend_on_the_order_of_the_files(case: Case, tmp_path: Path) -> None:
    first = case.audit(attacks="learner").run()
    order = np.random.default_rng(0).permutation(case.n_members)
    write_records(tmp_path / "members.npz", case.x[: case.n_members][order], case.y[: case.n_members][order])
    other = case.audit(attacks="learner", members=str(tmp_path / "members.npz")).run()
    expected = first.scores.scores["learner"][: case.n_members][order]
    np.testing.assert_allclose(other.scores.scores["learner"][: case.n_members], expected, rtol=1e-12)


@pytest.mark.usefixtures("planted")
def test_folds_share_out_both_sides_and_keep_equal_records_together(tmp_path: Path) -> None:
    case = make_case(tmp_path, 100, 120)
    doubled = np.concatenate([np.arange(100), np.arange(40)])
    write_records(tmp_path / "members.npz", case.x[:100][doubled], case.y[:100][doubled])
    roles = case.audit(attacks="learner").plan().roles
    folds = roles.folds(4)
    in_file_order = np.empty_like(folds)
    in_file_order[roles.evidence_order()] = folds
    members, others = in_file_order[:140], in_file_order[140:]
    np.testing.assert_array_equal(members[:40], members[100:])
    for side, distinct in ((members[:100], 100), (others, len(others))):
        counts = np.bincount(side, minlength=4)
        assert counts.min() >= distinct // 4
        assert counts.max() <= -(-distinct // 4)


@pytest.mark.usefixtures("planted")
def test_an_attack_that_learns_is_skipped_where_a_side_has_fewer_records_than_parts(tmp_path: Path) -> None:
    case = make_case(tmp_path, 6, 40)
    report = case.audit(attacks=["learner:folds=10", "population"]).run().report
    assert [part.reason for part in report.skipped] == [
        "it learns from 10 parts of members and of non-members, and one side has 6 different records of its own"
    ]


def test_gradients_are_audited_and_the_json_says_where_they_came_from(case: Case) -> None:
    report = case.audit(attacks="population:signal=gradient_norm").run().report
    auc = report.attacks["population"].auc
    assert auc.low is not None
    assert auc.low > 0.7
    assert report.attacks["population"].threat_model.access == "gradients"
    assert "gradients" in json.loads(report.model_dump_json())["model"]


@pytest.mark.usefixtures("planted")
def test_an_attack_that_learns_from_two_parts_is_skipped(case: Case) -> None:
    report = case.audit(attacks=["learner:folds=2", "population"]).run().report
    assert [part.reason for part in report.skipped] == [
        "it declares 2 folds of known members, and learns from others from 3 on"
    ]


@pytest.mark.parametrize("count", [3, 4, 5, 8])
def test_no_two_folds_are_told_of_each_other(count: int) -> None:
    folds = np.arange(count)
    told = np.stack([told_of(folds, fold, count) for fold in range(count)])
    assert not (told & told.T).any()
    assert (told.sum(axis=1) == (count - 1) // 2).all()


@pytest.mark.usefixtures("planted")
def test_records_that_stand_on_both_sides_share_a_fold(tmp_path: Path) -> None:
    case = make_case(tmp_path, 60, 90)
    both = np.arange(0, 60, 7)
    others = np.concatenate([np.arange(60, 150), both])
    write_records(tmp_path / "nonmembers.npz", case.x[others], case.y[others])
    share = np.concatenate([case.x[np.arange(60, 150)], case.x[both]])
    write_records(tmp_path / "population.npz", share[:40] + 5.0, case.y[others][:40])
    roles = case.audit(attacks="learner", population=str(tmp_path / "population.npz")).plan().roles
    folds = np.empty(60 + len(others), dtype=np.intp)
    folds[roles.evidence_order()] = roles.folds(4)
    np.testing.assert_array_equal(folds[:60][both], folds[60 + 90 :])


@pytest.mark.usefixtures("planted")
def test_copies_do_not_count_where_an_attack_learns_from_parts(tmp_path: Path) -> None:
    case = make_case(tmp_path, 60, 40)
    few = np.tile(np.arange(3), 20)
    write_records(tmp_path / "members.npz", case.x[few], case.y[few])
    report = case.audit(attacks=["learner", "population"]).run().report
    assert [part.reason for part in report.skipped] == [
        "it learns from 5 parts of members and of non-members, and one side has 3 different records of its own"
    ]


@pytest.mark.usefixtures("planted")
def test_the_headline_is_what_an_outsider_can_do_and_those_who_are_told_have_a_sentence_of_their_own(
    case: Case,
) -> None:
    shown = " ".join(str(case.audit(attacks=["learner", "population"]).run()).split())
    assert "the one attack tried (population)" in shown
    assert "Somebody who is told who else was a member, and learns from it (learner), would tell" in shown
    alone = " ".join(str(case.audit(attacks=["learner"]).run()).split())
    assert "the one attack tried (learner, which is told of other records)" in alone
