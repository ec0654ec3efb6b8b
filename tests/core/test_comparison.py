"""Audits held against each other: known answers, intervals that cover, and records that are the same."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import ndtr

from pmcore import statistics
from pmcore.comparison import compare
from pmcore.comparison_schema import ComparisonReport, DifferenceFigure
from pmcore.differences import auc_correlation, beyond_zero, correlation, difference, with_reach_below_zero
from pmcore.errors import AuditError, ExitCode, InputError, Misfits
from pmcore.exposure import exposure
from pmcore.interfaces import Floats
from pmcore.paired import rank, redraw
from pmcore.statistics import Estimate
from pmcore.testing.example_report import example_report, invalid_report
from tests.core.stored_audits import Scores, beside, gaussian, other_file, store


def figures(report: ComparisonReport, attack: str = "population", pair: int = 0) -> dict[str, DifferenceFigure]:
    found = report.pairs[pair].attacks[attack]
    return {"auc": found.auc, "advantage": found.advantage, **found.tpr_at_fpr}


def complaints(*paths: str) -> tuple[str, ...]:
    with pytest.raises(AuditError) as caught:
        compare(paths)
    return caught.value.complaints if isinstance(caught.value, Misfits) else (str(caught.value),)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    folder, scores = tmp_path_factory.mktemp("pair"), gaussian(1.0)
    return (
        store(folder / "before", {"population": scores, "lira": gaussian(1.2, seed=3)}),
        store(folder / "after", {"population": beside(scores, -0.8, 0.9), "lira": gaussian(1.2, seed=4)}),
    )


def test_an_audit_differs_from_itself_by_exactly_nothing(pair: tuple[str, str]) -> None:
    report = compare([pair[0], pair[0]])
    for name in ("population", "lira"):
        for figure in figures(report, name).values():
            assert figure.value is None or (figure.value, figure.low, figure.high) == (0, 0, 0)
    assert report.pairs[0].verdict == "no difference seen"
    assert "both audits are of the same model file" in report.pairs[0].notes
    moves = report.pairs[0].attacks["population"].exposure.moves
    assert moves is not None
    assert (moves.newly_exposed, moves.no_longer_exposed) == (0, 0)


def test_scores_that_rank_alike_differ_by_nothing(tmp_path: Path) -> None:
    scores = gaussian(0.7, seed=5)
    stretched = Scores(np.exp(scores.members), np.exp(scores.nonmembers))
    report = compare([store(tmp_path / "a", {"x": scores}), store(tmp_path / "b", {"x": stretched})])
    assert all(figure.low == figure.high == 0 for figure in figures(report, "x").values() if figure.value is not None)


def test_a_planted_shift_is_the_one_of_the_closed_form(tmp_path: Path) -> None:
    scores = gaussian(1.0, 20_000, 20_000)
    report = compare([store(tmp_path / "a", {"x": scores}), store(tmp_path / "b", {"x": beside(scores, -0.5, 0.8)})])
    found = figures(report, "x")
    truth = {
        "auc": ndtr(0.5 / np.sqrt(2)) - ndtr(1 / np.sqrt(2)),
        "advantage": 2 * (ndtr(0.25) - ndtr(0.5)),
        "0.1": ndtr(0.5 - 1.2815515655) - ndtr(1 - 1.2815515655),
        "0.01": ndtr(0.5 - 2.3263478740) - ndtr(1 - 2.3263478740),
    }
    for name, expected in truth.items():
        figure = found[name]
        assert figure.value is not None
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= expected <= figure.high
        assert figure.value == pytest.approx(expected, abs=0.02)
    assert report.pairs[0].attacks["x"].verdict == "leaks less"


def test_the_order_of_the_audits_turns_every_sign_and_nothing_else(pair: tuple[str, str]) -> None:
    there, back = compare(pair), compare(pair[::-1])
    for name in ("population", "lira"):
        for one, two in zip(figures(there, name).values(), figures(back, name).values(), strict=True):
            if one.value is None:
                assert two.value is None
                continue
            assert (one.baseline, one.other) == (two.other, two.baseline)
            assert [one.value, one.low, one.high] == pytest.approx([-(x or 0) for x in (two.value, two.high, two.low)])
    assert (there.pairs[0].verdict, back.pairs[0].verdict) == ("leaks less", "leaks more")


def test_further_audits_and_attacks_change_no_interval_and_the_same_seed_gives_the_same(pair: tuple[str, str]) -> None:
    alone, among = compare(pair, ["population"]), compare([*pair, pair[0]])
    plain = [json.loads(part.auc.model_dump_json(exclude={"seen"})) for part in alone.pairs[0].attacks.values()]
    assert plain == [json.loads(among.pairs[0].attacks["population"].auc.model_dump_json(exclude={"seen"}))]
    again = compare([*pair, pair[0]])
    assert again.model_copy(update={"run": among.run}) == among
    assert among.looked_at > alone.looked_at


def test_draws_have_the_figures_of_resampled_records() -> None:
    rng = np.random.default_rng(0)
    members, nonmembers = rng.integers(3, 23, 60).astype(float), rng.integers(0, 20, 50).astype(float)
    (drawn,) = redraw([rank(members, nonmembers)], np.array([0.1, 0.02]), 7, 15)
    inside, outside = (np.random.default_rng(child) for child in np.random.SeedSequence(7).spawn(2))
    rows = inside.integers(0, 60, size=(15, 60)), outside.integers(0, 50, size=(15, 50))
    for draw in range(15):
        scores = statistics.sort_scores(members[rows[0][draw]], nonmembers[rows[1][draw]])
        assert drawn.advantage[draw] == pytest.approx(statistics.advantage(scores).value, abs=1e-12)
        expected = [statistics.tpr_at_fpr(scores, fpr, rng, draws=1).value for fpr in (0.1, 0.02)]
        assert drawn.tpr[draw] == pytest.approx(expected, abs=1e-12)


def test_draws_do_not_depend_on_the_size_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = gaussian(1.0, 40, 30)
    ranking = rank(scores.members, scores.nonmembers)
    (whole,) = redraw([ranking], np.array([0.1]), 1, 23)
    monkeypatch.setattr("pmcore.paired._COUNTS_PER_BLOCK", 90)
    (parts,) = redraw([ranking], np.array([0.1]), 1, 23)
    np.testing.assert_array_equal(whole.advantage, parts.advantage)
    np.testing.assert_array_equal(whole.tpr, parts.tpr)


def test_delong_s_correlation_is_that_of_the_draws() -> None:
    scores = gaussian(1.0, 300, 300)
    other = beside(scores, 0.2, 0.8)
    expected = auc_correlation(rank(scores.members, scores.nonmembers), rank(other.members, other.nonmembers))
    rng, aucs = np.random.default_rng(0), np.empty((400, 2))
    for draw in range(400):
        i, j = rng.integers(0, 300, 300), rng.integers(0, 300, 300)
        aucs[draw] = [
            statistics.auc(statistics.sort_scores(x.members[i], x.nonmembers[j])).value for x in (scores, other)
        ]
    assert expected == pytest.approx(correlation(aucs[:, 0], aucs[:, 1]), abs=0.06)


def coverage(n1: int, n0: int, shifts: tuple[float, float], together: float, repetitions: int) -> Floats:
    """Return the share of intervals of AUC, advantage and TPR at 10 % that hold the difference of the closed forms."""
    truth = [
        [ndtr(s / np.sqrt(2)) for s in shifts],
        [2 * ndtr(s / 2) - 1 for s in shifts],
        [ndtr(s - 1.2815515655) for s in shifts],
    ]
    rng, rest = np.random.default_rng(8), np.sqrt(1 - together**2)
    held = np.zeros((repetitions, 3))
    for row in held:
        g, h = rng.normal(size=(2, n1)), rng.normal(size=(2, n0))
        both = (g[0] + shifts[0], h[0]), (together * g[0] + rest * g[1] + shifts[1], together * h[0] + rest * h[1])
        rankings = [rank(*one) for one in both]
        in_order = [statistics.sort_scores(*one) for one in both]
        draws = redraw(rankings, np.array([0.1]), 0, 200)
        estimates: list[tuple[list[Estimate], float]] = [
            ([statistics.auc(x) for x in in_order], auc_correlation(rankings[0], rankings[1])),
            (
                [with_reach_below_zero(statistics.advantage(x), 0.95) for x in in_order],
                correlation(draws[0].advantage, draws[1].advantage),
            ),
            (
                [statistics.tpr_at_fpr(x, 0.1, np.random.default_rng(1)) for x in in_order],
                correlation(draws[0].tpr[:, 0], draws[1].tpr[:, 0]),
            ),
        ]
        for place, ((one, two), r) in enumerate(estimates):
            found = difference(one, two, r)
            assert found is not None
            row[place] = found.low <= truth[place][1] - truth[place][0] <= found.high
    share: Floats = held.mean(axis=0)
    return share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n1", "n0", "shifts", "together"),
    [(150, 150, (1.0, 0.0), 0.3), (150, 150, (1.0, 1.0), 0.98), (50, 50, (3.0, 2.0), 0.8), (50, 500, (0.3, 0.9), 0.8)],
)
def test_intervals_cover_the_difference_of_the_closed_forms(
    n1: int, n0: int, shifts: tuple[float, float], together: float
) -> None:
    # Of 200 repetitions 91 % or fewer hold an interval that covers 95 % in one run of seventy.
    assert (coverage(n1, n0, shifts, together, 200) >= 0.91).all()


def test_intervals_of_audits_that_go_together_are_narrow(tmp_path: Path) -> None:
    scores = gaussian(1.0)
    paths = [store(tmp_path / "a", {"x": scores})]
    paths += [store(tmp_path / f"b{r}", {"x": beside(scores, 0.0, r)}) for r in (0.0, 0.9, 0.9999)]
    report = compare(paths)
    widths = [(pair.attacks["x"].auc.high or 0) - (pair.attacks["x"].auc.low or 0) for pair in report.pairs]
    assert widths[0] > 2 * widths[1] > 20 * widths[2]


def test_one_of_many_figures_must_lie_further_from_nothing() -> None:
    one, two = (Estimate(x, x - 0.05, x + 0.05, 100, 100, "") for x in (0.6, 0.68))
    found = difference(one, two, 0.0)
    assert found is not None
    assert beyond_zero(found, 1, 0.95) == 1
    assert beyond_zero(found, 20, 0.95) == 0


def test_records_in_one_audit_alone_are_left_out_and_counted(tmp_path: Path) -> None:
    scores, other = gaussian(1.0), gaussian(0.4, seed=9)
    a = store(tmp_path / "a", {"x": scores}, rows=(np.arange(400), np.arange(0, 400)))
    b = store(tmp_path / "b", {"x": other}, rows=(np.arange(100, 400)[::-1], np.arange(200, 500)))
    pair = compare([a, b]).pairs[0]
    assert (pair.members, pair.nonmembers) == (300, 200)
    for side, value in ((scores, pair.attacks["x"].auc.baseline), (other, pair.attacks["x"].auc.other)):
        common = statistics.sort_scores(side.members[100:], side.nonmembers[200:400])
        assert value == statistics.auc(common).value


@pytest.mark.parametrize(("role", "said"), [("members", "members"), ("nonmembers", "non-members")])
def test_records_of_another_file_are_refused_and_it_is_named(tmp_path: Path, role: str, said: str) -> None:
    a = store(tmp_path / "a", {"x": gaussian(1.0)})
    b = store(tmp_path / "b", {"x": gaussian(1.0)}, data=other_file(example_report({}), role))
    (line,) = complaints(a, b)
    assert line.startswith(f"{b}: {said} are from other-{role}.npz (sha256 cdcdcdcd…)")


def test_digests_match_records_whatever_file_and_place_they_have(tmp_path: Path) -> None:
    scores, order = gaussian(1.0), np.random.default_rng(2).permutation(400)
    digests = np.random.default_rng(3).integers(0, 2**63, size=(900, 2)).astype(np.uint64)
    digests[1] = digests[0]  # a record that is there twice
    labels = np.arange(900) % 5
    labels[1] = labels[0]
    a = store(tmp_path / "a", {"x": scores}, columns={"digest": digests, "label": labels})
    mixed = Scores(scores.members[order], scores.nonmembers)
    rows = np.concatenate([order, np.arange(400, 900)])
    b = store(
        tmp_path / "b",
        {"x": mixed},
        columns={"digest": digests[rows], "label": labels[rows]},
        data=other_file(example_report({}), "members"),
    )
    pair = compare([a, b]).pairs[0]
    assert (pair.matched_by, pair.members, pair.nonmembers) == ("digest of the record", 400, 500)
    assert pair.attacks["x"].exposure.ranks.unchanged >= 398


def test_members_that_move_are_counted_by_class_and_small_classes_together() -> None:
    nonmembers = np.arange(100.0)
    before, after = np.full(25, 50.0), np.full(25, 50.0)
    before[:4] = 200.0  # above all non-members: exposed
    after[2:9] = 99.0  # above the second largest, the threshold with one false positive allowed
    labels = np.array([0] * 12 + [1] * 10 + [2, 2, 3])
    found = exposure(rank(before, nonmembers), rank(after, nonmembers), labels)
    assert found.moves is not None
    assert found.moves.model_dump() == {
        "members": 25,
        "newly_exposed": 5,
        "no_longer_exposed": 2,
        "exposed_in_both": 2,
    }
    assert (found.ranks.closer, found.ranks.further, found.ranks.unchanged) == (5, 4, 16)
    assert [(part.label, part.members) for part in found.per_class] == [(0, 12), (1, 10), (None, 3)]


def test_too_few_non_members_give_a_reason_and_no_threshold(tmp_path: Path) -> None:
    scores = gaussian(1.0, 50, 60)
    report = compare([store(tmp_path / "a", {"x": scores}), store(tmp_path / "b", {"x": beside(scores, 0.1, 0.9)})])
    exposed = report.pairs[0].attacks["x"].exposure
    assert exposed.moves is None
    assert exposed.reason == "a threshold at 1 % false positives needs 100 non-members; there are 60"
    unresolved = figures(report, "x")["0.01"]
    assert unresolved.value is None
    assert unresolved.reason == "cannot be resolved with 60 non-members; 100 needed"


def test_a_rate_that_no_threshold_reaches_bears_no_verdict(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sides = [
        Scores((rng.random(400) < 0.9).astype(float), (rng.random(500) < share).astype(float)) for share in (0.7, 0.4)
    ]
    report = compare([store(tmp_path / name, {"gap": one}) for name, one in zip("ab", sides, strict=True)])
    found = figures(report, "gap")
    assert (found["0.01"].out_of_reach, found["0.01"].seen) == (True, None)
    assert report.looked_at == 1
    assert report.pairs[0].verdict == "leaks more"


def test_attacks_of_one_audit_alone_are_named_with_the_reason(tmp_path: Path, pair: tuple[str, str]) -> None:
    other = store(tmp_path / "b", {"population": gaussian(1.0)})
    assert compare([pair[0], other]).pairs[0].left_out == {"lira": f"did not run in {other}"}
    (line,) = complaints(pair[0], store(tmp_path / "c", {"robustness": gaussian(1.0)}))
    assert "no attack ran both here and in" in line
    with pytest.raises(InputError, match="attack 'nasr' did not run in this audit - it has population, lira"):
        compare(pair, ["nasr"])


def test_an_invalid_audit_is_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    invalid = store(tmp_path / "b", {"population": gaussian(1.0)}, valid=False, validity=invalid_report().validity)
    with pytest.raises(AuditError, match=r"the audit is INVALID: accuracy on non-members 10\.3 %") as caught:
        compare([pair[0], invalid])
    assert caught.value.exit_code == ExitCode.INVALID


def test_scores_of_another_audit_beside_the_report_are_refused(tmp_path: Path, pair: tuple[str, str]) -> None:
    mixed = store(tmp_path / "b", {"population": gaussian(1.0)})
    Path(mixed, "scores.npz").write_bytes(Path(pair[1], "scores.npz").read_bytes())
    (line,) = complaints(pair[0], mixed)
    assert line.endswith("the AUC of 'population' is not that of report.json beside it - audit again")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04 not really", "is not what `pmcore audit` wrote - audit again"),
        (b"", "is not what `pmcore audit` wrote - audit again"),
        (None, "no such file - copy the whole folder of the audit, or audit again"),
    ],
)
def test_a_file_of_scores_that_is_broken_or_missing_is_one_line(
    tmp_path: Path, pair: tuple[str, str], content: bytes | None, said: str
) -> None:
    broken = store(tmp_path / "b", {"population": gaussian(1.0)})
    file = Path(broken, "scores.npz")
    file.unlink() if content is None else file.write_bytes(content)
    assert complaints(pair[0], broken) == (f"{file}: {said}",)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"role": np.full(900, 2)}, "role holds other values"),
        ({"id": np.zeros(900, dtype=np.int64)}, "holds a record twice"),
        ({"id": np.arange(900.0)}, "not of one row per record"),
        ({"label": np.arange(900) % 4}, "members have other labels than in"),
        ({"population.score": np.full(900, np.nan)}, "every score must be finite"),
        ({"population.score": np.zeros((900, 2))}, "has shape (900, 2)"),
        ({"population.score": np.zeros(7)}, "not of one row per record"),
    ],
)
def test_columns_that_no_audit_writes_are_refused(
    tmp_path: Path, pair: tuple[str, str], columns: dict[str, Floats], said: str
) -> None:
    (line,) = complaints(pair[0], store(tmp_path / "b", {"population": gaussian(1.0)}, columns=columns))
    assert said in line


def test_all_complaints_come_together(tmp_path: Path, pair: tuple[str, str]) -> None:
    assert len(complaints(str(tmp_path / "nowhere"), pair[0], str(tmp_path / "neither"))) == 2
    assert complaints(pair[0]) == ("a comparison is of 2 to 26 audits, not 1 - name their folders, baseline first",)


def test_the_json_of_a_comparison_is_read_back_as_it_was(pair: tuple[str, str]) -> None:
    report = compare(pair)
    assert ComparisonReport.model_validate(json.loads(report.model_dump_json(by_alias=True))) == report
