"""Audits with reference models: which record trained which, what attacks are given of it, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pmcore import Audit
from pmcore.cli import run
from pmcore.data import Role
from pmcore.digests import canonical_types, digest
from pmcore.errors import AuditError, InputError
from pmcore.evidence import Source
from pmcore.installed import EVERY_PLUGIN, list_plugins
from pmcore.reference_set import place, read_references
from pmcore.reports.terminal import render_terminal
from pmcore.schema import AuditReport
from pmcore.stand import Unseen
from tests.core.cases import Case, make_case
from tests.core.reference_cases import ReferenceCase, make_reference_case, write_folder, write_network


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> ReferenceCase:
    return make_reference_case(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


def test_references_find_what_no_threshold_for_all_records_finds(recorded: ReferenceCase) -> None:
    report = recorded.audit(attacks=("population", "lira", "reference")).run().report
    population, lira = report.attacks["population"].auc, report.attacks["lira"].auc
    assert population.high is not None
    assert lira.low is not None
    assert lira.low > population.high
    assert report.references is not None
    assert len(report.references.models) == 8
    assert (report.references.inside, report.references.outside) == (4, 4)


def test_every_record_is_given_references_that_did_not_see_it() -> None:
    rng = np.random.default_rng(0)
    membership = rng.permuted(np.tile(np.arange(6) % 3 == 0, (50, 1)), axis=1)
    population = np.zeros((20, 6), dtype=np.bool_)
    population[3, [0, 1, 2]] = True
    unseen = Unseen.of(membership, population)
    assert unseen.audited.shape == (3, 50)
    assert not membership[np.arange(50), unseen.audited].any()
    of_models = np.broadcast_to(np.arange(6.0)[:, None], (6, 50))
    np.testing.assert_array_equal(unseen.take(Source.REFERENCES, of_models), unseen.audited)
    assert unseen.population is not None
    assert set(unseen.population[:, 3]) == {3, 4, 5}


def test_accuracies_of_references_stand_beside_the_models(recorded: ReferenceCase) -> None:
    result = recorded.audit().run()
    correct = recorded.logits.argmax(axis=2) == recorded.case.y
    part = result.report.references
    assert part is not None
    for index, one in enumerate(part.models):
        inside = recorded.membership[:, index]
        assert one.accuracy_inside is not None
        assert one.accuracy_outside is not None
        assert one.accuracy_inside.value == pytest.approx(correct[index, inside].mean())
        assert one.accuracy_outside.value == pytest.approx(correct[index, ~inside].mean())
    assert "accuracy on what trained them" in render_terminal(result.report)


def test_references_unlike_the_model_are_a_warning(tmp_path: Path) -> None:
    made = make_reference_case(tmp_path)
    worse = made.logits.copy()
    worse[2, :450] = np.roll(worse[2, :450], 1, axis=1)
    np.savez(made.archive, logits=worse, membership=made.membership)
    report = made.audit().run().report
    (check,) = (check for check in report.validity if check.name == "likeness")
    assert check.verdict == "warning"
    assert "1 of 8 differ by more than 5 points" in check.text


def test_records_are_recognised_by_their_hashes_in_any_order(case: Case, tmp_path: Path) -> None:
    plan = case.audit().plan()
    feeds = plan.roles.feeds
    types = canonical_types([feeds[role].records for role in (Role.MEMBERS, Role.NONMEMBERS)])
    digests = np.concatenate([digest(feeds[role].records, types) for role in (Role.MEMBERS, Role.NONMEMBERS)])
    rng = np.random.default_rng(1)
    membership = rng.integers(0, 2, (len(digests), 5)).astype(np.bool_)
    shuffled = rng.permutation(len(digests))
    names = [str(kind) for kind in types]
    folder = write_folder(tmp_path / "refs", case, membership[shuffled], digests[shuffled], names)
    found = read_references(case.audit(references=str(folder)).settings)
    assert found is not None
    placed = place(found, plan.roles)
    members = len(feeds[Role.MEMBERS])
    np.testing.assert_array_equal(placed.membership[Role.MEMBERS], membership[:members])
    np.testing.assert_array_equal(placed.membership[Role.NONMEMBERS], membership[members:])
    assert not placed.membership[Role.POPULATION].any()
    assert placed.known == len(digests)


def test_an_audit_of_a_folder_of_references_says_where_they_come_from(case: Case, tmp_path: Path) -> None:
    plan = case.audit().plan()
    records = [plan.roles.feeds[role].records for role in (Role.MEMBERS, Role.NONMEMBERS)]
    types = canonical_types(records)
    digests = np.concatenate([digest(one, types) for one in records])
    membership = np.random.default_rng(2).permuted(np.tile(np.arange(6) % 2 == 0, (len(digests), 1)), axis=1)
    folder = write_folder(tmp_path / "refs", case, membership, digests, [str(kind) for kind in types])
    result = case.audit(references=str(folder), attacks=("reference",)).run()
    text = " ".join(render_terminal(result.report).split())
    assert "6 trained by pmcore's trainer 'nobody' on half of the pool each, for 3 epochs" in text
    shutil.rmtree(folder / "models")
    with pytest.raises(InputError, match="is missing - go on with"):
        case.audit(references=str(folder)).plan()


def test_the_model_itself_is_refused_as_its_reference(case: Case, tmp_path: Path) -> None:
    files = [str(write_network(tmp_path / "a.npz", 1.3)), str(case.model)]
    with pytest.raises(InputError, match="is the audited model itself"):
        case.audit(references=files, attacks=("reference",)).plan()


def test_the_model_in_another_file_is_refused_by_its_answers(case: Case, tmp_path: Path) -> None:
    copy = write_network(tmp_path / "copy.npz", 1.0)
    files = [str(write_network(tmp_path / "a.npz", 1.3)), str(copy)]
    audit = case.audit(references=files, attacks=("reference",))
    if copy.read_bytes() == case.model.read_bytes():
        copy.write_bytes(copy.read_bytes() + b"")
    with pytest.raises(InputError, match=r"is the audited model itself|answers exactly as the audited model"):
        audit.run()


def test_references_of_other_classes_are_refused(case: Case, tmp_path: Path) -> None:
    files = [str(write_network(tmp_path / f"{name}.npz", 1.3, classes=3)) for name in ("three", "another")]
    with pytest.raises(InputError, match="has 3 classes, and the audited model 4"):
        case.audit(references=files, attacks=("reference",)).plan()


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"logits": np.zeros((3, 10, 4), np.float32)}, "10 rows, and the files hold 300 members and 600 non-members"),
        ({"logits": np.zeros((3, 900), np.float32)}, r"give real numbers \(references, records, classes\)"),
        ({"logits": np.zeros((3, 900, 5), np.float32)}, "5 classes, and the audited model 4"),
        ({"logits": np.full((3, 900, 4), np.nan, np.float32)}, "are not finite"),
        (
            {"logits": np.zeros((3, 900, 4), np.float32), "membership": np.zeros((900, 2), np.bool_)},
            r"give 0 and 1, shape \(900, 3\)",
        ),
    ],
    ids=["rows", "axes", "classes", "finite", "membership"],
)
def test_recordings_that_do_not_fit_are_refused(
    case: Case, tmp_path: Path, arrays: dict[str, np.ndarray], complaint: str
) -> None:
    np.savez(tmp_path / "refs.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(AuditError, match=complaint) as caught:
        case.audit(references=str(tmp_path / "refs.npz"), attacks=("reference",)).run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("matrix", "complaint"),
    [
        (np.zeros((900, 3), np.int8), "3 columns for 2 references"),
        (np.zeros((899, 2), np.int8), "899 rows, and the files hold 300 members and 600 non-members"),
        (np.full((900, 2), 2, np.int8), "give 0 and 1, a row per record"),
        (np.zeros(900), "give 0 and 1, a row per record"),
    ],
    ids=["columns", "rows", "values", "axes"],
)
def test_membership_matrices_that_do_not_fit_are_refused(
    case: Case, tmp_path: Path, matrix: np.ndarray, complaint: str
) -> None:
    np.save(tmp_path / "membership.npy", matrix)
    files = [str(write_network(tmp_path / f"{scale}.npz", scale)) for scale in (1.3, 1.4)]
    settings = {"references": files, "reference_membership": str(tmp_path / "membership.npy")}
    with pytest.raises(InputError, match=complaint):
        case.audit(**settings, attacks=("reference",)).plan()


def test_too_few_references_are_told_and_what_can_run_runs(case: Case, tmp_path: Path) -> None:
    files = [str(write_network(tmp_path / f"{scale}.npz", scale)) for scale in (1.3, 1.4)]
    report = case.audit(references=files, attacks=("population", "shadow", "lira")).run().report
    assert "population" in report.attacks
    reasons = {part.attack: part.reason for part in report.skipped}
    assert "it needs" in reasons["shadow"]


def test_without_references_attacks_that_need_some_say_how_to_get_them(case: Case) -> None:
    with pytest.raises(InputError, match="none are given - make some with `pmcore references`"):
        case.audit(attacks=("lira",)).plan()


def test_what_is_asked_of_references_does_not_depend_on_the_order_of_the_files(
    recorded: ReferenceCase, tmp_path: Path
) -> None:
    first = recorded.audit(attacks=("lira", "reference")).run()
    n = recorded.case.n_members
    order = np.concatenate([np.arange(n)[::-1], np.arange(n, len(recorded.case.y))])
    x, y = recorded.case.x, recorded.case.y
    np.savez(tmp_path / "members.npz", x=x[:n][::-1], y=y[:n][::-1])
    np.savez(tmp_path / "refs.npz", logits=recorded.logits[:, order], membership=recorded.membership[order])
    second = recorded.audit(
        attacks=("lira", "reference"), members=str(tmp_path / "members.npz"), references=str(tmp_path / "refs.npz")
    ).run()
    for name in ("lira", "reference"):
        np.testing.assert_allclose(
            first.scores.scores[name][:n], second.scores.scores[name][:n][::-1], rtol=1e-9, atol=1e-12
        )


def test_references_are_keys_of_the_audit_file_beside_which_they_lie(recorded: ReferenceCase) -> None:
    config = recorded.case.folder / "audit.yaml"
    config.write_text(
        f"model: {recorded.case.model.name}\nmembers: members.npz\nnon_members: nonmembers.npz\n"
        "references: references.npz\nattacks: [lira]\n"
    )
    assert "lira" in Audit(config=config).run().report.attacks


def test_all_attacks_run_that_can_and_the_others_are_listed_without_being_missed(
    recorded: ReferenceCase, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = recorded.case.arguments
    records = ["--members", arguments["members"], "--non-members", arguments["non_members"]]
    given = ["--references", str(recorded.archive), "--attack", "all", "--attack", "lira:mode=offline"]
    assert run(["audit", arguments["model"], *records, *given, "--json"]) == 0
    report = AuditReport.model_validate_json(capsys.readouterr().out)
    assert {"population", "lira", "rmia", "shadow", "gap", "boundary", "quantile"} <= report.attacks.keys()
    assert report.attacks["lira"].options["mode"] == "offline"
    assert all(not part.asked for part in report.skipped)
    installed = {plugin.name for plugin in list_plugins("attacks", EVERY_PLUGIN)}
    assert report.attacks.keys() | {part.attack for part in report.skipped} == installed


def test_an_attack_that_was_asked_for_by_name_is_missed_beside_all(case: Case) -> None:
    report = case.audit(attacks=("all", "lira")).run().report
    asked = {part.attack: part.asked for part in report.skipped}
    assert asked["lira"]
    assert not asked["rmia"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"types": ["object", "int64"]}, r"references.json: types.0: "),
        ({"types": ["float32"]}, "the references' records have 0 inputs"),
        ({"models.0.file": "../../model.npz"}, "leads out of the folder"),
        ({"models.0.file": "/etc/passwd"}, "leads out of the folder"),
        ({"models.0.sha256": "0" * 64}, "is not the file that references.json names"),
        (
            {"models.0.loading": {"model_class": "os:abort"}},
            r"'os:abort', which is code that would run; if you made it",
        ),
        ({"models.0.loading": {"backend": "numpy:trust_model=sha256:0"}}, "with options; if you made it yourself"),
        ({"membership_sha256": "0" * 64}, "is not the one that the manifest names"),
        ({"models": []}, "references.json: models: "),
        ({"more": 1}, "references.json: more: "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_forged_lists_of_references_are_refused(
    case: Case, tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    plan = case.audit().plan()
    records = [plan.roles.feeds[role].records for role in (Role.MEMBERS, Role.NONMEMBERS)]
    types = canonical_types(records)
    digests = np.concatenate([digest(one, types) for one in records])
    membership = np.random.default_rng(2).permuted(np.tile(np.arange(4) % 2 == 0, (len(digests), 1)), axis=1)
    folder = write_folder(tmp_path / "refs", case, membership, digests, [str(kind) for kind in types])
    manifest = json.loads((folder / "references.json").read_text())
    for address, value in changes.items():
        *path, last = address.split(".")
        part = manifest
        for step in path:
            part = part[int(step)] if step.isdigit() else part[step]
        part[last] = value
    (folder / "references.json").write_text(json.dumps(manifest))
    with pytest.raises(AuditError, match=complaint) as caught:
        case.audit(references=str(folder), attacks=("reference",)).plan()
    assert "\n" not in str(caught.value)


def test_references_that_saw_one_side_more_often_are_a_warning(tmp_path: Path) -> None:
    made = make_reference_case(tmp_path)
    membership = made.membership.copy()
    membership[: made.case.n_members, 0] = False
    np.savez(made.archive, logits=made.logits, membership=membership)
    (check,) = (check for check in made.audit().run().report.validity if check.name == "references")
    assert check.verdict == "warning"
    assert "members were seen by 3.5 of them on average and non-members by 4.0" in check.text
