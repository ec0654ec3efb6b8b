"""`pmcore plugins check`: a table or JSON of all checks of an installed plugin, and an exit code for a gate."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from numpy_backend import NumpyModel

from pmcore.installed import EVERY_PLUGIN, GROUPS, GroupName, list_plugins
from pmcore.testing.backend_case import make_network
from pmcore.testing.backend_checks import BACKEND_CHECKS
from pmcore.testing.reader_checks import READER_CHECKS
from pmcore.testing.report_checks import REPORT_CHECKS
from pmcore.testing.trainer_checks import TRAINER_CHECKS
from tests.core.command import run_apart, run_here, run_on_terminal
from tests.core.planted_backends import GoodModel

PLUGINS = """
    from dataclasses import dataclass

    from tests.core.planted_backends import GoodModel, ReadsOnly
    from tests.core.planted_reports import GoodReport
    from tests.core.planted_trainers import GoodTrainer


    @dataclass(frozen=True)
    class NoteReport(GoodReport):
        '''A note that can be told to show what is null.

        Parameters
        ----------
        frank : whether a figure that is null is shown as Python has it
        '''

        frank: bool = False

        def figure(self, figure):
            return str(figure.value) if self.frank and figure.value is None else super().figure(figure)


    class LoudReport(GoodReport):
        '''A note that prints what it does.'''

        def figure(self, figure):
            print("rendering")
            return super().figure(figure)


    class FarTrainer(GoodTrainer):
        '''A trainer whose framework is not installed.'''

        def obstacle(self, task):
            import framework_that_nobody_made


    class NeedsFramework(GoodModel):
        '''A backend whose framework is not installed.'''

        @classmethod
        def write_dense(cls, path, weights, biases):
            import framework_that_nobody_made
"""
ENTRY_POINTS = """
    [pmcore.reports]
    planted-note = planted_distribution:NoteReport
    planted-loud = planted_distribution:LoudReport
    npz = planted_distribution:NoteReport
    [pmcore.backends]
    planted-plain = planted_distribution:GoodModel
    planted-reader-only = planted_distribution:ReadsOnly
    planted-far = planted_distribution:NeedsFramework
    [pmcore.trainers]
    planted-trainer = planted_distribution:GoodTrainer
    planted-far-trainer = planted_distribution:FarTrainer
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a distribution with planted plugins on sys.path, as pip leaves it there."""
    (tmp_path / "planted_distribution.py").write_text(dedent(PLUGINS))
    metadata = tmp_path / "planted_distribution-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: planted-distribution\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(dedent(ENTRY_POINTS))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture
def check(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: object) -> tuple[int, str, str]:
        ended = run_here(capsys, "plugins", "check", *arguments)
        return ended.code, ended.out, ended.err

    return run


Run = Callable[..., tuple[int, str, str]]


def test_every_check_has_a_row_and_the_last_line_counts_them(check: Run) -> None:
    code, out, err = check("npz")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("npz   reader of pmcore ")
    rows = [line.split()[0] for line in lines[1:-1] if not line.startswith("   ")]
    assert rows == [each.name.removeprefix("check_") for each in READER_CHECKS]
    assert lines[-1] == f"{len(READER_CHECKS)} checks: {len(READER_CHECKS)} passed"


def test_what_does_not_apply_is_shown_with_its_reason_and_fails_nothing(check: Run) -> None:
    code, out, _ = check("csv")
    assert code == 0
    assert "shapes                    not applicable  a CSV table holds one input" in out
    assert out.splitlines()[-1] == f"{len(READER_CHECKS)} checks: {len(READER_CHECKS) - 4} passed, 4 not applicable"


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_the_table_fits_the_terminal(check: Run, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, out, _ = check("csv")
    assert max(map(len, out.splitlines())) <= min(columns, 100)


@pytest.mark.usefixtures("installed")
def test_a_failed_check_is_told_and_ends_with_exit_code_1(check: Run) -> None:
    code, out, _ = check("planted-note:frank=true")
    assert code == 1
    assert "unresolved_figures        FAILED" in out
    assert "note.md shows a figure that is null as 'None'" in " ".join(out.split())
    total = len(REPORT_CHECKS)
    assert out.splitlines()[-1] == f"{total} checks: {total - 1} passed, 1 FAILED"


@pytest.mark.usefixtures("installed")
def test_what_a_plugin_prints_stays_out_of_the_table(check: Run) -> None:
    code, out, err = check("planted-loud", "--json")
    assert code == 1
    failed = [each["check"] for each in json.loads(out)[0]["checks"] if each["verdict"] == "FAILED"]
    assert failed == ["check_no_effects"]
    assert "rendering" in err


def test_json_holds_all_that_the_table_shows(check: Run) -> None:
    code, out, _ = check("csv", "--json")
    (plugin,) = json.loads(out)
    assert code == 0
    assert (plugin["group"], plugin["name"], plugin["distribution"]) == ("readers", "csv", "pmcore")
    assert plugin["counts"] == {"passed": len(READER_CHECKS) - 4, "not applicable": 4}
    assert [each["check"] for each in plugin["checks"]] == [each.name for each in READER_CHECKS]
    assert all(each["promise"] for each in plugin["checks"])
    assert all(bool(each["detail"]) == (each["verdict"] != "passed") for each in plugin["checks"])


@pytest.mark.usefixtures("installed")
def test_every_kind_that_bears_a_name_is_checked_unless_one_is_chosen(check: Run) -> None:
    _, out, _ = check("npz", "--json")
    assert [plugin["group"] for plugin in json.loads(out)] == ["reports", "readers"]
    code, out, _ = check("npz", "--json", "--group", "readers")
    assert code == 0
    assert [plugin["group"] for plugin in json.loads(out)] == ["readers"]


def test_a_backend_that_cannot_write_is_checked_on_the_model_that_is_given(check: Run, installed: Path) -> None:
    network = make_network()
    GoodModel.write_dense(installed / "model.plain", network.weights, network.biases)
    code, out, _ = check("planted-reader-only", "--model", installed / "model.plain")
    assert code == 0, out
    assert out.splitlines()[-1] == f"{len(BACKEND_CHECKS)} checks: {len(BACKEND_CHECKS) - 9} passed, 9 not applicable"


def test_a_trainer_is_checked_on_a_target_that_is_written_or_given(check: Run, installed: Path) -> None:
    code, out, err = check("planted-trainer")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "planted-trainer   trainer of planted-distribution 1.0"
    assert out.splitlines()[-1] == f"{len(TRAINER_CHECKS)} checks: {len(TRAINER_CHECKS)} passed"
    NumpyModel.write_dense(installed / "net.npz", [np.eye(5, 4, dtype=np.float32)], [np.zeros(4, np.float32)])
    code, out, err = check("planted-trainer:learning_rate=0.2", "--model", installed / "net.npz")
    assert (code, err) == (0, "")
    assert "the target was given, and none with other weights" in " ".join(out.split())
    assert out.splitlines()[-1] == f"{len(TRAINER_CHECKS)} checks: {len(TRAINER_CHECKS) - 1} passed, 1 not applicable"


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["npy2"], "no plugin is called 'npy2' - did you mean 'npy'?"),
        (["jsn", "--group", "reports"], "no report is called 'jsn' - did you mean 'json'?"),
        (["planted-note:fank=true"], "did you mean 'frank'?"),
        (["planted-note:frank=perhaps"], "option frank='perhaps': expected bool"),
        (["planted-plain:device=cpu"], "is checked with its default options - leave out device"),
        (["planted-plain", "--model", "no-such.plain"], "no-such.plain: no such file"),
        (["csv", "--model", "model.onnx"], "'csv' is no backend or trainer - leave out --model"),
        (["planted-trainer", "--model", "no-such.npz"], "no-such.npz: no such file"),
        (["planted-trainer", "--model", __file__], "no backend recognises this file"),
        (["planted-far-trainer"], "needs framework_that_nobody_made; try: pip install framework_that_nobody_made"),
        (["command"], "trainer 'command': option run (str) has no default; give run=VALUE"),
        (["planted-far"], "needs framework_that_nobody_made; try: pip install framework_that_nobody_made"),
    ],
)
def test_what_cannot_be_checked_is_one_line_and_exit_code_2(check: Run, arguments: list[str], complaint: str) -> None:
    code, out, err = check(*arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert complaint in err


BUILT_IN = [
    (group, plugin.name) for group in GROUPS for plugin in list_plugins(group, EVERY_PLUGIN) if not plugin.third_party
]
GIVEN = {
    ("trainers", "command"): f"run={sys.executable} {Path(__file__).with_name('train_softmax.py')},suffix=.npz",
    ("trainers", "torch"): "factory=tests.core.planted_trainers:network",
}
"""Options of the plugins that can do nothing without."""


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name"), BUILT_IN)
def test_the_built_in_plugins_keep_every_promise(group: GroupName, name: str) -> None:
    options = GIVEN.get((group, name))
    ended = run_apart("plugins", "check", f"{name}:{options}" if options else name, "--group", group, "--json")
    failed = [each["detail"] for p in json.loads(ended.out) for each in p["checks"] if each["verdict"] == "FAILED"]
    assert (ended.code, failed, ended.err) == (0, [], "")


def test_failures_are_red_on_a_terminal_and_the_bar_is_gone_at_the_end(installed: Path) -> None:
    code = f"import sys; sys.path.insert(0, {str(installed)!r})"
    ended = run_on_terminal("plugins", "check", "planted-note:frank=true", code=code)
    assert ended.code == 1
    assert "\x1b[31m  unresolved_figures" in ended.out
    assert "23 checks: " in ended.out.splitlines()[-1]
