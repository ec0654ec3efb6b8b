"""Gradients beside a runtime: held against it at every batch, refused with the file's name, never given when wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto

import pmcore
import pmcore_autograd
from pmcore.errors import ExitCode, ModelError, OutOfMemory
from pmcore.heads import Ending
from pmcore.intake import Intake
from pmcore.interfaces import Array, GradientRequest, Scale, Task, TensorSpec
from pmcore.layers import LayerTable
from pmcore.reading import Reading
from pmcore_autograd.answering import Running, RuntimeGradients
from pmcore_autograd.gate import Disagrees
from pmcore_autograd.module import ExportedModule
from tests.backends.builders import BIAS, CLASSES, FEATURES, RECORDS, WEIGHT, node, write, write_linear

LABELS = np.zeros(len(RECORDS), dtype=np.int64)
TOTAL = GradientRequest()


@dataclass
class Computed:
    """A runtime in numpy: the linear network of these tests, but where the first feature is above a limit."""

    limit: float = np.inf
    off: float = 1.0
    asked: int = 0

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
        self.asked += 1
        x = feeds["x"]
        answer = x @ WEIGHT + BIAS
        answer[:, 1] += self.off * (x[:, 0] > self.limit)
        return [answer.astype(np.float32)]


def running(runtime: Computed, path: Path) -> Running:
    intake = Intake((TensorSpec("x", ("n", FEATURES), "float32"),), None, False, path)
    reading = Reading("z", Ending.NONE, Task.MULTICLASS, CLASSES, Scale.LOGITS)
    return Running(runtime, intake, reading, "float32", {"x": RECORDS})


def gradients(path: Path) -> RuntimeGradients:
    return RuntimeGradients(lambda tensor: pmcore_autograd.load(path, (tensor,)), LayerTable, path)


def far(record: int) -> dict[str, Array]:
    """Return the records with one feature of one of them far out."""
    x = RECORDS.copy()
    x[record, 0] = 100.0
    return {"x": x}


def test_a_difference_that_shows_on_later_records_alone_is_refused_with_their_number(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    asked, found = running(Computed(limit=50.0), path), gradients(path)
    assert found.obstacle(asked) is None
    assert found.answers(asked, {"x": RECORDS}, LABELS, [TOTAL])[TOTAL].shape == (9, 1)
    with pytest.raises(Disagrees, match=r"m\.onnx: the graph's answers about 1 of 9 records are off by up to") as told:
        found.answers(asked, far(7), LABELS, [TOTAL])
    assert "\n" not in str(told.value)
    assert "1 of 9" in str(found.obstacle(asked))
    with pytest.raises(Disagrees):
        found.answers(asked, {"x": RECORDS}, LABELS, [TOTAL])


def test_predictions_that_are_given_are_compared_and_not_asked_for_again(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    runtime = Computed()
    asked, found = running(runtime, path), gradients(path)
    found.answers(asked, {"x": RECORDS}, LABELS, [TOTAL])
    before = runtime.asked
    predictions = RECORDS @ WEIGHT + BIAS
    found.answers(asked, {"x": RECORDS}, LABELS, [TOTAL], predictions)
    assert runtime.asked == before
    with pytest.raises(Disagrees, match="9 of 9"):
        found.answers(asked, {"x": RECORDS}, LABELS, [TOTAL], predictions + np.array([0.0, 0.1, 0.0, 0.0]))


def test_the_agreement_that_is_told_is_the_worst_of_all_batches(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    asked, found = running(Computed(limit=50.0, off=1e-3), path), gradients(path)
    figures: list[float] = []
    for inputs in ({"x": RECORDS}, far(7), {"x": RECORDS}):
        found.answers(asked, inputs, LABELS, [TOTAL])
        assert found.source is not None
        assert found.source.agreement is not None
        figures.append(found.source.agreement)
    assert figures[0] < 1e-6 < figures[1] == figures[2] < 1e-4


def test_records_that_are_taken_in_parts_are_all_compared(tmp_path: Path) -> None:
    path = write_linear(tmp_path / "m.onnx")
    asked, found = running(Computed(limit=50.0), path), gradients(path)
    x = np.tile(RECORDS, (3000, 1))
    labels = np.zeros(len(x), dtype=np.int64)
    found.answers(asked, {"x": x}, labels, [TOTAL])
    x[[11, 20_000, 26_999], 0] = 100.0
    with pytest.raises(Disagrees, match="3 of 27 000 records"):
        found.answers(asked, {"x": x}, labels, [TOTAL])


def test_memory_that_does_not_suffice_for_constants_is_an_obstacle_and_no_end(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"

    def read(tensor: str) -> ExportedModule:
        raise OutOfMemory("Expand 'wide': torch ran out of memory (no room); use a smaller batch")

    found = RuntimeGradients(read, LayerTable, path)
    asked = replace(running(Computed(), path), sample={})
    expected = (
        "Expand 'wide': torch ran out of memory (no room) when constants were computed; audit it without gradients"
    )
    assert found.obstacle(asked) == expected
    with pytest.raises(ModelError, match=r"m\.onnx: Expand 'wide': torch") as raised:
        found.answers(asked, {"x": RECORDS}, LABELS, [TOTAL])
    assert not isinstance(raised.value, OutOfMemory)


def test_what_is_told_of_a_node_names_the_file(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["w", "shape"], ["v"], name="turn"), node("MatMul", ["x", "v"], ["z"])]
    weights = {"w": WEIGHT, "shape": np.array([5, 5])}
    path = write(tmp_path / "m.onnx", nodes, weights, {"z": ["n", 5]})
    with pytest.raises(ModelError) as raised:
        pmcore_autograd.load(path)
    assert str(raised.value).startswith(f"{path}: Reshape 'turn': ")
    assert str(raised.value).count("m.onnx") == 1


def test_what_is_told_of_a_node_at_a_batch_names_the_file(tmp_path: Path) -> None:
    nodes = [node("Reshape", ["x", "shape"], ["h"], name="turn"), node("MatMul", ["h", "w"], ["z"])]
    weights = {"w": WEIGHT, "shape": np.array([9, 6])}
    path = write(tmp_path / "m.onnx", nodes, weights, {"z": ["n", CLASSES]})
    asked, found = replace(running(Computed(), path), sample={}), gradients(path)
    with pytest.raises(ModelError) as raised:
        found.answers(asked, {"x": RECORDS[:4]}, LABELS[:4], [TOTAL])
    assert str(raised.value).startswith(f"{path}: Reshape 'turn': ")


def overflowing(folder: Path, place: int) -> dict[str, str]:
    """Write a file whose runtime overflows in half precision about one member alone, and the records of an audit.

    Real numbers are kept wide in the graph, so that it does not overflow with the runtime.
    """
    nodes = [
        node("Mul", ["x", "large"], ["l"]),
        node("Cast", ["l"], ["half"], to=TensorProto.FLOAT16),
        node("Cast", ["half"], ["wide"], to=TensorProto.FLOAT),
        node("Min", ["wide", "most"], ["m"]),
        node("Div", ["m", "large"], ["h"]),
        node("Gemm", ["h", "w", "b"], ["z"], name="head"),
    ]
    weights = {"large": np.float32(1024), "most": np.float32(2e5), "w": WEIGHT, "b": BIAS}
    arrays = {name: np.asarray(value) for name, value in weights.items()}
    random = np.random.default_rng(8)
    given = {"model": str(write(folder / "m.onnx", nodes, arrays, {"z": ["n", CLASSES]}))}
    for role in ("members", "non_members", "population"):
        x = random.integers(-8, 9, (80, FEATURES)).astype(np.float32)
        if role == "members":
            x[place, 0] = 100.0
        given[role] = str(folder / f"{role}.npz")
        np.savez(given[role], x=x, y=random.integers(0, CLASSES, 80))
    return given


def test_an_audit_whose_graph_differs_about_a_later_record_gives_no_figure(tmp_path: Path) -> None:
    audit = pmcore.Audit(**overflowing(tmp_path, 60), attacks=["population", "gradient"])
    with pytest.raises(Disagrees, match=r"m\.onnx: the graph's answers about 1 of \d+ records are off") as raised:
        audit.run()
    assert raised.value.exit_code == ExitCode.MODEL_FAILED
    assert "\n" not in str(raised.value)


def test_an_audit_whose_graph_differs_about_a_first_record_falls_back(tmp_path: Path) -> None:
    report = pmcore.Audit(**overflowing(tmp_path, 3), attacks=["population", "gradient"]).run().report
    assert set(report.attacks) == {"population", "gradient"}
    (source,) = report.model.gradients
    assert source.tier == "closed form"
