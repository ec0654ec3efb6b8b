"""Files that would run code when PyTorch loads them: refused through the real command line, and nothing has run."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pmcore.errors import UntrustedError
from pmcore_torch.archives import open_archive
from pmcore_torch.exported import rewritten
from pmcore_torch.expressions import is_arithmetic
from pmcore_torch.operators import exported_operator_passes, script_operator_passes
from pmcore_torch.pickles import strange_call
from pmcore_torch.scriptsource import find_problem
from pmcore_torch.treespecs import plain_treespec
from tests.backends.torch_builders import RECORDS, Trap, changed, export, load, part, ready, script, softmax_net
from tests.core.command import run_apart

CPU = {"type": "cpu", "index": None}
MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"


def saved(thing: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def plain_pickle(folder: Path, marker: Path) -> Path:
    path = folder / "m.pt"
    path.write_bytes(pickle.dumps({"state_dict": Trap(marker)}))
    return path


def old_pickle(folder: Path, marker: Path) -> Path:
    path = folder / "m.pt"
    torch.save({"w": torch.zeros(2), "trap": Trap(marker)}, path, _use_new_zipfile_serialization=False)
    return path


def whole_module(folder: Path, marker: Path) -> Path:
    module = softmax_net()
    module.trap = Trap(marker)  # type: ignore[assignment]
    torch.save(module, folder / "m.pt")
    return folder / "m.pt"


def checkpoint(folder: Path, marker: Path) -> Path:
    torch.save({"state_dict": softmax_net().state_dict(), "epoch": Trap(marker)}, folder / "m.bin")
    return folder / "m.bin"


def pickled_inputs(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    return changed(path, {"data/sample_inputs/model.pt": saved(((torch.zeros(2, 6), Trap(marker)), {}))})


def pickled_weights(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    config = json.loads(part(path, WEIGHTS))
    config["config"]["0.weight"]["use_pickle"] = True
    return changed(path, {WEIGHTS: json.dumps(config).encode(), "data/weights/weight_0": saved(Trap(marker))})


def old_weights(folder: Path, marker: Path) -> Path:
    return changed(export(softmax_net(), folder / "m.pt2"), {"data/weights/model.pt": saved(Trap(marker))})


def opaque_constant(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None}
    config = json.dumps({"config": {"c": entry}}).encode()
    parts = {
        "data/constants/model_constants_config.json": config,
        "data/constants/opaque_obj_0": pickle.dumps(Trap(marker)),
    }
    return changed(path, parts)


def shape_expression(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    text = part(path, MODEL).decode()
    evil = f"__import__('os').system('touch {marker}')"
    found = "Symbol('s" + text.split("Symbol('s", 1)[1].split(")", 1)[0] + ")"
    assert found in text
    return changed(path, {MODEL: text.replace(found, evil).encode()})


def node_name(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    evil = f"input=__import__('os').system('touch {marker}')"
    return changed(path, {MODEL: part(path, MODEL).replace(b'"name": "input"', f'"name": "{evil}"'.encode())})


def guard(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    program = json.loads(part(path, MODEL))
    program["guards_code"] = [f"__import__('os').system('touch {marker}') == 0"]
    return changed(path, {MODEL: json.dumps(program).encode()})


def imported_structure(folder: Path, marker: Path) -> Path:
    (folder / "evil_structure.py").write_text(f"import os\nos.system('touch {marker}')\n")
    path = export(softmax_net(), folder / "m.pt2")
    program = json.loads(part(path, MODEL))
    context = {"default_factory_module": "evil_structure", "default_factory_name": "x", "dict_context": []}
    spec = {"type": "collections.defaultdict", "context": json.dumps(context), "children_spec": []}
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, spec])
    return changed(path, {MODEL: json.dumps(program).encode()})


def file_operator(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    return changed(
        path, {MODEL: part(path, MODEL).replace(b"torch.ops.aten.softmax.int", b"torch.ops.aten.from_file.default")}
    )


def python_function(folder: Path, marker: Path) -> Path:
    path = export(softmax_net(), folder / "m.pt2")
    return changed(path, {MODEL: part(path, MODEL).replace(b"torch.ops.aten.softmax.int", b"torch.os.system")})


def compiled_code(folder: Path, marker: Path) -> Path:
    return changed(export(softmax_net(), folder / "m.pt2"), {"data/aotinductor/model/model.so": b"\x7fELF"})


class Opens(nn.Module):
    """A TorchScript program that makes a file, for it maps one that may be written."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("MARKER", True, 4).sum()


class Saves(nn.Module):
    """A TorchScript program that writes a file."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "MARKER")
        return x


def program(module: nn.Module) -> Callable[[Path, Path], Path]:
    def build(folder: Path, marker: Path) -> Path:
        path = script(module, folder / "m.pt")
        names = [name for name in open_archive(path).members if name.endswith(".py")]
        parts = {name: part(path, name).replace(b'"MARKER"', f'"{marker}"'.encode()) for name in names}
        assert any(str(marker).encode() in data for data in parts.values())
        return changed(path, dict(parts))

    return build


def script_constants(folder: Path, marker: Path) -> Path:
    return changed(script(softmax_net(), folder / "m.pt"), {"constants.pkl": pickle.dumps((Trap(marker),), protocol=2)})


def script_state(folder: Path, marker: Path) -> Path:
    """Write a program whose `__setstate__` makes a file while it is loaded."""
    path = script(softmax_net(), folder / "m.pt")
    name = next(name for name in open_archive(path).members if name.endswith("activation.py"))
    code = f'  def __setstate__(self, s: int) -> None:\n    _0 = torch.from_file("{marker}", True, 4)\n'
    return changed(path, {name: part(path, name) + code.encode()})


HOSTILE = {
    "a plain pickle": (plain_pickle, "pickle"),
    "a pickle of an old PyTorch": (old_pickle, "old PyTorch"),
    "a pickled module": (whole_module, "torch.nn.modules"),
    "a checkpoint with more than tensors": (checkpoint, "system"),
    "pickled inputs": (pickled_inputs, "sample inputs"),
    "pickled weights": (pickled_weights, "'0.weight'"),
    "weights of an old archive": (old_weights, "as a pickle"),
    "an opaque constant": (opaque_constant, "custom object"),
    "an expression over sizes": (shape_expression, "no plain arithmetic"),
    "source in a name": (node_name, "a name"),
    "source in a guard": (guard, "a guard"),
    "a structure that imports": (imported_structure, "names Python objects"),
    "an operator on files": (file_operator, "torch.ops.aten.from_file"),
    "a Python function": (python_function, "torch.os.system"),
    "compiled code": (compiled_code, "compiled code"),
    "a program that maps files": (program(Opens()), "line "),
    "a program that writes files": (program(Saves()), "torch.save"),
    "pickled constants of a program": (script_constants, "constants.pkl"),
    "a program that acts while it is loaded": (script_state, "from_file"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_ends_with_one_line_and_has_done_nothing(kind: str, tmp_path: Path) -> None:
    build, said = HOSTILE[kind]
    marker = tmp_path / "ran"
    path = build(tmp_path, marker)
    ended = run_apart("inspect", path, cwd=tmp_path)
    assert (ended.code, len(ended.complaints), ended.out) == (3, 1, "")
    assert said in ended.err
    assert not marker.exists()


@pytest.mark.parametrize(
    "kind", ["a pickled module", "a checkpoint with more than tensors", "a pickle of an old PyTorch"]
)
def test_a_class_for_the_weights_makes_no_pickle_safe(kind: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = HOSTILE[kind][0](tmp_path, marker)
    with pytest.raises(UntrustedError):
        load(path, model_class="torch.nn:Identity")
    assert not marker.exists()


def test_the_traps_of_these_tests_would_have_gone_off(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    path = pickled_inputs(tmp_path, marker)
    with contextlib.suppress(Exception):  # it complains about what it has loaded
        torch.export.load(path)
    assert marker.exists()
    second = tmp_path / "second"
    torch.jit.load(str(program(Opens())(tmp_path, second)))(torch.zeros(1))  # type: ignore[no-untyped-call]
    assert second.exists()


def test_a_program_that_somebody_vouches_for_runs(tmp_path: Path) -> None:
    from pmcore.checksums import files_sha256

    marker = tmp_path / "ran"
    path = program(Opens())(tmp_path, marker)
    with pytest.raises(
        UntrustedError, match=r"Opens|m\.pt: is a program, and code/.*\.py, line \d+: .*--trust-model sha256:"
    ):
        load(path)
    with pytest.raises(UntrustedError, match="not the one that was trusted"):
        load(path, trust_model=f"sha256:{'0' * 64}")
    assert not marker.exists()
    model = ready(path, trust_model=f"sha256:{files_sha256([path])}")
    assert marker.exists()
    assert any("vouched" in note for note in model.describe().notes)


@pytest.mark.parametrize(
    "text",
    [
        "Symbol('s0', positive=True, integer=True)",
        "Add(Mul(Integer(-1), Symbol('s0', integer=True)), Integer(7))",
        "FloorDiv(Symbol('u1', integer=True), 2)",
        "Pow(Symbol('s0', positive=True, integer=True), Integer(2))",
        "Eq(Symbol('s0'), Integer(3))",
        "Float('0.5', precision=53)",
        "2*s0",
    ],
)
def test_arithmetic_over_sizes_passes(text: str) -> None:
    assert is_arithmetic(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os')",
        "Symbol('s0').__class__",
        "Symbol(\"x'+exit()+'\")",
        "[].append(1)",
        "(lambda: 1)()",
        "exec('1')",
        "Pow(Integer(9), Integer(999999999))",
        "9**9**9",
        "Add(*[1, 2])",
        "Symbol('s0', **{})",
        "'text'",
        "f'{1}'",
        "x.y",
        "Lambda(x, x)",
        "Integer('__import__(1)')",
        "(" * 400 + "1" + ")" * 400,
        "1" * 3000,
        "",
    ],
)
def test_anything_else_in_an_expression_is_refused(text: str) -> None:
    assert not is_arithmetic(text)


@pytest.mark.parametrize(
    "source",
    [
        'torch.from_file("x", True, 4)',
        'getattr(torch, "from_file")("x", True, 4)',
        'ops.aten.save(x, "f")',
        "ops.prim.PythonOp(x)",
        "ops.profiler._record_function_enter(x)",
        "ops.mine.op(x)",
        "rpc_sync(x, y)",
        "__torch__.torch.classes.mine.Loader()",
        "open(x)",
        '("x").from_file(True, 4)',
        "torch.manual_seed(1)",
        "getattr(x, y)",
        "lambda: 1",
        "^Python(x)(y)",
        "print(x)",
        "ops.prim.Print(x)",
        "chr(27)",
        'ops.aten.warn("\\033[31mred")',
        "torch._reshape_alias(x, [100000000], [1])",
        "ops.aten._sparse_coo_tensor_unsafe(x, y, [3, 3])",
    ],
)
def test_a_line_of_a_program_that_does_more_than_compute_is_named(source: str) -> None:
    found = find_problem(f"def forward(x: Tensor,\n    y: Tensor) -> Tensor:\n  _0 = {source}\n  return _0\n".encode())
    assert found is not None
    assert found.line == 3


@pytest.mark.parametrize("alias", ["torch", "ops", "ops.prim", "__torch__", "__torch__.torch", "rpc_async"])
def test_a_name_for_a_whole_namespace_is_refused(alias: str) -> None:
    assert (
        find_problem(f"def forward(x: Tensor) -> Tensor:\n  o = {alias}\n  return o.something(x)\n".encode())
        is not None
    )


def test_operators_on_files_and_processes_are_none_of_those_allowed() -> None:
    for name in ("from_file", "save", "set_", "manual_seed", "_reshape_alias", "_sparse_coo_tensor_unsafe"):
        assert not exported_operator_passes(f"torch.ops.aten.{name}.default")
        assert not script_operator_passes("aten", name)
    for target in ("torch.load", "torch.ops.load_library", "torch.ops.aten.__class__.__init__", "math.__loader__.x"):
        assert not exported_operator_passes(target)
    for target in (
        "os.system",
        "_operator.attrgetter",
        "_operator.methodcaller",
        "#ext:op",
        "torch.ops.higher_order.print",
    ):
        assert not exported_operator_passes(target)
    assert exported_operator_passes("torch.ops.aten.linear.default")


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_a_call_in_a_pickle_is_seen_in_every_protocol(protocol: int, tmp_path: Path) -> None:
    assert strange_call(pickle.dumps({"a": Trap(tmp_path)}, protocol=protocol)) is not None


def test_structures_of_other_classes_become_dicts_and_tuples() -> None:
    leaf: dict[str, object] = {"type": None, "context": None, "children_spec": []}
    named = {"type": "transformers.ModelOutput", "context": '["logits"]', "children_spec": [leaf]}
    assert json.loads(plain_treespec(json.dumps([1, named])) or "")[1]["type"] == "builtins.dict"
    enum = {
        "type": "builtins.dict",
        "context": '[{"__enum__": true, "fqn": "os:x", "name": "y"}]',
        "children_spec": [leaf],
    }
    assert plain_treespec(json.dumps([1, enum])) is None
    assert plain_treespec("nonsense") is None


def test_the_archive_that_torch_reads_holds_what_was_checked_alone(tmp_path: Path) -> None:
    path = export(softmax_net(), tmp_path / "m.pt2")
    changed(path, {"extra/notes.txt": b"x", "data/other/thing": b"y"})
    copy = tmp_path / "copy.pt2"
    copy.write_bytes(rewritten(open_archive(path), CPU).getvalue())
    names = {name for name in open_archive(copy).members if not name.startswith(".data/") and name != "byteorder"}
    tensors = {"data/weights/weight_0", "data/weights/weight_1"}
    configs = {WEIGHTS, "data/constants/model_constants_config.json", "data/sample_inputs/model.pt"}
    assert names == {"archive_format", "archive_version", MODEL, *tensors, *configs, "version"} - ({"version"} - names)
    assert part(copy, "data/sample_inputs/model.pt") == b""
    assert "stack_trace" not in part(copy, MODEL).decode()


def test_safetensors_carry_no_code_and_pass(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(softmax_net().state_dict(), tmp_path / "m.safetensors")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\ndef net():\n  return nn.Sequential(nn.Linear(6, 4), nn.Softmax(1))\n"
    )
    ended = run_apart("inspect", tmp_path / "m.safetensors", "--model-class", "nets:net", cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    (tmp_path / "short.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}" + b" " * 20)
    ended = run_apart("inspect", tmp_path / "short.safetensors", "--model-class", "nets:net", cwd=tmp_path)
    assert (ended.code, len(ended.complaints)) == (2, 1)


@pytest.mark.parametrize("seed", range(12))
def test_damaged_archives_end_in_one_line(seed: int, tmp_path: Path) -> None:
    from pmcore.errors import AuditError

    rng = np.random.default_rng(seed)
    path = tmp_path / ("m.pt2" if seed % 2 else "m.pt")
    whole = (export if seed % 2 else script)(softmax_net(), path).read_bytes()
    for round_ in range(8):
        data = bytearray(whole)
        if round_ % 3 == 0:
            del data[int(rng.integers(1, len(data))) :]
        else:
            for place in rng.integers(0, len(data), 1 + 20 * (round_ % 3)):
                data[place] = int(rng.integers(0, 256))
        path.write_bytes(bytes(data))
        complaint = ""
        try:
            ready(path).predict({"x": RECORDS})
        except AuditError as error:
            complaint = str(error)
        assert "\n" not in complaint
