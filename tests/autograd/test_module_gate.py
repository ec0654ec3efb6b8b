"""A graph gives gradients only if it answers as its runtime does, as nearly as the precision of that allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pmcore_autograd
from pmcore.errors import ModelError
from pmcore_autograd.gate import Disagrees, bound_for, check
from tests.autograd.exported import EXPORTERS, NETWORKS, export, records, runtime
from tests.backends.builders import RECORDS, write_linear


@pytest.mark.parametrize("exporter", EXPORTERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_exports_pass(name: str, exporter: str, tmp_path: Path) -> None:
    path = export(name, exporter, tmp_path)
    x = records(name)[0].numpy()
    found = check(pmcore_autograd.load(path), {"x": x}, runtime(path, x), "float32", path.name)
    assert found.bound == 1e-4
    assert found.difference < 1e-6


def test_an_export_for_a_fixed_number_of_records_is_asked_by_that_many(tmp_path: Path) -> None:
    path = export("transformer", "legacy", tmp_path, batch=4)
    x = records("transformer", 8)[0].numpy()
    expected = np.concatenate([runtime(path, x[:4]), runtime(path, x[4:])])
    module = pmcore_autograd.load(path)
    assert check(module, {"x": x}, expected, "float32", path.name).difference < 1e-6
    assert check(module, {"x": x[:6]}, expected[:6], "float32", path.name).difference < 1e-6


@pytest.mark.parametrize(("off", "precision"), [(2e-4, "float32"), (2e-2, "f16"), (0.2, "int8 (QDQ)"), (0.2, "bf16")])
def test_other_answers_are_refused_with_the_figure(off: float, precision: str, tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    expected = runtime(path, RECORDS)
    expected[3, 1] += off * np.abs(expected).max()
    with pytest.raises(Disagrees, match=rf"m\.onnx: the graph's answers are off by {off:.0e}"[:-4]) as raised:
        check(pmcore_autograd.load(path), {"x": RECORDS}, expected, precision, "m.onnx")
    assert isinstance(raised.value, ModelError)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("off", "precision"), [(5e-5, "float32"), (5e-3, "float16"), (2e-2, "int8 (QDQ)"), (2e-2, "bf16")]
)
def test_what_the_precision_explains_is_let_through(off: float, precision: str, tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    expected = runtime(path, RECORDS)
    expected[3, 1] += off * np.abs(expected).max()
    assert check(pmcore_autograd.load(path), {"x": RECORDS}, expected, precision, "m.onnx").bound == bound_for(
        precision
    )


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    expected = runtime(path, RECORDS)
    expected[0, 0] = np.nan
    with pytest.raises(Disagrees, match="off by nan"):
        check(pmcore_autograd.load(path), {"x": RECORDS}, expected, "float32", "m.onnx")


def test_answers_of_another_shape_are_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    with pytest.raises(Disagrees, match=r"in the shape \(9, 4\) where the runtime answers in \(9, 3\)"):
        check(pmcore_autograd.load(path), {"x": RECORDS}, runtime(path, RECORDS)[:, :3], "float32", "m.onnx")


def test_a_changed_weight_does_not_pass(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    module = pmcore_autograd.load(path)
    with torch.no_grad():
        module.get_parameter("w")[0, 0] += 0.01
    with pytest.raises(Disagrees):
        check(module, {"x": RECORDS}, runtime(path, RECORDS), "float32", "m.onnx")
