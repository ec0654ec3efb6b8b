"""Which files the PyTorch backend takes for its own, what it says of others, devices, threads and silence."""

from __future__ import annotations

import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from pmcore.errors import AuditError, InputError, ModelError, UntrustedError
from pmcore.interfaces import Precision
from pmcore_torch import TorchModel
from pmcore_torch.archives import open_archive
from pmcore_torch.options import TorchOptions
from tests.backends.gpu import CUDA
from tests.backends.torch_builders import (
    FEATURES,
    RECORDS,
    Functional,
    expected_logits,
    export,
    linear,
    load,
    ready,
    script,
    softmax_net,
    wrapped,
)
from tests.core.command import run_apart


def recognised(path: Path) -> bool:
    return TorchModel.recognises(path, path.read_bytes()[:4096])


def test_importing_the_backend_and_telling_files_apart_imports_no_framework(tmp_path: Path) -> None:
    export(softmax_net(), tmp_path / "m.pt2")
    code = (
        "import sys, pkgutil, importlib, pathlib, pmcore_torch\n"
        "names = {m.name for m in pkgutil.iter_modules(pmcore_torch.__path__)}\n"
        "names -= {'architecture'}  # for training alone\n"
        "[importlib.import_module('pmcore_torch.' + name) for name in names]\n"
        f"p = pathlib.Path({str(tmp_path / 'm.pt2')!r})\n"
        "assert pmcore_torch.TorchModel.recognises(p, p.read_bytes()[:4096]) and not pmcore_torch.TorchModel.wraps(p)\n"
        "print([m for m in ('torch', 'safetensors') if m in sys.modules])"
    )
    path = {"PYTHONPATH": ":".join(entry for entry in sys.path if entry)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=path, check=True)
    assert done.stdout.strip() == "[]"


def test_files_are_told_by_what_they_hold(tmp_path: Path) -> None:
    state = softmax_net().state_dict()
    torch.save(state, tmp_path / "checkpoint.bin")
    torch.save(state, tmp_path / "old.bin", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "weights")
    export(softmax_net(), tmp_path / "program.pt2").rename(tmp_path / "program")
    script(softmax_net(), tmp_path / "script.zip")
    for name in ("checkpoint.bin", "old.bin", "weights", "program", "script.zip"):
        assert recognised(tmp_path / name), name


def test_files_of_others_are_left_to_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "records.npz", x=RECORDS)
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"x": 1}))
    (tmp_path / "model.onnx").write_bytes(b"\x08\x08\x12\x05tests" + b"\0" * 40)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "short").write_bytes(b"P")
    for name in ("records.npz", "plain.pt", "model.onnx", "m.keras", "short"):
        assert not recognised(tmp_path / name), name


def test_every_kind_of_file_is_inspected_in_silence(tmp_path: Path) -> None:
    for path in (export(softmax_net(), tmp_path / "m.pt2"), script(softmax_net(), tmp_path / "m.pt")):
        ended = run_apart("inspect", path)
        assert (ended.code, ended.err) == (0, "")
        assert "torch" in ended.out
    assert "such a check is no proof" in " ".join(ended.out.split())


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", InputError, "is empty"),
        (b"nothing of the kind", InputError, "is no file of PyTorch"),
        (b"PK\x03\x04 but no archive", InputError, "is no file of PyTorch"),
        (pickle.dumps({"x": 1}), InputError, "without tensors"),
        (b"\x80\x04broken", UntrustedError, "cannot be read without loading it"),
    ],
)
def test_other_content_under_the_name_of_an_export_is_one_line(
    content: bytes, error: type[AuditError], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "m.pt2"
    path.write_bytes(content)
    with pytest.raises(error, match=said) as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_said_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "m.pt2")
    with pytest.raises(InputError, match="is a folder"):
        load(tmp_path)


def member(path: Path, *names: str, data: bytes = b"x") -> Path:
    import warnings

    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name in names:
            archive.writestr(name, data)
    return path


def test_archives_that_two_readers_would_read_differently_are_refused(tmp_path: Path) -> None:
    for names in (
        ("m/data.pkl", "m/data.pkl"),
        ("m/data.pkl", "other/data.pkl"),
        ("m/data.pkl", "m/../x"),
        ("m/a\\b",),
    ):
        with pytest.raises(UntrustedError, match="not named as PyTorch names parts"):
            open_archive(member(tmp_path / "m.pt", *names))


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unpack to far more"):
        open_archive(member(tmp_path / "m.pt", "m/data.pkl", "m/data/0", data=b"\0" * 2**26))


def test_a_class_that_leaves_the_program_is_refused(tmp_path: Path) -> None:
    save_file(softmax_net().state_dict(), tmp_path / "m.safetensors")
    for factory in ("builtins:exit", "sys:exit"):
        with pytest.raises(InputError, match="failed when called without arguments"):
            load(tmp_path / "m.safetensors", model_class=factory)


def test_a_class_for_a_whole_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="leave model_class out"):
        load(export(softmax_net(), tmp_path / "m.pt2"), model_class="torch.nn:Identity")
    with pytest.raises(InputError, match="leave it out"):
        TorchModel.wrap(softmax_net(), TorchOptions(model_class="torch.nn:Identity"))


@pytest.mark.parametrize("device", ["gpu", "cpu:1", "cuda:x", "", "auto:0"])
def test_an_unknown_device_is_refused_with_the_list(tmp_path: Path, device: str) -> None:
    with pytest.raises(InputError, match="auto, cpu, cuda, cuda:N, mps"):
        load(export(softmax_net(), tmp_path / "m.pt2"), device=device)


@pytest.mark.skipif(CUDA, reason="has a CUDA device")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_does_not_come_up_is_an_error(
    device: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = export(softmax_net(), tmp_path / "m.pt2")
    capfd.readouterr()
    said = r"device 'cuda.*was asked for.*--device cpu"
    with pytest.raises(ModelError, match=said) as from_file:
        load(path, device=device)
    with pytest.raises(ModelError, match=said) as from_memory:
        TorchModel.wrap(softmax_net(), TorchOptions(device=device))
    assert not any("\n" in str(caught.value) for caught in (from_file, from_memory))
    assert capfd.readouterr() == ("", "")


def test_threads_are_those_asked_for_while_asking_and_as_before_afterwards() -> None:
    seen: list[int] = []

    def note(z: Any) -> Any:
        seen.append(torch.get_num_threads())
        return z

    before = torch.get_num_threads()
    wrapped(Functional(note), threads=before + 1).predict({"x": RECORDS})
    assert set(seen) == {before + 1}
    assert torch.get_num_threads() == before
    with pytest.raises(InputError, match="threads 0"):
        TorchModel.wrap(softmax_net(), TorchOptions(threads=0))


def test_products_are_exact_unless_the_deployed_precision_is_asked_for() -> None:
    seen: list[str] = []

    def note(z: Any) -> Any:
        matmul: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
        seen.append(matmul.fp32_precision)
        return z

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        wrapped(Functional(note)).predict({"x": RECORDS})
        wrapped(Functional(note), precision=Precision.DEPLOYED).predict({"x": RECORDS})
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    assert seen[0] == "ieee"
    assert seen[-1] == "bf16"


def test_autocast_and_gradients_are_off_while_asking() -> None:
    module = softmax_net()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model = wrapped(module)
        np.testing.assert_allclose(model.predict({"x": RECORDS}), expected_logits(), atol=1e-5)
        assert torch.is_autocast_enabled("cpu")
    assert all(value.grad is None for value in module.parameters())


def test_records_of_another_width_are_one_line(tmp_path: Path) -> None:
    model = ready(export(softmax_net(), tmp_path / "m.pt2"))
    with pytest.raises(ModelError, match=r"torch failed: .*shapes cannot be multiplied") as caught:
        model.predict({"x": RECORDS[:, :3]})
    assert "\n" not in str(caught.value)


def test_a_module_without_inputs_or_outputs_is_refused() -> None:
    class Nothing(nn.Module):
        def forward(self) -> None:
            return None

    with pytest.raises(InputError, match="takes no inputs"):
        TorchModel.wrap(Nothing(), TorchOptions())
    with pytest.raises(ModelError, match="returns no tensor"):
        wrapped(Functional(lambda z: None))


def test_the_shape_of_records_is_known_where_the_first_layer_tells() -> None:
    def shape(module: nn.Module) -> object:
        return TorchModel.wrap(module, TorchOptions()).describe().inputs[0].shape

    assert shape(nn.Sequential(nn.Sequential(linear()), nn.ReLU())) == ("batch", FEATURES)
    assert shape(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())) == ("batch", 3, None, None)
    assert shape(nn.Sequential(nn.Flatten(), linear())) == ()
