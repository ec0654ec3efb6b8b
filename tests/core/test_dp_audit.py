"""Epsilon from one training run: known answers, simulations with a known truth, canaries, and the command."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from pmcore.canaries import make_canaries, read_included, read_pool
from pmcore.commands.dp_audit import command
from pmcore.dp_audit import OneRunBound, default_guesses, epsilon_of_guesses, one_run_bound, p_value
from pmcore.errors import AuditError, InputError
from pmcore.installed import EVERY_PLUGIN
from pmcore.outputs import Array, Floats
from tests.core.cases import CLASSES, losses, make_case, write_records

RUNS = 300
MOST = 0.05 + 2.5 * math.sqrt(0.05 * 0.95 / RUNS)


# Known answers


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "delta", "epsilon"),
    [
        (1000, 1000, 600, 1e-5, 0.2972),
        (1000, 100, 100, 1e-5, 3.4654),
        (1000, 1000, 1000, 1e-5, 5.7823),
        (1000, 1000, 500, 1e-5, 0.0),
        (1000, 1000, 500, 0.0, 0.0),
        (10_000, 10_000, 7330, 0.0, 0.972531),
        (10, 0, 0, 0.0, 0.0),
        (1000, 1000, 600, 1.0, 0.0),
    ],
)
def test_the_bound_has_the_known_values(
    canaries: int, guesses: int, correct: int, delta: float, epsilon: float
) -> None:
    decimals = 6 if epsilon == 0.972531 else 4
    assert epsilon_of_guesses(canaries, guesses, correct, delta) == pytest.approx(epsilon, abs=0.51 * 10**-decimals)


@pytest.mark.parametrize(
    ("canaries", "guesses", "correct", "epsilon", "delta"),
    [
        (50, 30, 20, 0.3, 1e-3),
        (1000, 700, 400, 0.1, 1e-4),
        (1000, 700, 300, 2.0, 1e-4),
        (100, 100, 99, 4.0, 1e-4),
        (10, 5, 1, 0.0, 1e-2),
        (10, 5, 0, 0.0, 1e-2),
        (3000, 3000, 1700, 0.1, 0.0),
        (2000, 2000, 1000, 5.0, 1e-6),
    ],
)
def test_the_p_value_is_the_theorem_word_for_word(
    canaries: int, guesses: int, correct: int, epsilon: float, delta: float
) -> None:
    w = binom(guesses, 1 / (1 + math.exp(-epsilon)))
    steepest = max(
        ((w.cdf(correct - 1) - w.cdf(correct - i - 1)) / i for i in range(1, correct + 1)),
        default=0.0,
    )
    known = min(1.0, float(w.sf(correct - 1) + 2 * canaries * delta * steepest))
    assert p_value(canaries, guesses, correct, epsilon, delta) == pytest.approx(known, rel=1e-9)


@given(st.integers(1, 60), st.data())
@settings(max_examples=40, deadline=None)
def test_more_right_guesses_never_show_less_and_delta_never_more(guesses: int, data: st.DataObject) -> None:
    correct = data.draw(st.integers(0, guesses))
    delta = data.draw(st.sampled_from([0.0, 1e-5, 1e-3]))
    bounds = [epsilon_of_guesses(100, guesses, one, delta) for one in range(correct, guesses + 1)]
    assert bounds == sorted(bounds)
    assert bounds[0] <= epsilon_of_guesses(100, guesses, correct)
    if bounds[0] > 0:  # it lies on the edge of what is rejected
        assert p_value(100, guesses, correct, bounds[0] + 1e-6, delta) >= 0.05
        assert p_value(100, guesses, correct, max(bounds[0] - 1e-6, 0), delta) <= 0.05


def test_many_guesses_are_neither_slow_nor_inexact() -> None:
    exact = epsilon_of_guesses(1_000_000, 1_000_000, 600_000)
    assert exact == pytest.approx(math.log(0.6 / 0.4), abs=0.005)
    assert 0.99 * exact < epsilon_of_guesses(1_000_000, 1_000_000, 600_000, delta=1e-9) < exact


# Guesses from scores


def test_the_extremes_are_guessed_and_the_middle_is_not() -> None:
    # Right at both ends, wrong throughout the middle.
    included = np.repeat([True, False, True, False], 20)
    found = _bound(np.arange(80, 0, -1), included, guesses=40)
    assert (found.guesses, found.correct, found.tried) == (40, 40, 1)
    assert found.value == found.cap == epsilon_of_guesses(80, 40, 40)
    assert _bound(np.arange(80, 0, -1), included, guesses=80).correct == 40
    odd = _bound(np.arange(80, 0, -1), included, guesses=41)
    assert (odd.guesses, odd.correct) == (41, 40)  # the odd one is said to be included


def test_a_fifth_is_guessed_by_default_and_at_least_20() -> None:
    assert [default_guesses(m) for m in (1, 12, 50, 100, 101, 1000)] == [1, 12, 20, 20, 21, 200]


def test_the_best_number_of_guesses_costs_a_correction() -> None:
    scores, included = np.arange(64, 0, -1), np.repeat([True, False], 32)
    best = _bound(scores, included, guesses="best")
    assert best.tried == 4  # 64, 32, 16, 8
    assert best.guesses == 64
    assert best.value == best.cap == pytest.approx(epsilon_of_guesses(64, 64, 64, 0.0, 1 - 0.05 / 4))
    assert best.method.endswith("over 4 numbers of guesses")
    assert best.value < _bound(scores, included, guesses=64).value


def test_tied_scores_show_nothing_and_their_order_has_no_part() -> None:
    rng = np.random.default_rng(0)
    included = rng.random(200) < 0.5
    first_included = included[np.argsort(~included, kind="stable")]
    found = _bound(np.zeros(200), included)
    assert found.value == 0
    assert found == _bound(np.zeros(200), first_included) == _bound(np.zeros(200), first_included[::-1])
    scores = rng.integers(0, 3, 200) + included
    order = rng.permutation(200)
    assert _bound(scores, included) == _bound(scores[order], included[order])


@pytest.mark.slow
@pytest.mark.parametrize("guesses", [None, "best", 200])
@pytest.mark.parametrize("kind", ["null", "response", "laplace", "gaussian"])
def test_at_most_5_of_100_bounds_from_one_run_lie_above_the_truth(kind: str, guesses: int | None) -> None:
    rng = np.random.default_rng(9)
    above = 0
    for _ in range(RUNS):
        included = rng.random(200) < 0.5
        scores, truth, delta = _draw(kind, included, rng)
        above += one_run_bound(scores, included, rng, guesses, delta).value > truth + 1e-9
    assert above / RUNS <= MOST


def test_much_of_the_truth_is_found_where_all_guesses_are_alike() -> None:
    rng = np.random.default_rng(10)
    included = rng.random(5000) < 0.5
    scores, truth, _ = _draw("response", included, rng)
    assert 0.85 * truth < one_run_bound(scores, included, rng, 5000).value < truth
    assert one_run_bound(scores, included, rng).value > 0.8 * truth


# Refusals


@pytest.mark.parametrize(
    ("scores", "included", "message"),
    [
        ([1.0], [2], r"included\[0\]: 2"),
        ([1.0], [[1]], "shape"),
        ([1.0], ["a"], "0 or 1"),
        ([1.0, 2.0], [1], "1 values for 2 scores"),
        ([math.nan, 2.0], [1, 0], r"scores\[0\]"),
        ([[1.0], [2.0]], [1, 0], "one number for every canary"),
        (np.arange(100), np.ones(100), "no fair coin"),
        (np.arange(10_000), np.arange(10_000) < 4700, "4 700 of 10 000 canaries, which no fair coin"),
    ],
)
def test_scores_and_coins_that_do_not_fit_are_refused(scores: Array, included: Array, message: str) -> None:
    with pytest.raises(InputError, match=message):
        _bound(scores, included)


def test_options_that_do_not_fit_are_refused() -> None:
    scores, included = np.arange(10), np.arange(10) % 2
    for options, message in (
        ({"guesses": 11}, "from 1 to 10"),
        ({"guesses": 0}, "from 1 to 10"),
        ({"delta": 1.5}, "delta"),
        ({"confidence": 1.0}, "confidence"),
    ):
        with pytest.raises(InputError, match=message):
            one_run_bound(scores, included, np.random.default_rng(0), **options)
    with pytest.raises(InputError, match="right <= guesses"):
        epsilon_of_guesses(10, 5, 6)
    with pytest.raises(InputError, match="epsilon"):
        p_value(10, 5, 3, -1.0)


# Canaries


def test_canaries_leave_the_pool_get_another_label_and_come_back_by_a_fair_coin(tmp_path: Path) -> None:
    pool = _pool(tmp_path, 400)
    records = read_pool(str(pool), (), "y", EVERY_PLUGIN)
    made = make_canaries(records, 300, np.random.default_rng(3))
    rows = made.inputs["x"][:, 0].astype(int)  # the first feature is the record's number
    assert len(np.unique(rows)) == 300
    assert (made.labels != records.labels[rows]).all()
    assert set(np.unique(made.labels)) <= set(range(5))
    assert 115 < made.included.sum() < 185
    trained = made.train_inputs["x"][:, 0].astype(int)
    outside = np.setdiff1d(np.arange(400), rows)
    assert sorted(trained) == sorted([*outside, *rows[made.included]])
    labels = dict(zip(rows.tolist(), made.labels.tolist(), strict=True))
    expected = [labels.get(row, int(records.labels[row])) for row in trained.tolist()]
    assert made.train_labels.tolist() == expected
    plain = make_canaries(records, 300, np.random.default_rng(3), "as-is")
    assert (plain.labels == records.labels[plain.inputs["x"][:, 0].astype(int)]).all()


def test_labels_that_cannot_be_wrong_are_not_mislabelled(tmp_path: Path) -> None:
    for y, message in ((np.zeros(10, dtype=int), "no other class"), (np.linspace(0, 1, 10), "single classes")):
        write_records(tmp_path / "pool.npz", np.zeros((10, 2)), y)
        records = read_pool(str(tmp_path / "pool.npz"), (), "y", EVERY_PLUGIN)
        with pytest.raises(InputError, match=message):
            make_canaries(records, 5, np.random.default_rng(0))
        make_canaries(records, 5, np.random.default_rng(0), "as-is")


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.csv", "included\n1\n0\n1\n"), ("b.csv", "1\n0\n1\n"), ("c.csv", "id,included\n7,1\n8,0\n9,1\n")],
)
def test_coins_are_read_from_tables(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_included(tmp_path / name).tolist() == [True, False, True]


def test_coins_are_read_from_arrays(tmp_path: Path) -> None:
    coins = np.array([1, 0, 1], dtype=np.uint8)
    np.save(tmp_path / "a.npy", coins.astype(bool))
    np.savez(tmp_path / "b.npz", coins=coins)
    np.savez(tmp_path / "c.npz", included=coins, x=np.zeros(3))
    for name in ("a.npy", "b.npz", "c.npz"):
        assert read_included(tmp_path / name).tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"included\n1\nyes\n", r"included\[1\]: 'yes'"),
        ("b.csv", b"id,role\n1,1\n", "no column 'included'"),
        ("c.csv", b"\xff\xfe\n", "UTF-8"),
        ("d.npz", b"PK but nothing else", "cannot be read"),
        ("e.txt", b"1\n0\n", "nothing reads"),
        ("f.npy", b"", "empty"),
        ("g.npy", b"\x80\x04K\x01.", "pickle"),
        ("none.npy", None, "no such file"),
    ],
)
def test_coins_that_cannot_be_read_are_refused(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_included(tmp_path / name)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


# The command


@dataclass(frozen=True)
class _Files:
    folder: Path
    included: Array
    scores: Floats

    @property
    def arguments(self) -> list[str]:
        given = {"canaries": "canaries.npz", "included": "included.npy"}
        flags = [part for flag, name in given.items() for part in (f"--{flag}", str(self.folder / name))]
        return [str(self.folder / "model.npz"), *flags]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> _Files:
    """Write a model that gives included canaries three units more margin, canaries in mixed order, and their coins."""
    folder = tmp_path_factory.mktemp("canaries")
    case = make_case(folder, 240, 260, leak=3.0)
    order = np.random.default_rng(1).permutation(500)
    included = order < 240
    write_records(folder / "canaries.npz", case.x[order], case.y[order])
    np.save(folder / "included.npy", included.astype(np.uint8))
    return _Files(folder, included, -losses(case)[order])


def test_a_model_is_asked_for_the_loss_of_every_canary(files: _Files, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(_run(capsys, *files.arguments, "--delta", "1e-5", "--json"))
    expected = one_run_bound(files.scores, files.included, np.random.default_rng(0), delta=1e-5)
    assert found["epsilon"] == expected.value > 1.5
    assert (found["canaries"], found["included"]) == (500, 240)
    assert (found["guesses"], found["correct"]) == (100, expected.correct)
    assert found["delta"] == 1e-5
    assert found["model"]["path"] == files.arguments[0]
    assert len(found["model"]["sha256"]) == 64
    assert found["signal"] == "loss"
    assert "declared, not verified" in found["statement"]


def test_the_text_tells_bound_guesses_and_what_it_rests_on(files: _Files, capsys: pytest.CaptureFixture[str]) -> None:
    text = _run(capsys, *files.arguments, "--guesses", "best", "--signal", "hinge", "--seed", "7")
    assert "500 of " in text
    assert "240 were included" in text
    assert "or more at delta 0 and 95 % confidence" in text
    assert "the best of 6 numbers of guesses, corrected for the choice" in text
    assert "extreme hinge, seed 7" in text
    assert "declared, not verified" in text


def test_scores_alone_give_the_same_bound(files: _Files, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    scores = tmp_path / "scores.npz"
    np.savez(scores, score=files.scores, included=files.included)
    of_model = json.loads(_run(capsys, *files.arguments, "--json"))
    of_scores = json.loads(_run(capsys, "--scores", scores, "--json"))
    figures = ("epsilon", "cap", "canaries", "guesses", "correct", "method", "confidence")
    assert [of_model[name] for name in figures] == [of_scores[name] for name in figures]
    table = tmp_path / "scores.csv"
    rows = [f"{s!r},{int(i)}" for s, i in zip(files.scores.tolist(), files.included, strict=True)]
    table.write_text("\n".join(["lira.score,role", *rows]) + "\n")
    of_table = json.loads(_run(capsys, "--scores", table, "--x-key", "lira.score", "--y-key", "role", "--json"))
    assert [of_model[name] for name in figures] == [of_table[name] for name in figures]


def test_nothing_found_is_said_in_words(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", score=np.zeros(60), included=np.arange(60) % 2)
    text = _run(capsys, "--scores", tmp_path / "scores.npz")
    assert "nothing above 0 was found" in text
    assert "which is not to say that nothing is there" in text


def test_canaries_are_made_used_and_found_again(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "canaries"
    text = _run(capsys, "--make-canaries", _pool(tmp_path, 300), "--count", 200, "--out", out, "--seed", 4)
    assert f"pmcore dp-audit MODEL --canaries {out / 'canaries.npz'} --included {out / 'included.npy'}" in text
    included = read_included(out / "included.npy")
    with np.load(out / "canaries.npz") as canaries, np.load(out / "train.npz") as train:
        assert len(canaries["x"]) == len(included) == 200
        assert len(train["x"]) == 100 + included.sum()
        known = set(train["x"][:, 0].tolist())
        # A look-up table: it knows what it was trained on.
        scores = np.array([float(row in known) for row in canaries["x"][:, 0].tolist()])
    np.savez(tmp_path / "scores.npz", score=scores, included=included)
    found = json.loads(_run(capsys, "--scores", tmp_path / "scores.npz", "--json"))
    assert found["correct"] == found["guesses"] == 40
    assert found["epsilon"] == found["cap"] > 2
    again = tmp_path / "again"
    _run(capsys, "--make-canaries", tmp_path / "pool.npz", "--count", 200, "--out", again, "--seed", 4)
    for name in ("canaries.npz", "included.npy", "train.npz"):
        assert (out / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "model: missing"),
        (["MODEL"], "canaries: missing"),
        (["--scores", "S", "--included", "I"], "--included: has no part in --scores"),
        (["--scores", "S", "--x-key", "sore"], "no array 'sore'.*did you mean 'score'"),
        (["--scores", "S", "--guesses", "few"], "guesses: few - give a whole number from 1, or best"),
        (["--scores", "S", "--guesses", "900"], "from 1 to 500"),
        (["--scores", "S", "--seed", "-1"], "seed: -1 - give a whole number"),
        (["--scores", "S", "--delta", "2"], "delta: 2 - "),
        (["--scores", "S", "--count", "3"], "--count: has no part in a bound"),
        (["MODEL", "--canaries", "C", "--included", "SHORT"], "included: 10 values, and .* holds 500 canaries"),
        (["MODEL", "--canaries", "C", "--included", "I", "--signal", "lost"], "no signal 'lost'.*did you mean 'loss'"),
        (["MODEL", "--canaries", "C", "--included", "I", "--signal", "activations"], "no direction"),
        (["MODEL", "--canaries", "none.npz", "--included", "I"], "none.npz: no such file"),
        (["--make-canaries", "C", "--out", "O"], "count: missing"),
        (["--make-canaries", "C", "--count", "5"], "out: missing"),
        (["--make-canaries", "C", "--count", "501", "--out", "O"], "give a number from 1 to 500"),
        (["--make-canaries", "C", "--count", "5", "--out", "FULL"], "is not empty"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(
    files: _Files, tmp_path: Path, arguments: list[str], message: str
) -> None:
    np.savez(tmp_path / "scores.npz", score=files.scores, included=files.included)
    np.save(tmp_path / "short.npy", np.arange(10) % 2)
    places = {
        "MODEL": files.folder / "model.npz",
        "S": tmp_path / "scores.npz",
        "C": files.folder / "canaries.npz",
        "I": files.folder / "included.npy",
        "SHORT": tmp_path / "short.npy",
        "O": tmp_path / "out",
        "FULL": files.folder,
    }
    with pytest.raises(AuditError, match=message) as caught:
        command.main([str(places.get(one, one)) for one in arguments], "pmcore dp-audit", standalone_mode=False)
    for line in getattr(caught.value, "complaints", (str(caught.value),)):
        assert "\n" not in line
    assert not (tmp_path / "out").exists()


def test_the_help_of_the_command_imports_nothing_heavy() -> None:
    code = (
        "import sys, pmcore.commands.dp_audit; print([m for m in ('numpy', 'scipy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def _run(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    assert command.main([str(one) for one in arguments], "pmcore dp-audit", standalone_mode=False) == 0
    return capsys.readouterr().out


def _bound(scores: Array, included: Array, **options: object) -> OneRunBound:
    return one_run_bound(scores, included, np.random.default_rng(0), **options)  # type: ignore[arg-type]


def _pool(folder: Path, n: int) -> Path:
    """Write records whose first feature is their number, with one of five classes each."""
    x = np.stack([np.arange(n), np.zeros(n)], axis=1).astype(np.float32)
    write_records(folder / "pool.npz", x, np.random.default_rng(2).integers(0, CLASSES + 1, n))
    return folder / "pool.npz"


def _draw(kind: str, included: Array, rng: np.random.Generator) -> tuple[Floats, float, float]:
    """Return scores of canaries by a mechanism with the smallest epsilon that holds at a delta."""
    m = included.size
    if kind == "null":
        return rng.normal(size=m), 0.0, 0.0
    if kind == "response":
        told = rng.random(m) < 1 / (1 + math.exp(-1))
        return (told == included) / 1.0, 1.0, 0.0
    if kind == "laplace":
        return rng.laplace(size=m) + included, 1.0, 0.0
    from scipy.optimize import brentq
    from scipy.special import ndtr

    delta = 1e-3
    truth = float(brentq(lambda e: ndtr(0.5 - e) - math.exp(e) * ndtr(-0.5 - e) - delta, 0, 10))
    return rng.normal(size=m) + included, truth, delta
