from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from pmcore.registry import PluginPolicy, find, list_plugins
from tests.plugins.installing import (
    WITHOUT_FRAMEWORKS,
    Installed,
    install,
    registered,
    run,
    run_own_tests,
    run_pmcore,
)

NAME = "numpy-backend"
POLICY = PluginPolicy()
LABELS = np.arange(300) % 3
LEAK = 2.0
MARGIN = 1.0

WRITE = """
from pathlib import Path
from textwrap import dedent
import numpy as np
from numpy_backend import NumpyModel
NumpyModel.write_dense(Path("model.npz"), [np.eye(3, dtype=np.float32)], [np.zeros(3, dtype=np.float32)])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(NAME, tmp_path_factory.mktemp(NAME))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with records whose logits are themselves, of which members have a larger margin."""
    folder = tmp_path_factory.mktemp("records")
    rng = np.random.default_rng(0)
    for role, margin in (("members", MARGIN + LEAK), ("others", MARGIN)):
        x = rng.normal(size=(len(LABELS), 3)).astype(np.float32)
        x[np.arange(len(LABELS)), LABELS] += margin
        np.savez(folder / f"{role}.npz", x=x, y=LABELS)
    return folder


def test_what_is_installed_outside_of_the_tree_is_found_with_its_owner(installed: Installed, tmp_path: Path) -> None:
    assert registered(NAME, tmp_path, installed.site) == [["backends", "numpy", True, "0.1.0"]]
    assert f"{NAME} 0.1.0" in run_pmcore(["plugins"], tmp_path, installed.site)


def test_whole_audits_run_where_no_framework_is_installed(installed: Installed, records: Path, tmp_path: Path) -> None:
    run(["-c", WRITE], tmp_path, installed.site)
    roles = ["--members", str(records / "members.npz"), "--non-members", str(records / "others.npz")]
    arguments = ["audit", "model.npz", *roles, "--out", "report"]
    run_pmcore(arguments, tmp_path, installed.site, code=WITHOUT_FRAMEWORKS)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["model"]["backend"] == "numpy"
    assert report["model"]["runtime"] == f"numpy {np.__version__}"
    assert report["plugins"]["numpy"]["distribution"] == NAME
    margins = []
    for role in ("members", "others"):
        with np.load(records / f"{role}.npz") as held:
            z, y = held["x"].astype(np.float64), held["y"]
        margins.append(z[np.arange(len(y)), y] - np.log(np.exp(z).sum(axis=1)))
    expected = float((margins[0][:, None] > margins[1]).mean())
    assert report["attacks"]["population"]["auc"]["value"] == pytest.approx(expected, abs=0.05)


def test_records_are_not_taken_for_a_model(installed: Installed, records: Path, tmp_path: Path) -> None:
    code = "from pmcore.cli import run; import sys; sys.exit(run(sys.argv[1:]) - 2)"
    run(["-c", code, "inspect", str(records / "members.npz")], tmp_path, installed.site)


def test_frameworks_are_indeed_absent_in_that_test(tmp_path: Path) -> None:
    code = f"{WITHOUT_FRAMEWORKS}\n    try:\n        import onnx\n    except ImportError:\n        print('absent')\n"
    assert run(["-c", dedent(code)], tmp_path) == "absent\n"


@pytest.mark.slow
def test_the_plugin_passes_its_own_tests_where_it_is_installed(installed: Installed, tmp_path: Path) -> None:
    assert " passed" in run_own_tests(installed, tmp_path)


def test_types_of_the_plugin_are_shipped(installed: Installed) -> None:
    assert (installed.site / "numpy_backend" / "py.typed").is_file()


def test_what_is_removed_is_gone_at_once(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site"
    shutil.copytree(installed.site, place)
    monkeypatch.syspath_prepend(str(place))
    assert find("backends", "numpy", POLICY).distribution == NAME
    shutil.rmtree(place)
    assert "numpy" not in {plugin.name for plugin in list_plugins("backends", POLICY)}
    assert registered(NAME, tmp_path) == []
