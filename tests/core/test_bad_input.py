"""Bad input on the command line: one line each that names file, field, value and remedy, and nothing left behind."""

from __future__ import annotations

import os
import pickle
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from pmcore.outputs import Array
from pmcore_onnx import OnnxModel
from tests.core.cases import CLASSES, FEATURES, Case, make_case, write_records
from tests.core.command import Ended, audit_arguments, run_apart, run_here

linux = pytest.mark.skipif(not Path("/dev/full").exists(), reason="devices and limits as Linux has them")


@dataclass(frozen=True)
class Given:
    """What an audit is given in place of a good file, and flags beside."""

    model: Path | str | None = None
    members: Path | str | None = None
    non_members: Path | str | None = None
    flags: tuple[object, ...] = ()

    def arguments(self, case: Case, out: Path) -> list[str]:
        changed = {name: value for name in case.arguments if (value := getattr(self, name)) is not None}
        return ["audit", *audit_arguments(case, out, **changed), *map(str, self.flags)]


@dataclass(frozen=True)
class Bad:
    """A bad input: how it comes about, the exit code, and what its line must say."""

    name: str
    make: Callable[[Path, Case], Given]
    words: tuple[str, ...]
    code: int = 2
    marks: tuple[pytest.MarkDecorator, ...] = field(default=())


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return make_case(tmp_path_factory.mktemp("case"))


def file(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def members(folder: Path, x: Array, y: Array) -> Given:
    write_records(folder / "bad.npz", x, y)
    return Given(members=folder / "bad.npz")


def changed(case: Case, row: int, x: float | None = None, y: float | None = None) -> tuple[Array, Array]:
    """Return the members with one value changed."""
    inputs, labels = case.x[: case.n_members].copy(), case.y[: case.n_members].copy()
    if x is not None:
        inputs[row, 3] = x
    if y is not None:
        labels = labels.astype(np.result_type(labels, type(y)))
        labels[row] = y
    return inputs, labels


def graph(path: Path, kind: str, inputs: tuple[str | int, ...], outputs: tuple[str | int, ...]) -> Path:
    """Write a model of one node on the input "x" and the weights "w", (12, 4)."""
    weights = numpy_helper.from_array(np.eye(FEATURES, CLASSES, dtype=np.float32), "w")
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(kind, ["x", "w"], ["z"])],
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(inputs))],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, list(outputs))],
            [weights],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.save(model, path)
    return path


def audit_file(folder: Path, text: str) -> Given:
    return Given(flags=("--config", file(folder, "audit.yaml", textwrap.dedent(text))))


def flags(*given: object) -> Callable[[Path, Case], Given]:
    return lambda folder, case: Given(flags=given)


def onnx_model(folder: Path) -> Path:
    return make_case(folder, backend=OnnxModel).model


def of_onnx(*given: object) -> Callable[[Path, Case], Given]:
    return lambda folder, case: Given(model=onnx_model(folder), flags=given)


def alone(folder: Path, case: Case) -> Given:
    """Return a folder that holds a model and nothing else as the model."""
    (folder / "exported").mkdir()
    onnx_model(folder).rename(folder / "exported" / "model.onnx")
    return Given(model=folder / "exported")


def model_of(content: bytes) -> Callable[[Path, Case], Given]:
    return lambda folder, case: Given(model=file(folder, "model.onnx", content))


def truncated(folder: Path, case: Case) -> Given:
    whole = onnx_model(folder / "whole").read_bytes()
    return Given(model=file(folder, "model.onnx", whole[: len(whole) // 2]))


def checkpoint(folder: Path, case: Case) -> Given:
    import zipfile

    with zipfile.ZipFile(folder / "model.onnx", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps({}))
    return Given(model=folder / "model.onnx")


def objects(folder: Path, case: Case) -> Given:
    x = np.array([[1, "a", None]] * 3, dtype=object)
    np.savez(folder / "bad.npz", allow_pickle=True, x=x, y=np.zeros(3, dtype=np.int64))
    return Given(members=folder / "bad.npz")


def occupied(folder: Path, case: Case) -> Given:
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("mine")
    return Given(flags=("--out", folder / "mine"))


def sequences(folder: Path, case: Case) -> Given:
    rng = np.random.default_rng(0)
    write_records(folder / "a.npz", rng.normal(size=(30, 7, FEATURES)).astype(np.float32), case.y[:30])
    write_records(folder / "b.npz", rng.normal(size=(60, 7, FEATURES)).astype(np.float32), case.y[:60])
    model = graph(folder / "seq.onnx", "MatMul", ("n", "s", FEATURES), ("n", "s", CLASSES))
    return Given(model=model, members=folder / "a.npz", non_members=folder / "b.npz")


def regression(folder: Path, case: Case, *attacks: str) -> Given:
    """Return an audit of a model that predicts four numbers, on targets that members meet more closely."""
    rng = np.random.default_rng(0)
    targets = case.x[:, :CLASSES] + rng.normal(0, np.where(np.arange(len(case.x)) < case.n_members, 0.1, 0.4)).reshape(
        -1, 1
    ).astype(np.float32)
    write_records(folder / "a.npz", case.x[: case.n_members], targets[: case.n_members])
    write_records(folder / "b.npz", case.x[case.n_members :], targets[case.n_members :])
    chosen = tuple(word for attack in attacks for word in ("--attack", attack))
    return Given(members=folder / "a.npz", non_members=folder / "b.npz", flags=("--task", "regression", *chosen))


TABLE = (
    # the model
    Bad("a model file that is empty", model_of(b""), ("model.onnx: is empty", "download the model again")),
    Bad("a model that is cut short", truncated, ("model.onnx: is a damaged or truncated", "copy or export it again")),
    Bad("a model that is no model", model_of(b"\x01" * 99), ("model.onnx: is not an ONNX model", "exporter")),
    Bad(
        "a pickle under the name of a model",
        model_of(pickle.dumps({"weights": [1.0]})),
        ("model.onnx: is a Python pickle", "can run code", "export the model to ONNX"),
        code=3,
    ),
    Bad("a torch checkpoint under the name of a model", checkpoint, ("PyTorch checkpoint", "torch.onnx"), code=3),
    Bad(
        "a git-lfs pointer",
        model_of(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        ("model.onnx: is a git-lfs pointer", "git lfs pull"),
    ),
    Bad(
        "a model that is missing",
        lambda folder, case: Given(model=case.folder / "modle.npz"),
        ("modle.npz: no such file", "but there is 'model.npz'", "give the path"),
    ),
    Bad("a folder as model", alone, ("is a folder", "give the model file", "model.onnx")),
    Bad(
        "an operator that nobody knows",
        lambda folder, case: Given(model=graph(folder / "op.onnx", "Frobnicate", ("n", 12), ("n", 4))),
        ("op.onnx: operator 'Frobnicate'", "not known to onnxruntime", "export the model"),
        code=4,
    ),
    Bad("token sequences as output", sequences, ("seq.onnx: output 'z' has shape", "7,4]", "--output")),
    Bad("an output that is not there", of_onnx("--output", "nope"), ("no output 'nope'", "'logits'")),
    Bad("a task that does not fit", flags("--task", "binary"), ("task binary", "--task multiclass")),
    Bad("a device that nobody knows", of_onnx("--device", "gpu"), ("device 'gpu'", "cuda:N")),
    Bad(
        "CUDA where there is none",
        of_onnx("--device", "cuda"),
        ("device 'cuda", "was asked for", "--device cpu"),
        code=4,
        marks=(pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="this machine has CUDA"),),
    ),
    # the records
    Bad(
        "records of the wrong width",
        lambda folder, case: members(folder, case.x[:300, :10], case.y[:300]),
        ("bad.npz: x has shape [10]", "[batch,12]", "are these the records of this model?"),
    ),
    Bad(
        "NaN among the inputs",
        lambda folder, case: members(folder, *changed(case, 17, x=np.nan)),
        ("bad.npz: x[17] holds nan", "fill them in or leave them out"),
    ),
    Bad(
        "a label out of range",
        lambda folder, case: members(folder, *changed(case, 11, y=30)),
        ("bad.npz: y[11]: 30 - the model has classes 0..3",),
    ),
    Bad(
        "a label that is no whole number",
        lambda folder, case: members(folder, *changed(case, 11, y=1.5)),
        ("bad.npz: y[11]: 1.5", "whole number"),
    ),
    Bad(
        "labels in words",
        lambda folder, case: members(folder, case.x[:300], np.array(["cat", "dog"])[case.y[:300] % 2]),
        ("bad.npz: y holds text", "'", "encode it as numbers"),
    ),
    Bad("objects in place of numbers", objects, ("bad.npz: x: an array of Python objects", "store plain numbers")),
    Bad(
        "one record only",
        lambda folder, case: members(folder, case.x[:1], case.y[:1]),
        ("bad.npz: 1 record as members", "at least 2", "give more"),
    ),
    Bad(
        "no record",
        lambda folder, case: members(folder, case.x[:0], case.y[:0]),
        ("bad.npz: holds no records", "give a file with some"),
    ),
    Bad(
        "inputs and labels of different lengths",
        lambda folder, case: members(folder, case.x[:300], case.y[:299]),
        ("bad.npz: x has 300 records, y has 299", "one label per record"),
    ),
    Bad(
        "a table with a short row",
        lambda folder, case: Given(members=file(folder, "bad.csv", "a,b,y\n1,2,0\n1,2\n3,4,1\n")),
        ("bad.csv: line 3: 2 columns, the header row has 3", "mend that line"),
    ),
    Bad(
        "a suffix that nothing reads",
        lambda folder, case: Given(members=file(folder, "bad.xls", b"x")),
        ("bad.xls: nothing reads '.xls'", ".npz"),
    ),
    Bad(
        "members that are missing",
        lambda folder, case: Given(members=case.folder / "membres.npz"),
        ("membres.npz: no such file", "members.npz"),
    ),
    Bad(
        "a folder as members",
        lambda folder, case: Given(members=case.folder),
        (": a folder", "name a file in it"),
    ),
    Bad(
        "a name too long for a file",
        lambda folder, case: Given(members="a" * 300 + ".npz"),
        ("aaa.npz: file name too long",),
    ),
    Bad(
        "a share that leaves no population",
        flags("--population-share", "0.0001"),
        ("nonmembers.npz: 600 non-members are too few", "--population"),
    ),
    # the settings
    Bad(
        "a misspelt key",
        lambda folder, case: audit_file(folder, "expected_acuracy: 0.9"),
        ("audit.yaml: expected_acuracy: no such key", "did you mean 'expected_accuracy'?"),
    ),
    Bad(
        "a misspelt key below another",
        lambda folder, case: audit_file(folder, "preprocessing: {scal: 0.9}"),
        ("audit.yaml: preprocessing.scal: no such key", "did you mean 'scale'?"),
    ),
    Bad(
        "broken YAML",
        lambda folder, case: audit_file(folder, "seed: 1\nmembers: [a\nb: :\n"),
        ("audit.yaml: line 3:", "mend the YAML"),
    ),
    Bad(
        "an audit file that is a list",
        lambda folder, case: audit_file(folder, "- a\n- b\n"),
        ("audit.yaml: holds no keys", "`model: model.onnx`"),
    ),
    Bad(
        "code in an audit file",
        lambda folder, case: audit_file(folder, "seed: !!python/object/apply:os.getpid []"),
        ("audit.yaml: line 1:", "os.getpid", "mend the YAML"),
    ),
    Bad(
        "a word where the audit file needs a number",
        lambda folder, case: audit_file(folder, "seed: many"),
        ("audit.yaml: seed: 'many' - give a whole number",),
    ),
    Bad(
        "attack options that are no mapping",
        lambda folder, case: audit_file(folder, "attacks: {population: hinge}"),
        ("audit.yaml: attacks: population: 'hinge'", "mapping"),
    ),
    Bad("an audit file that is missing", flags("--config", "no.yaml"), ("no.yaml: no such audit file", "--config")),
    Bad(
        "a model as audit file",
        lambda folder, case: Given(flags=("--config", case.folder / "members.npz")),
        ("members.npz: is not text", "YAML"),
    ),
    Bad("a misspelt flag", flags("--membres", "x"), ("--membres: no such option", "did you mean --members?")),
    Bad("a flag without its value", flags("--seed"), ("--seed: no value follows", "give one")),
    Bad("a second model", flags("other.onnx"), ("other.onnx", "pmcore audit --help")),
    Bad("an unknown attack", flags("--attack", "populaton"), ("no attack 'populaton'", "did you mean 'population'?")),
    Bad(
        "an unknown option of an attack",
        flags("--attack", "population:sginal=loss"),
        ("'population' has no option 'sginal'", "did you mean 'signal'?"),
    ),
    Bad(
        "an unknown signal in an option",
        flags("--attack", "population:signal=los"),
        ("no signal 'los'", "did you mean 'loss'?"),
    ),
    Bad("an option of the wrong type", flags("--attack", "population:alpha=x"), ("alpha='x'", "expected float")),
    Bad("the same attack twice", flags("--attack", "population", "--attack", "population"), ("twice", "leave one out")),
    Bad("an unknown report", flags("--report", "htm"), ("no report 'htm'", "json, plots")),
    Bad("an unknown backend", flags("--backend", "onx"), ("no backend 'onx'", "did you mean 'onnx'?")),
    Bad("a batch of no records", flags("--batch-size", "0"), ("batch_size: 0", "from 1, or auto")),
    Bad("a batch of less than no records", flags("--batch-size", "-8"), ("batch_size: -8", "from 1, or auto")),
    Bad("no thread", flags("--threads", "0"), ("threads: '0' - give 1 or more",)),
    Bad("more threads than there are", flags("--threads", "1000000000000"), ("threads:", "give 1024 or less")),
    Bad("threads of many digits", flags("--threads", "9" * 5000), ("threads:", "give a smaller number")),
    Bad("an unknown precision", flags("--precision", "bf16"), ("precision: 'bf16' - give 'float32' or 'deployed'",)),
    Bad(
        "an unknown precision in an audit file",
        lambda folder, case: audit_file(folder, "precision: half"),
        ("audit.yaml: precision: 'half' - give 'float32' or 'deployed'",),
    ),
    Bad(
        "a class for a file that holds a whole model",
        flags("--model-class", "nets:Net"),
        ("model_class is for files of weights alone", "leave it out"),
    ),
    Bad(
        "a vouching that is no SHA-256", flags("--trust-model", "yes"), ("trust_model: 'yes'", "sha256: and 64 digits")
    ),
    Bad(
        "a vouching for another file",
        flags("--trust-model", "sha256:" + "0" * 64),
        ("model.npz: its SHA-256 is", "not the one that was trusted"),
        code=3,
    ),
    Bad("a false-positive rate of 0", flags("--fpr", "0.1,0"), ("fpr: 0 - give rates between 0 and 1",)),
    Bad("a false-positive rate of 2", flags("--fpr", "2"), ("fpr: 2 - give rates between 0 and 1",)),
    Bad("a rate in words", flags("--fpr", "few"), ("fpr", "'few'", "give a number")),
    Bad("accuracy in per cent", flags("--expected-accuracy", "91"), ("expected_accuracy: 91", "such as 0.91")),
    Bad("accuracy that is no number", flags("--expected-accuracy", "nan"), ("expected_accuracy: nan", "such as 0.91")),
    Bad("a scale of 1/0", flags("--scale", "1/0"), ("preprocessing.scale: '1/0'", "1/255")),
    # the output
    Bad("an output folder that is occupied", occupied, ("mine/ is not empty", "--force", "--out")),
    Bad(
        "a file as output folder",
        lambda folder, case: Given(flags=("--out", file(folder, "report.txt", "mine"))),
        ("report.txt is not a folder", "choose another --out"),
    ),
    Bad(
        "an output folder where none can be",
        flags("--out", "/proc/pmcore"),
        ("/proc/pmcore/", "choose another --out"),
        marks=(linux,),
    ),
)


@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.name, marks=bad.marks) for bad in TABLE])
def test_bad_input_is_one_line_of_advice_and_an_exit_code_and_leaves_nothing(
    bad: Bad, case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = bad.make(tmp_path, case).arguments(case, out)
    before = everything_below(tmp_path)
    ended = run_here(capsys, *arguments)
    assert_one_line(ended, bad.code, *bad.words)
    assert everything_below(tmp_path) == before


def assert_one_line(ended: Ended, code: int, *words: str) -> None:
    assert ended.out == ""
    assert len(ended.complaints) == 1, ended.err
    line = ended.complaints[0]
    assert line.startswith("pmcore: error: ")
    assert [word for word in words if word not in line] == [], line
    assert ended.code == code


def everything_below(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def test_what_is_missing_is_asked_for_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert_one_line(run_here(capsys, "audit"), 2, "pmcore audit model.onnx --members train.npz", "--help")


def test_each_thing_that_is_missing_has_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    ended = run_here(capsys, "audit", "model.onnx")
    assert ended.code == 2
    assert [line.split(": ")[2] for line in ended.complaints] == ["members", "non_members"]
    assert all("missing - give" in line for line in ended.complaints)


def test_several_mistakes_are_told_together_one_line_each(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = Given(model="none.onnx", members="none.npz", flags=("--attack", "nope"))
    ended = run_here(capsys, *given.arguments(case, tmp_path / "out"))
    assert ended.code == 2
    assert len(ended.complaints) == 3
    assert all(line.startswith("pmcore: error: ") for line in ended.complaints)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda folder, case: Given(non_members=case.folder / "members.npz"), "300 in members & nonmembers"),
        (
            lambda folder, case: members(
                folder, np.r_[case.x[:300], case.x[300:305]], np.r_[case.y[:300], case.y[300:305]]
            ),
            "5 in members & nonmembers",
        ),
        (flags("--expected-accuracy", "0.2"), "expected 20.0 %"),
    ],
    ids=["members and non-members are one file", "five records in two roles", "another accuracy"],
)
def test_an_invalid_audit_says_why_on_both_streams_and_ends_with_5(
    make: Callable[[Path, Case], Given], word: str, case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, *make(tmp_path, case).arguments(case, tmp_path / "out"))
    assert ended.code == 5
    assert len(ended.complaints) == 1
    assert ended.complaints[0].startswith("pmcore: error: the audit is INVALID: ")
    assert word in ended.complaints[0]
    assert "INVALID" in ended.out
    assert (tmp_path / "out" / "report.json").exists()


def test_records_of_one_class_are_audited_to_a_verdict(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_records(tmp_path / "a.npz", case.x[:300], np.zeros(300, dtype=np.int64))
    write_records(tmp_path / "b.npz", case.x[300:], np.zeros(600, dtype=np.int64))
    given = Given(members=tmp_path / "a.npz", non_members=tmp_path / "b.npz")
    ended = run_here(capsys, *given.arguments(case, tmp_path / "out"))
    assert ended.code == 5
    assert "guessing" in ended.complaints[0]


def test_the_population_attack_runs_on_a_regression_model(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ended = run_here(capsys, *regression(tmp_path, case).arguments(case, tmp_path / "out"))
    assert (ended.code, ended.err) == (0, "")


def test_a_signal_that_regression_lacks_is_refused_by_name(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = regression(tmp_path, case, "population:signal=rescaled_logit")
    ended = run_here(capsys, *given.arguments(case, tmp_path / "out"))
    assert_one_line(ended, 2, "'population'", "'rescaled_logit'", "binary, multiclass", "regression")


def test_an_audit_without_one_of_its_attacks_says_so_and_ends_with_6(
    case: Case, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = regression(tmp_path, case, "population", "population:signal=rescaled_logit")
    ended = run_here(capsys, *given.arguments(case, tmp_path / "out"))
    assert ended.code == 6
    assert len(ended.complaints) == 1
    assert "did not run: signal 'rescaled_logit'" in ended.complaints[0]
    assert "not run" in ended.out


@linux
def test_no_space_for_the_report_is_one_line_and_leaves_no_file(case: Case, tmp_path: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    out = tmp_path / "deep" / "out"
    ended = run_apart(*Given().arguments(case, out), code=limit)
    assert_one_line(ended, 2, "deep/out/: file too large while writing report.json", "needs about", "--out")
    assert everything_below(tmp_path) == {}


@linux
@pytest.mark.parametrize("command", ["audit", "inspect", "plan", "plugins"])
def test_no_space_for_standard_output_is_one_line(command: str, case: Case) -> None:
    arguments = {"inspect": [case.arguments["model"]], "plugins": []}.get(command, audit_arguments(case))
    with Path("/dev/full").open("w") as full:
        ended = run_apart(command, *arguments, capture_output=False, stdout=full, stderr=-1)
    assert_one_line(ended, 2, "standard output: no space left on device")


@pytest.mark.skipif(os.name != "posix", reason="signals as POSIX has them")
@pytest.mark.parametrize("moment", ["query", "write"])
def test_ctrl_c_is_one_line_and_leaves_no_file(moment: str, case: Case, tmp_path: Path) -> None:
    """The interrupt comes from the process itself, so that it falls into the stage that is meant."""
    where = {
        "query": "from pmcore.commands.progress import ProgressBar as place; name = '__call__'",
        "write": "from pmcore.scores import RecordScores as place; name = 'write_csv'",
    }[moment]
    code = f"""
import os, signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
{where}
setattr(place, name, lambda *given: os.kill(os.getpid(), signal.SIGINT))
"""
    ended = run_apart(*Given().arguments(case, tmp_path / "out"), code=code)
    assert_one_line(ended, 130, "interrupted", "no report was written")
    assert everything_below(tmp_path) == {}


@dataclass(frozen=True)
class Broken:
    """A plugin of a third party, what is wrong with it, and the flags that ask for it."""

    name: str
    group: str
    source: str
    asked: tuple[str, ...]
    words: tuple[str, ...]


ATTACK = """
from dataclasses import dataclass
from pmcore.interfaces import Attack, Needs
@dataclass(frozen=True)
class Plugin(Attack):
    "Is it?"
    knowledge = "nothing"
    @property
    def needs(self): {needs}
    def score(self, evidence): {score}
"""
ASKED = ("--attack", "broken")
BROKEN = (
    Broken("fails at import", "attacks", "1 / 0", ASKED, ("fails at import", "ZeroDivisionError")),
    Broken("ends the process", "attacks", "import sys; sys.exit('bye')", ASKED, ("calls sys.exit at import", "bye")),
    Broken("needs what is not there", "attacks", "import frobnicate", ASKED, ("needs frobnicate", "pip install")),
    Broken("is no class", "attacks", "Plugin = 7", ASKED, ("instance of int",)),
    Broken("lacks a method", "attacks", "from pmcore.interfaces import Attack as Plugin", ASKED, ("lacks", "score")),
    Broken(
        "cannot say what it needs",
        "attacks",
        ATTACK.format(needs="return 1 / 0", score="return 0"),
        ASKED,
        ("failed: ZeroDivisionError",),
    ),
    Broken(
        "fails at its work",
        "attacks",
        ATTACK.format(needs="return Needs(target=('loss',))", score="return 1 / 0"),
        ASKED,
        ("failed: ZeroDivisionError",),
    ),
    Broken(
        "gives nonsense",
        "attacks",
        ATTACK.format(needs="return Needs(target=('loss',))", score="return evidence.target('loss')[:3]"),
        ASKED,
        ("shape (3,)",),
    ),
    Broken(
        "cannot be made",
        "readers",
        """
from pmcore.interfaces import Reader
class Plugin(Reader):
    suffixes = (".broken",)
    def __init__(self): 1 / 0
    def read(self, path, x_keys, y_key): return None
""",
        ("--members", "records.broken"),
        ("nothing reads '.broken'",),
    ),
    Broken(
        "reads with an error",
        "readers",
        """
from pmcore.interfaces import Reader
class Plugin(Reader):
    suffixes = (".broken",)
    def read(self, path, x_keys, y_key): return 1 / 0
""",
        ("--members", "records.broken"),
        ("reader 'broken'", "ZeroDivisionError", "tell its authors"),
    ),
    Broken(
        "looks at files with an error",
        "backends",
        """
from numpy_backend import NumpyModel
class Plugin(NumpyModel):
    @classmethod
    def recognises(cls, path, head): return 1 / 0
    @classmethod
    def load(cls, source, options): return 1 / 0
""",
        ("--backend", "broken"),
        ("backend 'broken'", "ZeroDivisionError", "tell its authors"),
    ),
    Broken(
        "computes with an error",
        "signals",
        """
from pmcore.signals import Loss
class Plugin(Loss):
    def compute(self, outputs): return 1 / 0
""",
        ("--attack", "population:signal=broken"),
        ("signal 'broken'", "ZeroDivisionError", "tell its authors"),
    ),
    Broken(
        "answers with an error",
        "backends",
        """
from numpy_backend import NumpyModel
class Plugin(NumpyModel):
    @classmethod
    def recognises(cls, path, head): return False
    def ask(self, inputs, labels, want): return 1 / 0
""",
        ("--backend", "broken"),
        ("backend 'broken'", "ZeroDivisionError", "tell its authors"),
    ),
    Broken(
        "writes with an error",
        "reports",
        """
from pmcore.interfaces import Report
class Plugin(Report):
    def render(self, report): return 1 / 0
""",
        ("--report", "broken"),
        ("report 'broken'", "ZeroDivisionError", "tell its authors"),
    ),
)
each_broken = pytest.mark.parametrize("broken", BROKEN, ids=[f"{one.group} {one.name}" for one in BROKEN])


def install(broken: Broken, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a distribution that registers the plugin as "broken" on the path, as pip would leave it."""
    module = f"broken_plugin_{BROKEN.index(broken)}"
    (folder / f"{module}.py").write_text(broken.source)
    metadata = folder / "broken_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[pmcore.{broken.group}]\nbroken = {module}:Plugin\n")
    monkeypatch.syspath_prepend(folder)


@each_broken
def test_a_broken_plugin_costs_an_audit_that_does_not_use_it_nothing(
    broken: Broken, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(broken, tmp_path, monkeypatch)
    ended = run_here(capsys, "audit", *audit_arguments(case))
    assert (ended.code, ended.err) == (0, "")


@each_broken
def test_a_broken_plugin_that_is_asked_for_is_one_line(
    broken: Broken, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(broken, tmp_path, monkeypatch)
    (tmp_path / "records.broken").write_text("records")
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    assert_one_line(run_here(capsys, "audit", *audit_arguments(case, out), *broken.asked), 2, *broken.words)
    assert not out.exists()


@each_broken
def test_a_broken_plugin_is_listed_and_not_hidden(
    broken: Broken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install(broken, tmp_path, monkeypatch)
    ended = run_here(capsys, "plugins")
    assert (ended.code, ended.err) == (0, "")
    assert "broken-plugin 1.0" in ended.out
