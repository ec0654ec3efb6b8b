"""A graph gives gradients only if it answers as its runtime does, as nearly as the precision of that allows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import pmcore_autograd
from pmcore.errors import ModelError
from pmcore.interfaces import Floats, Scale, Task
from pmcore_autograd.gate import Disagrees, Gate, bound_for, check
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


@pytest.mark.parametrize(
    ("off", "precision", "allowed"),
    [(1e-3, "float32", "0.0001"), (0.1, "f16", "0.01"), (3.0, "int8 (QDQ)", "0.15"), (1.0, "bf16", "0.05")],
)
def test_other_answers_are_refused_with_the_figure(off: float, precision: str, allowed: str, tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    expected = runtime(path, RECORDS)
    expected[3, 1] += off * np.ptp(expected[3])
    told = rf"m\.onnx: the graph's answers about 1 of 9 records are off by up to .+, {allowed} is allowed for "
    with pytest.raises(Disagrees, match=told) as raised:
        check(pmcore_autograd.load(path), {"x": RECORDS}, expected, precision, "m.onnx")
    assert isinstance(raised.value, ModelError)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("off", "precision"), [(5e-5, "float32"), (5e-3, "float16"), (2e-2, "int8 (QDQ)"), (2e-2, "bf16")]
)
def test_what_the_precision_explains_is_let_through(off: float, precision: str, tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    expected = runtime(path, RECORDS)
    expected[3, 1] += off * np.ptp(expected[3]) / 2
    assert check(pmcore_autograd.load(path), {"x": RECORDS}, expected, precision, "m.onnx").bound == bound_for(
        precision
    )


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    expected = runtime(path, RECORDS)
    expected[0, 0] = np.nan
    with pytest.raises(Disagrees, match="off by up to nan"):
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


LOGITS: Floats = np.random.default_rng(3).normal(scale=3.0, size=(40, 5))


@pytest.mark.parametrize(
    "hiding",
    [
        pytest.param((slice(None), 2, 1e6), id="a constant in one column"),
        pytest.param((slice(None), slice(None), 1e3), id="a constant in all answers"),
        pytest.param((7, slice(None), 1e6), id="a record with huge answers"),
        pytest.param((7, 2, 1e6), id="a record with one huge answer"),
    ],
)
def test_what_is_huge_hides_no_difference(hiding: tuple[int | slice, int | slice, float]) -> None:
    rows, columns, huge = hiding
    expected = LOGITS.copy()
    expected[rows, columns] += huge
    found = expected.copy()
    gate = Gate(expected[:32], "float32", "m")
    gate.hold(found, expected)
    assert gate.difference == 0.0
    found[5, 0] += 0.05
    with pytest.raises(Disagrees, match="about 1 of 40 records"):
        gate.hold(found, expected)


def test_a_difference_between_two_classes_is_seen_beside_a_huge_third() -> None:
    expected = LOGITS[:, :3].copy()
    expected[:, 1] = -1e9
    gate = Gate(expected[:32], "float32", "m")
    with pytest.raises(Disagrees):
        gate.hold(expected + np.array([0.05, 0.0, 0.0]), expected)


def test_answers_near_nought_may_be_rounded_as_those_of_other_records_are() -> None:
    expected = LOGITS.copy()
    expected[9] *= 1e-6
    found = expected.copy()
    found[9] += 1e-5
    gate = Gate(expected[:32], "float32", "m")
    gate.hold(found, expected)
    assert 0 < gate.difference < 1e-5


@pytest.mark.parametrize("sample", [1, 32], ids=["one record", "32 alike"])
@pytest.mark.parametrize("task", [Task.MULTICLASS, Task.REGRESSION])
def test_a_sample_that_is_answered_alike_does_not_make_the_gate_narrow(sample: int, task: Task) -> None:
    random = np.random.default_rng(4)
    alike = np.repeat(LOGITS[:1], sample, axis=0) * (1 + 1e-7 * random.normal(size=(sample, 5)))
    gate = Gate(alike, "float32", "m", task=task)
    gate.hold(LOGITS * (1 + 1e-6 * random.normal(size=LOGITS.shape)), LOGITS)
    assert gate.difference < 1e-5


@pytest.mark.parametrize("task", [Task.REGRESSION, Task.MULTILABEL, Task.BINARY, Task.MULTICLASS])
def test_columns_of_every_task_are_compared(task: Task) -> None:
    expected = LOGITS[:, :1] if task is Task.BINARY else LOGITS
    gate = Gate(expected[:32], "float32", "m", task=task)
    gate.hold(expected * (1 + 1e-6), expected)
    with pytest.raises(Disagrees):
        gate.hold(expected * (1 + 1e-3), expected)


def test_values_in_large_units_hide_no_difference_in_small_ones() -> None:
    expected = LOGITS * np.array([1e6, 1.0, 1.0, 1e3, 1.0])
    gate = Gate(expected[:32], "float32", "m", task=Task.REGRESSION, scale=Scale.VALUES)
    with pytest.raises(Disagrees):
        gate.hold(expected + np.array([0.0, 0.05, 0.0, 0.0, 0.0]), expected)


def test_an_offset_of_a_regression_hides_no_difference() -> None:
    expected = LOGITS[:, :1] + 2000.0
    gate = Gate(expected[:32], "float32", "m", task=Task.REGRESSION, scale=Scale.VALUES)
    with pytest.raises(Disagrees):
        gate.hold(expected + 0.05, expected)


def test_the_difference_is_the_largest_of_all_batches() -> None:
    gate = Gate(LOGITS[:32], "float32", "m")
    figures = []
    for off in (1e-6, 4e-5, 1e-6):
        gate.hold(LOGITS + off, LOGITS)
        figures.append(gate.difference)
    assert figures[0] < figures[1] == figures[2] == gate.agreement.difference


def test_what_rounds_may_jump_about_a_few_records_but_not_about_many_or_far() -> None:
    jumped = LOGITS.copy()
    jumped[:4, 0] += 0.3 * np.ptp(LOGITS[:4], axis=1)
    Gate(LOGITS[:32], "float32 with int8", "m").hold(jumped, LOGITS)
    Gate(LOGITS[:32], "float32", "m", rounds=True).hold(jumped, LOGITS)
    jumped[:8, 0] = LOGITS[:8, 0] + 0.6 * np.ptp(LOGITS[:8], axis=1)
    with pytest.raises(Disagrees, match="of 40 records"):
        Gate(LOGITS[:32], "int8", "m").hold(jumped, LOGITS)
    far = LOGITS.copy()
    far[0, 0] += 5 * np.ptp(LOGITS[0])
    with pytest.raises(Disagrees, match="about 1 of 40 records"):
        Gate(LOGITS[:32], "int8", "m").hold(far, LOGITS)


@pytest.mark.parametrize(
    ("precision", "bound"),
    [("float32", 1e-4), ("f32", 1e-4), ("float32 with int8", 0.15), ("int8 (QDQ)", 0.15), ("bf16", 5e-2), ("?", 1e-4)],
)
def test_the_coarsest_type_that_a_precision_names_sets_the_bound(precision: str, bound: float) -> None:
    assert bound_for(precision) == bound
