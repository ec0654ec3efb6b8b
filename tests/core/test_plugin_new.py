"""A project that `pmcore plugins new` writes passes its own tests, ruff and mypy, installs, and audits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from pmcore.commands.plugin_new import write_project
from pmcore.errors import InputError
from pmcore.plugin_template import KINDS, LONGEST, Kind, PluginName, render_project
from pmcore_onnx import OnnxModel
from tests.core.cases import CLASSES, FEATURES, make_case
from tests.core.command import Ended, run_here

ROOT = Path(__file__).parents[2]
PIP = [sys.executable, "-m", "pip", "install", "--no-build-isolation", "--no-deps", "--no-index", "--quiet"]
LONG = ("abcdefghi-" * 3)[:LONGEST].rstrip("-")


def run(arguments: list[str], folder: Path, *path: Path) -> Ended:
    """Run Python in `folder` with `path` in front of the installed packages."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([*map(str, path), *filter(None, sys.path)]),
        "MYPYPATH": str(ROOT),
        "COLUMNS": "100",
    }
    environment.pop("PMCORE_PLUGINS", None)
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    return Ended(done.returncode, done.stdout, done.stderr)


def succeed(arguments: list[str], folder: Path, *path: Path) -> str:
    """Run Python as `run` does, and return what it prints; it must end with 0."""
    ended = run(arguments, folder, *path)
    assert ended.code == 0, ended.out + ended.err
    return ended.out


@pytest.fixture(scope="module", params=KINDS)
def named(request: pytest.FixtureRequest) -> PluginName:
    kind: Kind = request.param
    return PluginName.parse(kind, "new-thing")


@pytest.fixture(scope="module")
def project(named: PluginName, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("new") / named.distribution
    succeed(["-m", "pmcore", "plugins", "new", named.kind, "new-thing", "--out", str(folder)], folder.parent)
    return folder


@pytest.fixture(scope="module")
def installed(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder outside of the tree into which the project was installed, without network."""
    target = tmp_path_factory.mktemp("installed")
    done = subprocess.run([*PIP, "--target", target, project], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which mypy keeps what it knows of pmcore from one project to the next."""
    return tmp_path_factory.mktemp("cache")


@pytest.mark.slow
def test_a_new_project_passes_its_own_tests(project: Path, installed: Path) -> None:
    shown = succeed(["-m", "pytest", "-q", "-p", "no:cacheprovider"], project, installed)
    assert " passed" in shown
    assert "failed" not in shown


def test_a_new_project_is_listed_with_its_owner(named: PluginName, installed: Path, tmp_path: Path) -> None:
    listed = succeed(["-m", "pmcore", "plugins", "list"], tmp_path, installed)
    (row,) = [line for line in listed.splitlines() if f"{named.distribution} 0.1.0" in line]
    assert row.split()[0] == "new_thing"
    assert "DOES NOT LOAD" not in row


def test_a_new_project_is_formatted_and_has_no_lint(project: Path) -> None:
    succeed(["-m", "ruff", "check", "--no-cache"], project)
    succeed(["-m", "ruff", "format", "--check", "--no-cache"], project)


@pytest.mark.slow
def test_the_types_of_a_new_project_are_strict(project: Path, cache: Path) -> None:
    assert "Success" in succeed(["-m", "mypy", "--follow-imports", "silent", "--cache-dir", str(cache)], project)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["a", LONG])
def test_short_and_long_names_are_formatted_too(kind: Kind, name: str, tmp_path: Path) -> None:
    write_project(tmp_path / "project", render_project(PluginName.parse(kind, name)))
    succeed(["-m", "ruff", "check", "--no-cache"], tmp_path / "project")
    succeed(["-m", "ruff", "format", "--check", "--no-cache"], tmp_path / "project")


@pytest.mark.slow
def test_audits_run_with_a_new_project(named: PluginName, installed: Path, tmp_path: Path) -> None:
    case = make_case(tmp_path / "case", backend=OnnxModel)
    model, members, others = case.model, case.folder / "members.npz", case.folder / "nonmembers.npz"
    more: list[str] = []
    if named.kind == "attack":
        more = ["--attack", "new_thing:centre=median"]
    elif named.kind == "signal":
        more = ["--attack", "population:signal='new_thing:temperature=3'"]
    elif named.kind == "report":
        more = ["--report", "json", "--report", "new_thing"]
    elif named.kind == "reader":
        succeed(["-c", WRITE_RECORDS, str(members), str(others)], tmp_path, installed)
        members, others = members.with_suffix(".new_thing"), others.with_suffix(".new_thing")
    else:
        model = members.with_name("model.new_thing")
        succeed(["-c", WRITE_MODEL, str(model), str(FEATURES), str(CLASSES)], tmp_path, installed)
    out = tmp_path / "out"
    arguments = ["audit", str(model), "--members", str(members), "--non-members", str(others), "--out", str(out)]
    succeed(["-m", "pmcore", *arguments, *more], tmp_path, installed)
    report = json.loads((out / "report.json").read_text())
    assert report["valid"]
    assert report["plugins"]["new_thing"]["distribution"] == named.distribution
    assert (out / "new_thing.md").is_file() == (named.kind == "report")


def test_the_command_says_what_it_wrote_and_what_comes_next(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ended = run_here(capsys, "plugins", "new", "attack", "loss-gap", "--out", tmp_path / "made")
    assert ended.code == 0
    for path in render_project(PluginName("attack", "loss_gap")):
        assert f"  {path}\n" in ended.out
        assert (tmp_path / "made" / path).is_file()
    assert [line.split()[0] for line in ended.out.splitlines()[-3:]] == ["cd", "pytest", "pmcore"]
    assert ended.out.endswith("pmcore plugins check loss_gap\n")


@pytest.mark.parametrize(
    ("kind", "text", "entry_point", "class_name"),
    [
        ("attack", "margin", "margin", "MarginAttack"),
        ("attack", "margin-attack", "margin", "MarginAttack"),
        ("attack", "top_gap_attack", "top_gap", "TopGapAttack"),
        ("signal", "top-gap", "top_gap", "TopGap"),
        ("backend", "numpy", "numpy", "NumpyModel"),
        ("report", "page", "page", "PageReport"),
        ("reader", "hdf5", "hdf5", "Hdf5Reader"),
    ],
)
def test_one_name_gives_all_the_others(kind: Kind, text: str, entry_point: str, class_name: str) -> None:
    name = PluginName.parse(kind, text)
    assert (name.entry_point, name.class_name) == (entry_point, class_name)
    assert name.package == f"{entry_point}_{kind}"
    assert name.distribution == name.package.replace("_", "-")


def test_margin_attack_has_the_shape_of_a_new_project() -> None:
    own, name = ROOT / "plugins" / "margin-attack", PluginName.parse("attack", "margin")
    rendered = render_project(name)
    assert [path for path in rendered if not (own / path).is_file()] == []
    for path in ("pyproject.toml", ".gitignore"):
        assert (own / path).read_bytes() == rendered[path], f"{path} has drifted"
    there, here = ConfigParser(), ConfigParser()
    there.read(own / "setup.cfg", encoding="utf-8")
    here.read_string(rendered["setup.cfg"].decode())
    assert there.sections() == here.sections()
    for section in set(here.sections()) - {"metadata", "options.entry_points"}:
        assert dict(there[section]) == dict(here[section]), f"setup.cfg: [{section}] has drifted"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("population", "attack 'population' exists: pmcore "),
        ("population-attack", "attack 'population' exists: pmcore "),
        ("Gap", "no name for a plugin"),
        ("9gap", "no name for a plugin"),
        ("gap\n", "no name for a plugin"),
        ("../gap", "no name for a plugin"),
        ("class", "is a word of the Python language"),
        ("attack", "says what kind of plugin it is"),
        ("a" * (LONGEST + 1), f"choose a name of at most {LONGEST}"),
    ],
)
def test_names_that_cannot_be_are_refused_in_one_line(
    name: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    ended = run_here(capsys, "plugins", "new", "attack", name, "--out", tmp_path / "made")
    assert ended.code == 2
    (line,) = ended.complaints
    assert said in line
    assert not (tmp_path / "made").exists()


def test_a_signal_called_none_is_refused() -> None:
    with pytest.raises(InputError, match="word of the Python language"):
        PluginName.parse("signal", "none")


def test_a_package_that_is_installed_is_not_hidden(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "odd_attack.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = run_here(capsys, "plugins", "new", "attack", "odd", "--out", tmp_path / "made")
    assert ended.code == 2
    assert f"a package 'odd_attack' is installed: {tmp_path / 'odd_attack.py'}" in ended.err


def test_a_distribution_that_is_installed_is_not_replaced(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = tmp_path / "odd_attack-3.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-attack\nVersion: 3.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    ended = run_here(capsys, "plugins", "new", "attack", "odd", "--out", tmp_path / "made")
    assert ended.code == 2
    assert "odd-attack 3.0 is installed" in ended.err


def test_a_folder_that_holds_something_is_left_alone(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    ended = run_here(capsys, "plugins", "new", "attack", "odd", "--out", tmp_path)
    assert ended.code == 2
    assert "is not empty; choose another --out" in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    write_project(tmp_path / "made", {"a/b": b"content"})
    assert (tmp_path / "made" / "a" / "b").read_bytes() == b"content"


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose another --out"):
        write_project(tmp_path / "made", {"a": b"", "a/b": b""})
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="choose another --out"):
            write_project(place, {"a": b""})
    assert (tmp_path / "file").read_text() == ""


def test_every_template_is_part_of_an_installation() -> None:
    settings = ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    patterns = [
        pattern.strip() for pattern in settings["options.package_data"]["pmcore"].replace(",", "\n").split("\n")
    ]
    shipped = {path for pattern in patterns if pattern for path in (ROOT / "pmcore").glob(pattern)}
    templates = {path for path in (ROOT / "pmcore" / "templates").rglob("*") if path.is_file()}
    assert templates
    assert templates - shipped == set()


def test_the_kinds_on_offer_are_the_kinds_that_there_are() -> None:
    from pmcore.commands.plugin_new import command

    (kind,) = [parameter for parameter in command.params if parameter.name == "kind"]
    assert tuple(kind.type.choices) == KINDS  # type: ignore[attr-defined]


WRITE_RECORDS = """
import sys
from pathlib import Path
import numpy as np
from new_thing_reader import NewThingReader

for path in map(Path, sys.argv[1:]):
    with np.load(path, allow_pickle=False) as found:
        NewThingReader.write(path.with_suffix(".new_thing"), {"x": found["x"]}, found["y"])
"""

WRITE_MODEL = """
import sys
from pathlib import Path
import numpy as np
from new_thing_backend import NewThingModel

features, classes = map(int, sys.argv[2:])
weights = np.eye(features, classes, dtype=np.float32)
NewThingModel.write_dense(Path(sys.argv[1]), [weights], [np.zeros(classes, dtype=np.float32)])
"""
