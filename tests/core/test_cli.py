"""The command line: help, verdicts, streams, and the audit file."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import onnx.backend.test
import pytest
import yaml
from numpy_backend import NumpyModel

from pmcore import __version__
from pmcore.cli import COMMANDS
from pmcore.commands.arguments import settings_of
from pmcore.preprocessing import PreprocessingSettings
from pmcore.settings import AuditSettings, read_settings
from pmcore_onnx import OnnxModel
from tests.core.cases import Case, make_case, write_records
from tests.core.command import audit_arguments, command_line, run_apart, run_here, run_on_terminal

REPOSITORY = Path(__file__).parents[2]
SCHEMA = json.loads((REPOSITORY / "docs" / "report.schema.json").read_text())
LIGHT = sorted((Path(onnx.backend.test.__file__).parent / "data" / "light").glob("light_*.onnx"))
AT_ONCE = "import pmcore.commands.progress as bar; bar.PATIENCE = 0.0"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


# help


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS), ["plugins", "list"], ["plugins", "show"]])
def test_every_command_explains_itself_in_80_columns(
    command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = run_here(capsys, *command, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "Usage: pmcore" in ended.out
    assert max(len(line.rstrip()) for line in ended.out.splitlines()) <= 80


def test_help_lists_every_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run_here(capsys, "--help").out
    for name, summary in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(summary)}$", shown, re.MULTILINE)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"]])
def test_nothing_heavy_is_imported_before_a_command_is_chosen(arguments: list[str]) -> None:
    heavy = {"numpy", "scipy", "sklearn", "rich", "rich_click", "pydantic", "yaml", "stevedore", "matplotlib"}
    heavy |= {"onnx", "onnxruntime", "torch", "tensorflow", "openvino", "joblib", "zarr"}
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    ended = run_apart(*arguments, code=code)
    assert "pmcore.cli" in ended.err.split()
    assert heavy & set(ended.err.split()) == set()


def test_help_of_an_audit_loads_no_framework() -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    loaded = set(run_apart("audit", "--help", code=code).err.split())
    assert {"onnx", "onnxruntime", "torch", "sklearn", "scipy", "matplotlib", "pmcore.audit"} & loaded == set()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_here(capsys, "--version").out == f"pmcore {__version__}\n"


def test_without_a_command_the_help_is_shown_and_the_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys)
    assert ended.code == 2
    assert "Commands:" in ended.err


@pytest.mark.parametrize(("typed", "hint"), [("inspct", "did you mean 'inspect'?"), ("xyz", "commands are audit")])
def test_an_unknown_command_is_answered_with_the_nearest(
    typed: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, typed)
    assert ended.code == 2
    assert len(ended.complaints) == 1
    assert ended.err.startswith(f"pmcore: error: {typed}: no such command - {hint}")


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run([sys.executable, "-m", "pmcore", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"pmcore {__version__}\n"


# streams and verdicts


def test_an_audit_prints_its_report_and_ends_with_0(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "audit", *audit_arguments(case))
    assert (ended.code, ended.err) == (0, "")
    assert "Can members be told from non-members?" in ended.out
    assert "\x1b" not in ended.out


def test_the_json_on_stdout_fits_the_published_schema(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "audit", *audit_arguments(case), "--json")
    assert (ended.code, ended.err) == (0, "")
    jsonschema.validate(strictly(ended.out), SCHEMA)


def test_the_json_of_an_invalid_audit_keeps_its_figures_and_the_line_on_stderr_says_why(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, "audit", *audit_arguments(case), "--json", "--expected-accuracy", "0.1")
    report = strictly(ended.out)
    jsonschema.validate(report, SCHEMA)
    assert report["valid"] is False
    assert report["attacks"]["population"]["auc"]["value"] > 0.5
    assert ended.code == 5
    assert len(ended.complaints) == 1


def strictly(text: str) -> dict[str, Any]:
    """Read JSON that must not hold NaN."""

    def refuse(word: str) -> float:
        raise AssertionError(f"{word} in JSON")

    report: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return report


def test_a_quiet_audit_prints_nothing(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "audit", *audit_arguments(case, tmp_path / "out"), "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert (tmp_path / "out" / "report.json").exists()


def test_a_quiet_audit_still_says_why_it_is_invalid(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "audit", *audit_arguments(case), "--quiet", "--expected-accuracy", "0.1")
    assert (ended.code, ended.out) == (5, "")
    assert len(ended.complaints) == 1


def test_without_an_output_folder_nothing_is_written(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_here(capsys, "audit", *audit_arguments(case)).code == 0
    assert list(tmp_path.iterdir()) == []


def test_the_same_command_twice_gives_the_same_report_apart_from_its_run(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reports = []
    for _ in range(2):
        ended = run_here(capsys, "audit", *audit_arguments(case, tmp_path / "out"), "--force", "--quiet")
        assert ended.code == 0
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        del report["run"]
        reports.append(json.dumps(report))
    assert reports[0] == reports[1]


@pytest.mark.parametrize(("flags", "code"), [([], 0), (["--expected-accuracy", "0.1"], 5)])
def test_a_reader_that_leaves_early_changes_neither_the_code_nor_what_is_said(
    flags: list[str], code: int, case: Case
) -> None:
    line = command_line("audit", *audit_arguments(case), "--json", *flags)
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()  # as `| head -0` does
        complaints = process.stderr.read().splitlines()
    assert process.returncode == code
    assert [line for line in complaints if not line.startswith("pmcore: error: the audit is INVALID")] == []


@pytest.mark.parametrize("arguments", [["plugins"], ["inspect", "MODEL"], ["audit", "--help"]])
def test_the_other_commands_take_a_reader_that_leaves_early_too(arguments: list[str], case: Case) -> None:
    line = command_line(*(case.arguments["model"] if word == "MODEL" else word for word in arguments))
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_debug_shows_the_traceback_above_the_line(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "audit", *audit_arguments(case, model="none.onnx"), "--debug")
    assert ended.code == 2
    assert ended.complaints[0].startswith("Traceback")
    assert ended.complaints[-1].startswith("pmcore: error: none.onnx: no such file")


def test_what_was_not_raised_on_purpose_keeps_its_traceback_and_ends_with_70(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*given: object, **more: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("pmcore.audit.compose", fail)
    ended = run_here(capsys, "audit", *audit_arguments(case))
    assert ended.code == 70
    assert ended.complaints[0].startswith("Traceback")
    assert ended.complaints[-1] == "pmcore: error: this is a bug in pmcore; please report the lines above"


@pytest.mark.skipif(os.name != "posix", reason="a shell as POSIX has it")
def test_closed_streams_are_no_error(case: Case) -> None:
    for redirection in (">&-", "2>&-", "<&- >&- 2>&-"):
        line = f'"$@" {redirection}'
        done = subprocess.run(["sh", "-c", line, "sh", *command_line("inspect", case.arguments["model"])], check=False)
        assert done.returncode == 0


def test_an_output_without_unicode_gets_escapes(case: Case) -> None:
    switches = ("LC_", "LANG", "PYTHONUTF8", "PYTHONIO", "PYTHONCOERCE")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(switches)}
    plain |= {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for arguments in (["audit", "--help"], ["plugins"], ["audit", *audit_arguments(case)]):
        ended = run_apart(*arguments, env=plain)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.isascii()


def test_a_slow_audit_shows_its_progress_on_a_terminal_and_takes_it_away_again(case: Case) -> None:
    shown = run_on_terminal("audit", *audit_arguments(case), "--batch-size", "1", code=AT_ONCE)
    assert shown.code == 0
    bar, _, report = shown.out.partition("pmcore 0")
    assert "members" in bar
    assert "/300" in bar
    assert "/300" not in report


def test_a_quick_audit_shows_no_progress(case: Case) -> None:
    assert run_on_terminal("audit", *audit_arguments(case)).out.startswith("pmcore ")


def test_a_quiet_audit_shows_no_progress(case: Case) -> None:
    shown = run_on_terminal("audit", *audit_arguments(case), "--batch-size", "1", "--quiet", code=AT_ONCE)
    assert (shown.code, shown.out) == (0, "")


def test_progress_is_not_shown_where_there_is_no_terminal(case: Case) -> None:
    ended = run_apart("audit", *audit_arguments(case), "--batch-size", "1", code=AT_ONCE)
    assert (ended.code, ended.err) == (0, "")


def test_an_invalid_audit_on_a_terminal_is_not_told_twice(case: Case) -> None:
    shown = run_on_terminal("audit", *audit_arguments(case), "--expected-accuracy", "0.1")
    assert shown.code == 5
    assert "pmcore: error" not in shown.out


@pytest.mark.parametrize("arguments", [["audit"], ["audit", "--help"], ["plugins"]])
def test_colour_is_for_terminals_and_not_where_no_color_is_set(arguments: list[str], case: Case) -> None:
    complete = [*arguments, *audit_arguments(case)] if arguments == ["audit"] else arguments
    coloured = run_on_terminal(*complete).out
    assert COLOUR.search(coloured)
    plain = run_on_terminal(*complete, env={"NO_COLOR": "1"}).out
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", plain)
    assert [line.rstrip() for line in COLOUR.sub("", coloured).splitlines()] == [
        line.rstrip() for line in COLOUR.sub("", plain).splitlines()
    ]


# the audit file


def test_every_setting_has_a_flag_and_every_flag_a_place_in_the_help() -> None:
    import rich_click

    from pmcore.commands.audit import command

    groups = rich_click.rich_click.OPTION_GROUPS["pmcore audit"]
    listed = [option for group in groups for option in group.get("options") or []]
    flags = [option for parameter in command.params for option in parameter.opts if option.startswith("--")]
    assert sorted(listed) == sorted([*flags, "--help"])
    own = {"as_json", "quiet"}
    reached = settings_of({str(parameter.name): "given" for parameter in command.params if parameter.name not in own})
    assert set(reached) == set(AuditSettings.model_fields)
    assert set(reached["preprocessing"]) == set(PreprocessingSettings.model_fields)


def test_the_audit_file_takes_every_key(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = AuditSettings(**case.arguments, population_share=0.5, seed=3, batch_size=100, threads=1, device="cpu")
    content = settings.model_dump(mode="json")
    assert set(content) == set(AuditSettings.model_fields)
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(content))
    assert read_settings({}, tmp_path / "audit.yaml") == settings
    ended = run_here(capsys, "audit", "--config", tmp_path / "audit.yaml", "--json")
    assert ended.code == 0
    assert json.loads(ended.out)["seed"] == 3


def test_paths_in_an_audit_file_are_relative_to_it_and_those_of_flags_to_where_one_is(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = case.folder / "audit.yaml"
    file.write_text("model: model.npz\nmembers: members.npz\nnon_members: nonmembers.npz\nout: unused\n")
    monkeypatch.chdir(tmp_path)
    ended = run_here(capsys, "audit", "--config", file, "--out", "here", "--quiet")
    file.unlink()
    assert (ended.code, ended.err) == (0, "")
    assert (tmp_path / "here" / "report.json").exists()
    assert not (case.folder / "unused").exists()


def test_flags_win_over_the_audit_file_key_by_key(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "audit.yaml"
    file.write_text("seed: 1\nfpr: [0.2]\npreprocessing: {scale: 1/2, mean: 1}\npopulation:\nreports: json\n")
    settings = read_settings({**case.arguments, "seed": "2", "preprocessing": {"mean": "3"}}, file)
    assert (settings.seed, settings.fpr, settings.reports, settings.population) == (2, (0.2,), ("json",), None)
    assert settings.preprocessing == PreprocessingSettings(scale=0.5, mean=(3.0,))


# the other commands


def test_a_plan_lists_what_would_run_and_what_not_and_asks_the_model_nothing(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def never(*given: object) -> None:
        raise AssertionError("the model was asked")

    for method in ("prepare", "ask", "predict"):
        monkeypatch.setattr(NumpyModel, method, never)
    targets = case.x[:, :4]
    write_records(tmp_path / "a.npz", case.x[:300], targets[:300])
    write_records(tmp_path / "b.npz", case.x[300:], targets[300:])
    arguments = audit_arguments(case, tmp_path / "out", members=tmp_path / "a.npz", non_members=tmp_path / "b.npz")
    attacks = ("--attack", "population", "--attack", "population:signal=hinge")
    ended = run_here(capsys, "plan", *arguments, "--task", "regression", *attacks)
    assert (ended.code, ended.err) == (6, "")
    assert re.search(r"^run +population +900 queries", ended.out, re.MULTILINE)
    assert re.search(r"^ +signal=loss, per_class=False, alpha=0.01$", ended.out, re.MULTILINE)
    assert re.search(r"^skip +population:signal=hinge: signal 'hinge' is defined for", ended.out, re.MULTILINE)
    assert re.search(r"^queries +900 in all", ended.out, re.MULTILINE)
    assert not (tmp_path / "out").exists()


def test_a_plan_says_that_records_stand_in_two_roles(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = audit_arguments(case, non_members=case.arguments["members"])
    ended = run_here(capsys, "plan", *arguments)
    assert ended.code == 0
    assert re.search(r"^overlap +300 records", ended.out, re.MULTILINE)


def test_a_plan_names_device_and_precision(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "plan", *audit_arguments(case))
    assert re.search(r"^model +.*model\.npz   numpy, CPU, float32$", ended.out, re.MULTILINE)


def test_inspect_takes_no_more_threads_than_an_audit(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "inspect", case.arguments["model"], "--threads", "1000000000000")
    assert ended.code == 2
    assert len(ended.complaints) == 1
    assert "--threads" in ended.err


def test_inspect_shows_what_a_model_holds_and_which_attacks_can_run(
    case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, "inspect", case.arguments["model"])
    assert (ended.code, ended.err) == (0, "")
    for pattern in (
        r"^input +x float32 \[batch,12\]$",
        r"^output +logits: logits$",
        r"^task +multiclass, 4 classes, float32$",
        r"^capabilities +.*predictions",
        r"^  population +can run$",
        r"^  index +name +op +shape +parameters$",
        r"^  0 +fc0 +Dense +batchx4 +52$",
    ):
        assert re.search(pattern, ended.out, re.MULTILINE), pattern


def test_every_plugin_is_listed_at_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    plain = run_here(capsys, "plugins").out
    assert plain == run_here(capsys, "plugins", "list").out
    assert max(map(len, plain.splitlines())) <= 80
    for name in ("onnx", "loss", "population", "json", "npz"):
        assert re.search(rf"^  {name} +pmcore {re.escape(__version__)}  +\S", plain, re.MULTILINE)


def test_a_plugin_is_shown_with_its_documentation_and_options(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    ended = run_here(capsys, "plugins", "show", "population")
    assert (ended.code, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) <= 80
    for words in (
        "population   attack of pmcore",
        "Does the model treat this record better",
        "    p(x) = (1 + #{z in Z : s(z) >= s(x)}) / (m + 1)",
        "  signal: str, default 'loss'\n      any signal",
        "  per_class: bool, default False\n",
        "  alpha: float, default 0.01\n",
    ):
        assert words in ended.out
    assert ended.out.count("any signal with one number per record") == 1


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        (
            "loss",
            "lower values speak for membership; tasks multiclass, binary, multilabel, regression; access scores",
        ),
        ("correctness", "higher values speak for membership; tasks multiclass, binary, multilabel; access label"),
        ("population", "reads signals loss; knows records of the same population that are known not to be members"),
        ("onnx", "files .onnx"),
        ("npz", "files .npz"),
        ("json", ""),
    ],
)
def test_a_plugin_is_shown_with_what_it_declares(
    name: str, traits: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = run_here(capsys, "plugins", "show", name).out
    _, *declared = shown.partition("\n\n")[0].splitlines()
    assert " ".join(declared) == traits


def test_an_unknown_plugin_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "plugins", "show", "populaton")
    assert (ended.code, ended.out) == (2, "")
    assert ended.complaints == ["pmcore: error: no plugin is called 'populaton' - did you mean 'population'?"]


@pytest.mark.slow
def test_the_demo_finds_the_leak_that_it_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "demo", "--out", tmp_path / "demo")
    assert ended.code == 0
    assert "VALID" in ended.out
    report = json.loads((tmp_path / "demo" / "report" / "report.json").read_text())
    assert report["attacks"]["population"]["auc"]["low"] > 0.6
    again = run_here(capsys, "demo", "--out", tmp_path / "demo")
    assert (again.code, len(again.complaints)) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("model", LIGHT, ids=lambda path: path.stem.removeprefix("light_"))
def test_a_known_architecture_is_inspected_and_audited_on_noise_to_an_invalid_verdict(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inspected = run_here(capsys, "inspect", model)
    assert (inspected.code, inspected.err) == (0, "")
    assert re.search(r"^input +\S+ float32 \[\w+,3,224,224\]$", inspected.out, re.MULTILINE)
    assert re.search(r"^task +multiclass, 1000 classes", inspected.out, re.MULTILINE)
    assert re.search(r"^  population +can run$", inspected.out, re.MULTILINE)
    rng = np.random.default_rng(0)
    for name, n in (("members.npz", 6), ("nonmembers.npz", 9)):
        write_records(tmp_path / name, rng.random((n, 3, 224, 224), dtype=np.float32), np.arange(n, dtype=np.int64) % 3)
    records = ("--members", tmp_path / "members.npz", "--non-members", tmp_path / "nonmembers.npz")
    share = ("--population-share", "0.4")
    audited = run_here(capsys, "audit", model, *records, *share, "--out", tmp_path / "out")
    assert audited.code == 5, audited.err
    assert "guessing" in audited.err
    assert json.loads((tmp_path / "out" / "report.json").read_text())["valid"] is False


def test_the_nine_known_architectures_are_there() -> None:
    assert len(LIGHT) == 9


def test_names_from_files_cannot_steer_the_terminal_or_forge_lines(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "x\x1b]0;pwn\x07\x1b[31m\npmcore: error: forged"
    proto = onnx.load(make_case(tmp_path / "onnx", backend=OnnxModel).model)
    proto.graph.input[0].name = evil
    proto.graph.node[0].input[0] = evil
    onnx.save(proto, tmp_path / "evil.onnx")
    for command in (("inspect", tmp_path / "evil.onnx"), ("audit", f"{tmp_path}/{evil}.onnx", "--members", evil)):
        ended = run_here(capsys, *command)
        assert "\x1b" not in ended.out + ended.err
        assert "\x07" not in ended.out + ended.err
        assert not any(line.startswith("pmcore: error: forged") for line in ended.complaints)


def test_a_plugin_that_exits_while_it_runs_does_not_end_the_audit_as_done(case: Case, tmp_path: Path) -> None:
    ended = run_apart(
        "audit",
        case.model,
        "--members",
        case.folder / "members.npz",
        "--non-members",
        case.folder / "nonmembers.npz",
        "--attack",
        "quitter",
        env=beside(quitting_plugin(tmp_path)),
    )
    assert ended.code == 2
    assert "attack 'quitter' of quitter 1.0 failed: SystemExit" in ended.err


def beside(folder: Path) -> dict[str, str]:
    """Return the environment of a process for which a folder is on the path too."""
    path = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def quitting_plugin(folder: Path) -> Path:
    """Write a distribution whose attack calls sys.exit when it scores."""
    (folder / "quitter.py").write_text(
        "import sys\n"
        "from pmcore.interfaces import Attack, Needs\n"
        "class Quitter(Attack):\n"
        "    '''Quit.'''\n"
        "    knowledge = 'none'\n"
        "    needs = Needs(target=('loss',))\n"
        "    def score(self, evidence): sys.exit(0)\n"
    )
    metadata = folder / "quitter-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: quitter\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pmcore.attacks]\nquitter = quitter:Quitter\n")
    return folder


@pytest.mark.parametrize("name", ["ck.pt", "ck.pth", "ck.joblib", "ck.pkl"])
def test_a_pickle_is_refused_under_any_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / name).write_bytes(pickle.dumps({"weights": [1.0]}))
    ended = run_here(capsys, "inspect", tmp_path / name)
    assert ended.code == 3
    assert "is a pickle" in ended.err
    assert "export" in ended.err


@pytest.mark.parametrize(
    ("returned", "problem"),
    [
        ("None", "a NoneType instead of a float64 array"),
        ("[1.0]", "a list instead of a float64 array"),
        ("numpy.array(['a'])", "numbers instead of a float64 array"),
        ("numpy.zeros(3)", "shape (3,) for"),
        ("numpy.full(len(evidence.labels), numpy.nan)", "that are not finite"),
    ],
)
def test_an_attack_that_returns_no_scores_is_named_with_what_it_returned(
    returned: str, problem: str, case: Case, tmp_path: Path
) -> None:
    folder = quitting_plugin(tmp_path)
    code = (folder / "quitter.py").read_text().replace("sys.exit(0)", f"return {returned}")
    (folder / "quitter.py").write_text(f"import numpy\n{code}")
    files = {"--members": "members.npz", "--non-members": "nonmembers.npz"}
    given = [part for flag, name in files.items() for part in (flag, case.folder / name)]
    ended = run_apart(
        "audit",
        case.model,
        *given,
        "--attack",
        "quitter",
        env=beside(folder),
    )
    assert ended.code == 2
    (line,) = ended.complaints
    assert "attack 'quitter' of quitter 1.0 gave" in line
    assert problem in line
