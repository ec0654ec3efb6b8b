from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from pmcore.registry import PluginPolicy, find, list_plugins

SOURCE = Path(__file__).parents[2] / "plugins" / "margin-attack"
POLICY = PluginPolicy()


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the plugin's source: building one leaves files beside it."""
    copy = tmp_path_factory.mktemp("source") / "margin-attack"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")
    shutil.copytree(SOURCE, copy, ignore=ignored)
    return copy


@pytest.fixture(scope="module")
def installed(copied: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the plugin and install it, without network, into a folder of its own; return that folder."""
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index"]
    done = subprocess.run([*command, "--target", target, copied], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


def run(arguments: list[str], folder: Path, *path: Path) -> str:
    """Run Python in `folder` with `path` in front of the installed packages; return what it prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*map(str, path), *filter(None, sys.path)])}
    environment.pop("PMCORE_PLUGINS", None)
    done = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


LIST = """
    import json
    from pmcore.registry import GROUPS, PluginPolicy, list_plugins

    found = [plugin for group in GROUPS for plugin in list_plugins(group, PluginPolicy())]
    own = [plugin for plugin in found if plugin.distribution == "margin-attack"]
    print(json.dumps([[plugin.group, plugin.name, plugin.third_party, plugin.version] for plugin in own]))
"""

SCORE = """
    import json
    import numpy as np
    from pmcore.evidence import Evidence, EvidenceKey, Source
    from pmcore.options import build, resolved_options
    from pmcore.outputs import Outputs, Scale, Task
    from pmcore.registry import PluginPolicy, load

    attack = build(load("attacks", "margin", PluginPolicy()), {"min_per_class": "30"}, "attack 'margin'")
    signal = build(load("signals", "relative_margin", PluginPolicy()), {}, "signal 'relative_margin'")
    rng = np.random.default_rng(0)

    def ask(leak):
        labels = np.arange(300) % 3
        logits = rng.normal(size=(300, 3))
        logits[np.arange(300), labels] += 2.0 * labels + leak
        return signal.compute(Outputs(Task.MULTICLASS, Scale.LOGITS, labels, logits)), labels

    (members, y), (others, _), (population, z) = ask(3.0), ask(0.0), ask(0.0)
    target = EvidenceKey(Source.TARGET, "relative_margin")
    pool = EvidenceKey(Source.POPULATION, "relative_margin")
    evidence = Evidence(
        {target: np.concatenate([members, others]), pool: population},
        np.concatenate([y, y]),
        z,
        {"relative_margin": signal.direction == "lower"},
    )
    scores = attack.score(evidence)
    auc = float((scores[:300, None] > scores[300:]).mean())
    print(json.dumps([resolved_options(attack), scores.shape, auc]))
"""


def test_what_is_installed_outside_of_the_tree_is_found_with_its_owner(installed: Path, tmp_path: Path) -> None:
    assert json.loads(run(["-c", dedent(LIST)], tmp_path, installed)) == [
        ["signals", "relative_margin", True, "0.1.0"],
        ["attacks", "margin", True, "0.1.0"],
    ]


def test_the_plugin_scores_a_planted_leak(installed: Path, tmp_path: Path) -> None:
    options, shape, auc = json.loads(run(["-c", dedent(SCORE)], tmp_path, installed))
    assert options == {"signal": "relative_margin", "min_per_class": 30}
    assert shape == [600]
    assert 0.9 < auc < 1.0


def test_the_plugin_passes_its_own_tests_where_it_is_installed(copied: Path, installed: Path) -> None:
    own = copied.parent / "own-tests"
    shutil.copytree(copied / "tests", own / "tests")
    shutil.copy(copied / "setup.cfg", own)
    options = ["-q", "-p", "no:cacheprovider", "--rootdir", str(own), "-c", str(own / "setup.cfg")]
    assert " passed" in run(["-m", "pytest", *options, str(own / "tests")], own, installed)


def test_types_of_the_plugin_are_shipped(installed: Path) -> None:
    assert (installed / "margin_attack" / "py.typed").is_file()


def test_what_is_removed_is_gone_at_once(installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site"
    shutil.copytree(installed, place)
    monkeypatch.syspath_prepend(str(place))
    assert find("attacks", "margin", POLICY).distribution == "margin-attack"
    shutil.rmtree(place)
    assert "margin" not in {plugin.name for plugin in list_plugins("attacks", POLICY)}
    assert json.loads(run(["-c", dedent(LIST)], tmp_path)) == []
