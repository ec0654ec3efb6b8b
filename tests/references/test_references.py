"""`pmcore references`, from the command line to the folder that it leaves."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from pmcore.reference_manifest import MembershipTable, read_manifest, read_membership
from pmcore.reference_set import read_references
from pmcore.settings import AuditSettings
from tests.core.cases import Case, make_case, write_records
from tests.core.command import Ended, run_here
from tests.references.folders import arguments, contents

SCRIPT = Path(__file__).with_name("train_dense.py")


@pytest.fixture(scope="module")
def finished(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four references."""
    out = tmp_path_factory.mktemp("finished") / "refs"
    run(arguments(case, out, quiet=True))
    return out


def run(words: list[str]) -> None:
    from pmcore.cli import run as run_command

    assert run_command(words) == 0


def table_of(folder: Path) -> MembershipTable:
    return read_membership(folder / "membership.npz")


def membership_by_record(folder: Path) -> dict[tuple[int, int], list[bool]]:
    table = table_of(folder)
    assert table.digests is not None
    rows = zip(table.digests.tolist(), table.membership.tolist(), strict=True)
    return {(first, second): row for (first, second), row in rows}


# what is left


def test_the_manifest_tells_everything_that_was_given_and_reached_and_no_record(case: Case, finished: Path) -> None:
    manifest = read_manifest(finished)
    assert [part.n for part in manifest.pool] == [60, 80]
    assert (manifest.assign, manifest.seed, manifest.epochs, manifest.types) == ("in-out", 0, 3, ["float32", "int64"])
    assert manifest.target.accuracy_members is not None
    assert manifest.trainer.name == "planted"
    assert manifest.trainer.version == "1.0"
    assert manifest.trainer.options == {"rate": 0.25, "pause": 0.0, "together": 1}  # settled
    assert [part.file for part in manifest.models] == [f"models/{index:03d}.npz" for index in range(4)]
    assert [part.records for part in manifest.models] == [70] * 4
    assert len({part.seed for part in manifest.models}) == 4
    for part in manifest.models:
        assert part.epochs == 3
        assert part.accuracy_in is not None
        assert 0 < part.accuracy_in <= 1


def test_the_accuracies_are_those_of_the_models_on_their_own_records_and_on_the_others(
    case: Case, finished: Path
) -> None:
    membership = table_of(finished).membership
    for index, part in enumerate(read_manifest(finished).models):
        with np.load(finished / part.file) as net:
            right = (case.x @ net["w0"] + net["b0"]).argmax(axis=1) == case.y
        assert part.accuracy_in == pytest.approx(right[membership[:, index]].mean())
        assert part.accuracy_out == pytest.approx(right[~membership[:, index]].mean())


def test_each_model_was_trained_on_what_the_matrix_says(case: Case, finished: Path) -> None:
    table = table_of(finished)
    assert (table.membership.sum(axis=1) == 2).all()
    for model in range(4):
        for one in range(4):
            half = table.membership[case.y == one, model].sum()
            assert abs(2 * half - (case.y == one).sum()) <= 1


def test_files_are_private_and_nothing_else_is_there(finished: Path) -> None:
    names = ["membership.npz", "models", *(f"models/{index:03d}.npz" for index in range(4)), "references.json"]
    assert list(contents(finished)) == names
    for path in (finished, *finished.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0


def test_an_audit_reads_the_folder(case: Case, finished: Path) -> None:
    found = read_references(AuditSettings.model_validate({**case.arguments, "references": str(finished)}))
    assert found is not None
    assert len(found) == 4
    assert found.table is not None


def test_the_table_stands_beside_the_target_and_warns_of_a_mismatch(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", trainer="planted:rate=1e-9", epochs=1))
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].endswith("refs: 4 references trained by 'planted'")
    assert [line.split()[0] for line in lines[2:8]] == ["accuracy", "target", *["reference"] * 4]
    assert any(line.startswith("warning         4 of 4 references differ from the target") for line in lines)


def test_many_references_are_summed_up(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", count=17, epochs=1, trainer="planted:together=17"))
    assert [line.split(",")[0] for line in ended.out.splitlines()[4:7]] == ["references"] * 3


def test_epochs_auto_ends_where_the_target_is(case: Case, tmp_path: Path) -> None:
    run(arguments(case, tmp_path / "refs", epochs="auto", trainer="planted:rate=2.0", quiet=True))
    manifest = read_manifest(tmp_path / "refs")
    assert manifest.epochs is None
    for part in manifest.models:
        assert part.loss is not None
        assert manifest.target.loss_members is not None
        assert part.loss <= manifest.target.loss_members
        assert part.epochs is not None
        assert 1 < part.epochs < 40


# the same bytes


@pytest.mark.parametrize("changed", [{"jobs": 2}, {"jobs": 4, "threads": 1}, {"jobs": "auto"}])
def test_processes_do_not_change_a_byte(case: Case, finished: Path, tmp_path: Path, changed: dict[str, object]) -> None:
    run(arguments(case, tmp_path / "refs", quiet=True, **changed))
    assert contents(tmp_path / "refs") == contents(finished)


def test_a_missing_model_is_trained_again_to_the_same_bytes(case: Case, finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "refs"
    run(arguments(case, out, quiet=True))
    (out / "models" / "002.npz").unlink()
    (out / "models" / "001.npz").write_bytes(b"damaged")
    run(arguments(case, out, resume=True, quiet=True))
    assert contents(out) == contents(finished)


def test_the_order_of_files_and_records_does_not_change_who_trains_what(
    case: Case, finished: Path, tmp_path: Path
) -> None:
    order = np.random.default_rng(1).permutation(60)
    write_records(tmp_path / "members.npz", case.x[:60][order], case.y[:60][order])
    pool = [case.folder / "nonmembers.npz", tmp_path / "members.npz"]
    run(arguments(case, tmp_path / "refs", pool=pool, members=pool[1], quiet=True))
    assert membership_by_record(tmp_path / "refs") == membership_by_record(finished)
    assert read_manifest(tmp_path / "refs").target == read_manifest(finished).target


def test_what_is_stored_in_another_type_is_the_same_record(case: Case, finished: Path, tmp_path: Path) -> None:
    for name, part in (("members", slice(0, 60)), ("nonmembers", slice(60, None))):
        write_records(tmp_path / f"{name}.npz", case.x[part].astype(np.float64), case.y[part].astype(np.uint8))
    pool = [tmp_path / "members.npz", tmp_path / "nonmembers.npz"]
    run(arguments(case, tmp_path / "refs", pool=pool, quiet=True))
    assert membership_by_record(tmp_path / "refs") == membership_by_record(finished)
    assert (tmp_path / "refs/models/000.npz").read_bytes() == (finished / "models/000.npz").read_bytes()


def test_models_side_by_side_are_the_same_models(case: Case, finished: Path, tmp_path: Path) -> None:
    run(arguments(case, tmp_path / "refs", trainer="planted:together=3", quiet=True))
    found = contents(tmp_path / "refs")
    assert {name: found[name] for name in found if name.startswith("models")} == {
        name: content for name, content in contents(finished).items() if name.startswith("models")
    }


# other kinds of references


def test_out_only_trains_on_the_population_alone(case: Case, tmp_path: Path) -> None:
    given = {"pool": case.folder / "nonmembers.npz", "assign": "out-only", "epochs": "auto"}
    run(arguments(case, tmp_path / "refs", **given, members=case.folder / "members.npz", quiet=True))
    manifest = read_manifest(tmp_path / "refs")
    assert [part.records for part in manifest.models] == [40] * 4
    assert manifest.assign == "out-only"
    assert manifest.target.accuracy_members is not None
    assert manifest.target.accuracy_others is not None
    assert table_of(tmp_path / "refs").membership.shape == (80, 4)


def test_out_only_needs_no_members_where_epochs_are_given(case: Case, tmp_path: Path) -> None:
    run(arguments(case, tmp_path / "refs", pool=case.folder / "nonmembers.npz", assign="out-only", quiet=True))
    assert read_manifest(tmp_path / "refs").target.accuracy_members is None


def test_a_model_of_several_files_keeps_its_folder(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "refs"
    run(arguments(case, out, trainer="folder", count=1, quiet=True))
    part = read_manifest(out).models[0]
    assert (part.file, part.loading) == ("models/000/net.npz", {"backend": "numpy", "output": "logits"})
    assert (out / "models/000/notes/log.txt").read_text() == "done"
    for path in out.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_regression_has_losses_and_no_accuracies(tmp_path: Path) -> None:
    from numpy_backend import NumpyModel

    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    NumpyModel.write_dense(tmp_path / "model.npz", [np.ones((3, 2), np.float32)], [np.zeros(2, np.float32)])
    write_records(tmp_path / "members.npz", x, rng.normal(size=(40, 2)))
    case = Case(tmp_path, x, x, 40, tmp_path / "model.npz")
    given = {"pool": tmp_path / "members.npz", "task": "regression", "count": 2}
    command = f'{sys.executable} -c \'import os, shutil; shutil.copy("{case.model}", os.environ["PMCORE_OUT"])\''
    run(arguments(case, tmp_path / "refs", **given, trainer=None, command=command, quiet=True))
    manifest = read_manifest(tmp_path / "refs")
    assert [part.accuracy_in for part in manifest.models] == [None, None]
    assert all(part.loss is not None for part in manifest.models)


# a folder that is there already


def test_a_finished_folder_says_so(case: Case, finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(finished)
    ended = run_here(capsys, *arguments(case, finished, resume=True))
    assert ended.code == 0
    assert "4 references finished already - nothing is left to do" in ended.out
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"seed": 1}, "seed: 0 when it was begun, now 1"),
        ({"count": 5}, "count: 4 when it was begun, now 5"),
        ({"epochs": "auto"}, "epochs: 3 when it was begun, now auto"),
        ({"trainer": "folder"}, "trainer: planted when it was begun, now folder"),
    ],
)
def test_another_plan_is_refused_by_its_first_difference(
    case: Case, finished: Path, changed: dict[str, object], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(finished)
    ended = run_here(capsys, *arguments(case, finished, resume=True, **changed))
    assert ended.code == 2
    assert ended.complaints == [f"pmcore: error: {finished}/: {named} - give the same, or choose another --out"]
    assert contents(finished) == before


def test_a_folder_that_is_not_empty_is_refused(
    case: Case, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refused(run_here(capsys, *arguments(case, finished))) == (
        f"{finished}/ is not empty - go on with --resume, or choose another --out"
    )
    (tmp_path / "mine.txt").write_text("mine")
    assert refused(run_here(capsys, *arguments(case, tmp_path))) == f"{tmp_path}/ is not empty - choose another --out"
    assert refused(run_here(capsys, *arguments(case, tmp_path, resume=True))) == (
        f"{tmp_path}/ holds no references that were begun - choose another --out"
    )
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_resume_of_nothing_begins(case: Case, finished: Path, tmp_path: Path) -> None:
    run(arguments(case, tmp_path / "refs", resume=True, quiet=True))
    assert contents(tmp_path / "refs") == contents(finished)


# the owner's command


def test_a_command_trains_and_its_output_stays_out_of_ours(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"{sys.executable} '{SCRIPT}' numpy"
    given = {"trainer": None, "command": command, "epochs": "auto", "count": 2}
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", **given))
    assert (ended.code, ended.err) == (0, "")
    assert "trained by 'command'" in ended.out
    assert "trained 0" not in ended.out
    manifest = read_manifest(tmp_path / "refs")
    assert manifest.trainer.options["run"] == command
    membership = table_of(tmp_path / "refs").membership
    for index, part in enumerate(manifest.models):
        assert part.accuracy_in is not None
        assert part.accuracy_in > 0.7
        assert part.records == membership[:, index].sum()
        assert part.loss is not None  # measured, since the command does not tell


def test_a_command_exports_onnx(tmp_path: Path) -> None:
    from pmcore_onnx import OnnxModel

    case = make_case(tmp_path / "case", 60, 80, backend=OnnxModel)
    run(arguments(case, tmp_path / "refs", trainer=None, command=f"{sys.executable} '{SCRIPT}' onnx", count=2))
    assert [part.file for part in read_manifest(tmp_path / "refs").models] == ["models/000.onnx", "models/001.onnx"]


# what is refused, and what fails: one line, and nothing is left


def refused(ended: Ended, code: int = 2) -> str:
    assert ended.code == code, ended
    assert ended.out == ""
    assert len(ended.complaints) == 1, ended.err
    return ended.err.removeprefix("pmcore: error: ").rstrip("\n")


def short_class(case: Case, folder: Path) -> list[Path]:
    """Write a pool in whose second file a class has one record, and the first has none of it."""
    kept = case.y != 3
    kept[np.flatnonzero(~kept)[-1]] = True
    for name, part in (("members", slice(0, 60)), ("nonmembers", slice(60, None))):
        write_records(folder / f"{name}.npz", case.x[part][kept[part]], case.y[part][kept[part]])
    return [folder / "members.npz", folder / "nonmembers.npz"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pool": None}, "pool: missing - give the records to train on: --pool members.npz nonmembers.npz"),
        ({"count": 0}, "count: '0' - give 1 or more"),
        ({"count": "many"}, "count: 'many' - give a whole number"),
        ({"epochs": "0"}, "epochs: 0 - give a whole number from 1, or auto"),
        ({"jobs": "-"}, "jobs: - - give a whole number from 1, or auto"),
        ({"assign": "half"}, "assign: 'half' - "),
        ({"model": "missing.npz"}, "missing.npz: no such file"),
        ({"pool": "missing.npz"}, "missing.npz: no such file"),
        ({"trainer": "planed"}, "there is no trainer 'planed': did you mean 'planted'?"),
        ({"trainer": "planted:rat=1"}, "trainer 'planted' has no option 'rat'; did you mean 'rate'?"),
        ({"trainer": "faulty:fault=obstacle"}, "trainer 'faulty': needs images - give it some"),
        ({"trainer": "command"}, "trainer 'command': option run (str) has no default; give run=VALUE"),
        ({"command": "true"}, "trainer: planted - --command names the trainer already; leave one out"),
        ({"trainer": None, "command": "python 'x"}, 'command "python \'x": no closing quotation - close it'),
        ({"trainer": None, "command": "no-such-program x"}, "trainer 'command': no-such-program: no such program"),
        ({"assign": "out-only"}, "members of the target"),
        ({"assign": "out-only", "epochs": "auto", "members": None}, "epochs: auto trains until a reference knows"),
        ({"trainer": "planted", "resume": True, "threads": 0}, "threads: '0' - give 1 or more"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: Case, tmp_path: Path, changed: dict[str, object], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if changed.get("assign") == "out-only" and "members" not in changed:
        changed = {**changed, "members": case.folder / "members.npz"}
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", **changed))
    assert message in refused(ended)
    assert os.listdir(tmp_path) == []


def test_a_class_missing_from_a_split_is_named_with_its_file(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = short_class(case, tmp_path)
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", pool=pool))
    assert refused(ended).startswith(f"{pool[1]}: a single different record of class 3 - each half of the pool needs")
    assert not (tmp_path / "refs").exists()


def test_a_record_that_is_no_number_is_named(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x = case.x.copy()
    x[7, 2] = np.nan
    write_records(tmp_path / "pool.npz", x, case.y)
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", pool=tmp_path / "pool.npz"))
    assert refused(ended).startswith(f"{tmp_path / 'pool.npz'}: x[7] holds nan")
    assert not (tmp_path / "refs").exists()


def test_several_misfits_are_told_together(case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", model="no.npz", pool="no.csv", trainer="none"))
    assert len(ended.complaints) == 3


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("diverges", 4, "training diverged: the loss of reference 0 is NaN - lower the learning rate"),
        (
            "fails",
            2,
            "trainer 'faulty' of planted-trainers 1.0 failed: KeyError: 'weights\\nof the second layer'; tell",
        ),
        ("memory", 4, "out of memory while training reference 0 - try fewer --jobs"),
        ("crashes", 4, "training reference 0: the process was ended by SIGSEGV - it said: about to fall"),
        ("killed", 4, "training reference 0: the process was ended by SIGKILL - out of memory? try fewer --jobs"),
        ("leaves", 4, "training reference 0: the process ended with code 3 - it said: no licence found"),
        ("short", 2, "returned 0 models for 1 jobs; tell its authors"),
        ("elsewhere", 2, "null is not in the folder of reference 0; tell its authors"),
    ],
)
def test_a_trainer_that_fails_is_one_line_and_leaves_nothing(
    case: Case, tmp_path: Path, fault: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", trainer=f"faulty:fault={fault}", count=1))
    assert message in refused(ended, code)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; print('half way'); sys.exit('no data')", "exit code 1, saying 'no data' - mend the command"),
        ("print('done')", "wrote no model, saying 'done' - let it write to the path in PMCORE_OUT"),
        ("import os; os.kill(os.getpid(), 9)", "ended by signal 9, saying nothing - mend the command"),
        ("import time; time.sleep(60)", "still running after 0.5 s - give it more time (option timeout)"),
    ],
)
def test_a_command_that_fails_is_one_line(
    case: Case, tmp_path: Path, program: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"trainer": "command:timeout=0.5" if "sleep" in program else None, "count": 1}
    words = arguments(case, tmp_path / "refs", **given, command=f'{sys.executable} -c "{program}"')
    assert refused(run_here(capsys, *words), 4) == f"command for reference 0: {message}"
    assert os.listdir(tmp_path) == []


def test_a_command_that_writes_no_model_is_told_by_its_file(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = f"{sys.executable} -c \"import os; open(os.environ['PMCORE_OUT'], 'w').write('no model')\""
    given = {"trainer": "command:suffix=.npz", "command": command, "count": 1}
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", **given))
    assert "models/000.npz: " in refused(ended)


def test_what_a_trainer_prints_stays_out_of_our_output(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"trainer": "faulty:fault=prints,rate=0.5", "count": 1}
    ended = run_here(capsys, *arguments(case, tmp_path / "refs", **given))
    assert (ended.code, ended.err) == (0, "")
    assert "epoch 1" not in ended.out
    assert "from C" not in ended.out


def test_without_a_trainer_for_such_files_the_way_out_is_named(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PMCORE_PLUGINS", "numpy-backend")
    complaint = refused(run_here(capsys, *arguments(case, tmp_path / "refs", trainer=None)))
    assert complaint.startswith(f"{case.model}: no trainer retrains .npz files (installed: command, ")
    assert "name one with --trainer, or give a command that trains: --command 'python train.py'" in complaint


def test_the_trainer_follows_from_the_suffix(case: Case, tmp_path: Path) -> None:
    run(arguments(case, tmp_path / "refs", trainer=None, count=1, quiet=True))
    assert read_manifest(tmp_path / "refs").trainer.name == "planted"


def test_json_of_the_manifest_has_no_time_and_no_path_of_this_machine_but_those_given(finished: Path) -> None:
    text = (finished / "references.json").read_text()
    assert str(Path.cwd()) not in text
    assert json.loads(text)["schema"] == 1
