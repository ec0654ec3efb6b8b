from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from pmcore.registry import PluginPolicy, find, list_plugins
from tests.plugins.installing import Installed, install, registered, run, run_own_tests, run_pmcore

NAME = "margin-attack"
POLICY = PluginPolicy()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(NAME, tmp_path_factory.mktemp(NAME))


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


def test_what_is_installed_outside_of_the_tree_is_found_with_its_owner(installed: Installed, tmp_path: Path) -> None:
    assert registered(NAME, tmp_path, installed.site) == [
        ["signals", "relative_margin", True, "0.1.0"],
        ["attacks", "margin", True, "0.1.0"],
    ]
    listed = run_pmcore(["plugins"], tmp_path, installed.site)
    assert listed.count(f"{NAME} 0.1.0") == 2


def test_the_plugin_scores_a_planted_leak(installed: Installed, tmp_path: Path) -> None:
    options, shape, auc = json.loads(run(["-c", dedent(SCORE)], tmp_path, installed.site))
    assert options == {"signal": "relative_margin", "min_per_class": 30}
    assert shape == [600]
    assert 0.9 < auc < 1.0


@pytest.mark.slow
def test_the_command_line_audits_with_the_plugin(
    installed: Installed, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    backend = install("numpy-backend", tmp_path_factory.mktemp("numpy-backend"))
    write = "from numpy_backend import NumpyModel; import numpy as np; from pathlib import Path; "
    write += "NumpyModel.write_dense(Path('model.npz'), [np.eye(3, dtype='f4')], [np.zeros(3, dtype='f4')])"
    run(["-c", write], tmp_path, backend.site)
    rng = np.random.default_rng(0)
    for role, margin in (("members", 3.0), ("others", 1.0)):
        y = np.arange(300) % 3
        x = rng.normal(size=(300, 3)).astype(np.float32)
        x[np.arange(300), y] += margin
        np.savez(tmp_path / f"{role}.npz", x=x, y=y)
    arguments = ["audit", "model.npz", "--members", "members.npz", "--non-members", "others.npz", "--out", "report"]
    run_pmcore([*arguments, "--attack", "margin:min_per_class=30"], tmp_path, installed.site, backend.site)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["attacks"]["margin"]["auc"]["value"] > 0.8
    assert report["attacks"]["margin"]["options"] == {"signal": "relative_margin", "min_per_class": 30}
    assert report["plugins"]["margin"]["distribution"] == NAME
    assert report["plugins"]["relative_margin"]["distribution"] == NAME


def test_the_plugin_passes_its_own_tests_where_it_is_installed(installed: Installed, tmp_path: Path) -> None:
    assert " passed" in run_own_tests(installed, tmp_path)


def test_types_of_the_plugin_are_shipped(installed: Installed) -> None:
    assert (installed.site / "margin_attack" / "py.typed").is_file()


def test_what_is_removed_is_gone_at_once(installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "site"
    shutil.copytree(installed.site, place)
    monkeypatch.syspath_prepend(str(place))
    assert find("attacks", "margin", POLICY).distribution == NAME
    shutil.rmtree(place)
    assert "margin" not in {plugin.name for plugin in list_plugins("attacks", POLICY)}
    assert registered(NAME, tmp_path) == []
