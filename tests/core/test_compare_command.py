"""`pmcore compare`: what it prints, writes and refuses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy_backend import NumpyModel

from pmcore.comparison import compare
from pmcore.comparison_schema import ComparisonReport
from pmcore.reports.comparison import render_comparison
from tests.core.cases import CLASSES, FEATURES, make_case
from tests.core.command import run_apart, run_here
from tests.core.stored_audits import beside, gaussian, store

FORBIDDEN = re.compile(
    r"\b(safe|secure|private|anonymous|compliant|certified|guaranteed|(no|low|medium|high) risk)\b", re.IGNORECASE
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root, scores = tmp_path_factory.mktemp("audits"), gaussian(1.0, 1000, 1200)
    return [
        store(root / "fp32", {"population": scores}),
        store(root / "int8", {"population": beside(scores, 0.0, 0.999)}),
        store(root / "defended", {"population": beside(scores, -0.9, 0.8)}),
    ]


def audited_pair(folder: Path) -> list[str]:
    """Audit two models on the same records, the second of which has forgotten half of its margin."""
    case = make_case(folder / "case", leak=1.5)
    paths = []
    for name, noise in (("before", 0.0), ("after", 0.8)):
        weights = np.zeros((FEATURES, CLASSES), dtype=np.float32)
        weights[:CLASSES] = np.eye(CLASSES)
        weights += noise * np.random.default_rng(0).normal(size=weights.shape).astype(np.float32)
        model = folder / f"{name}{NumpyModel.suffixes[0]}"
        NumpyModel.write_dense(model, [weights], [np.zeros(CLASSES, dtype=np.float32)])
        paths.append(str(folder / name))
        case.audit(model=str(model), out=paths[-1], attacks=["population", "gap"]).run()
    return paths


def test_two_audits_from_model_files_are_compared_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(capsys, "compare", *audited_pair(tmp_path), "--out", tmp_path / "out")
    assert (done.code, done.err) == (0, "")
    assert "B against A: " in done.out
    assert "population: leaks less" in done.out
    report = ComparisonReport.model_validate(json.loads((tmp_path / "out" / "comparison.json").read_text()))
    assert report.run.files == ["comparison.json", "differences.png", "differences.svg"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == report.run.files
    ElementTree.parse(tmp_path / "out" / "differences.svg")
    assert (tmp_path / "out" / "differences.png").read_bytes().startswith(b"\x89PNG")


def test_every_audit_is_held_against_the_first_and_said_in_words(
    folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    done = run_here(capsys, "compare", *folders)
    assert done.code == 0
    assert "B against A: no difference seen" in done.out
    assert "C against A: leaks less" in done.out
    said = " ".join(done.out.split())
    assert "No difference seen between B and A with the one attack compared, within the precision" in said
    assert "C leaks less than A to the one attack compared (population). The difference of AUC is -." in said
    assert "Of 1 000 people whose records trained both models, population names about" in said
    assert "not of retraining" in said


def test_every_figure_that_is_printed_is_in_the_json(folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    done = run_here(capsys, "compare", *folders, "--json", "--seed", "3", "--attack", "population")
    assert (done.code, done.err) == (0, "")
    report = ComparisonReport.model_validate(json.loads(done.out))
    assert report.seed == 3
    assert report.run.command is not None
    auc = report.pairs[1].attacks["population"].auc
    assert auc.value is not None
    assert auc.n_members == 1000
    assert f"{auc.value:+.3f}".replace("0.", ".") in render_comparison(report)


@pytest.mark.parametrize("width", [84, 120])
def test_lines_are_no_longer_than_asked_and_hold_no_word_that_grades(folders: list[str], width: int) -> None:
    text = render_comparison(compare(folders), width)
    assert max(map(len, text.splitlines())) <= width
    assert not FORBIDDEN.search(text)


def test_names_that_break_careless_renderers_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "$\\frac{1$ <script> \x1b[31m" + "x" * 60
    paths = [store(tmp_path / folder, {name: gaussian(s, 300, 300)}) for folder, s in (("a $x$", 1.0), ("b", 0.2))]
    done = run_here(capsys, "compare", *paths, "--out", tmp_path / "out")
    assert done.code == 0
    assert "\x1b" not in done.out
    ElementTree.parse(tmp_path / "out" / "differences.svg")


def test_the_same_comparison_gives_the_same_picture(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for out in ("one", "two"):
        assert run_here(capsys, "compare", *folders, "--out", tmp_path / out, "--quiet").out == ""
    for name in ("differences.png", "differences.svg"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_invalid_audit_ends_with_its_exit_code(
    folders: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    invalid = store(tmp_path / "bad", {"population": gaussian(1.0, 1000, 1200)}, valid=False)
    done = run_here(capsys, "compare", folders[0], invalid, "--out", tmp_path / "out")
    assert (done.code, done.out) == (5, "")
    assert len(done.complaints) == 1
    assert done.complaints[0].startswith(f"pmcore: error: {invalid}: the audit is INVALID: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "A B [C …]: missing"),
        (["nowhere", "neither"], "nowhere: no such folder - give one that `pmcore audit --out` wrote"),
        (["{0}"], "a comparison is of 2 to 26 audits, not 1"),
        (["{0}", "{1}", "--attack", "lira"], "attack 'lira' did not run in this audit - it has population"),
        (["{0}", "{1}", "--seed", "-1"], "-1 is not in the range x>=0"),
        (["{0}", "{1}", "--out", "{0}"], "is not empty; choose another --out"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    folders: list[str], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    done = run_here(capsys, "compare", *(argument.format(*folders) for argument in arguments))
    assert (done.code, done.out) == (2, "")
    assert said in done.complaints[0]


def test_help_imports_no_numpy() -> None:
    code = "import atexit, sys\n"
    code += "atexit.register(lambda: print('numpy' in sys.modules, file=sys.stderr))"
    done = run_apart("compare", "--help", code=code)
    assert done.code == 0
    assert done.err.strip() == "False"


def test_a_hundred_thousand_records_need_seconds(tmp_path: Path) -> None:
    scores = gaussian(1.0, 50_000, 50_000)
    paths = [store(tmp_path / "a", {"x": scores}), store(tmp_path / "b", {"x": beside(scores, 0.1, 0.9)})]
    report = compare(paths)
    assert report.run.seconds < 40
    assert report.pairs[0].verdict == "leaks more"
