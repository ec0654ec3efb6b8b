"""Whole audits of Keras models and SavedModels give the figures that plain numpy gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy_backend import NumpyModel, NumpyOptions
from sklearn.metrics import roc_auc_score

from pmcore import Audit
from pmcore.interfaces import Array, Floats, GradientRequest
from pmcore_tensorflow import TensorflowModel
from tests.backends.tensorflow_builders import BIASES, FEATURES, WEIGHTS, expected_logits, two_layers
from tests.core.command import run_apart

MEMBERS, OTHERS = 200, 300


def records() -> tuple[Array, Array]:
    """Return records and labels: those of members are right more often."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(MEMBERS + OTHERS, FEATURES)).astype(np.float32)
    y = expected_logits(records=x).argmax(axis=1)
    wrong = rng.random(len(x)) < np.where(np.arange(len(x)) < MEMBERS, 0.05, 0.35)
    return x, np.where(wrong, (y + 1) % 4, y)


@pytest.fixture
def data(tmp_path: Path) -> dict[str, str]:
    x, y = records()
    np.savez(tmp_path / "members.npz", x=x[:MEMBERS], y=y[:MEMBERS])
    np.savez(tmp_path / "others.npz", x=x[MEMBERS:], y=y[MEMBERS:])
    np.savez(tmp_path / "population.npz", x=x[MEMBERS::2] + np.float32(1e-3), y=y[MEMBERS::2])
    names = {"members": "members", "non_members": "others", "population": "population"}
    return {key: str(tmp_path / f"{name}.npz") for key, name in names.items()}


def expected_auc(scale: float) -> float:
    x, y = records()
    z: Floats = expected_logits(scale, x)
    rows = np.arange(len(z))
    against = np.exp(z - z[rows, y][:, None])
    against[rows, y] = 0.0
    losses = np.log1p(against.sum(axis=1))  # exact where the true class has nearly all
    return float(roc_auc_score(np.arange(len(z)) < MEMBERS, -losses))


def made(kind: str, folder: Path) -> Any:
    """Return a model whose losses saturate if they are taken after the softmax."""
    if kind == "dense":
        path = folder / "model.keras"
        TensorflowModel.write_dense(path, [WEIGHTS[0], WEIGHTS[1] * 30], [BIASES[0], BIASES[1] * 30])
        return str(path)
    net = two_layers("softmax", 30.0)
    if kind == "memory":
        return net
    if kind == "keras":
        net.save(folder / "model.keras")
        return str(folder / "model.keras")
    net.export(str(folder / "model"), verbose=False)
    return str(folder / "model")


@pytest.mark.parametrize("kind", ["memory", "dense", "keras", "saved"])
def test_audits_find_the_leak_that_numpy_finds(tmp_path: Path, data: dict[str, str], kind: str) -> None:
    result = Audit(model=made(kind, tmp_path), attacks=["population:signal=loss,per_class=false"], **data).run()
    report = result.report
    assert report.attacks["population"].auc.value == pytest.approx(expected_auc(30.0), abs=1e-6)
    assert report.model.output == ("logits" if kind == "dense" else "pre-softmax")


@pytest.mark.parametrize("kind", ["memory", "keras", "saved"])
def test_gradient_norms_tell_members_as_those_of_plain_numpy_do(
    tmp_path: Path, data: dict[str, str], kind: str
) -> None:
    NumpyModel.write_dense(tmp_path / "model.npz", [WEIGHTS[0], WEIGHTS[1] * 30], [BIASES[0], BIASES[1] * 30])
    plain = NumpyModel.load(tmp_path / "model.npz", NumpyOptions(dtype="float64"))
    x, y = records()
    norms = plain.gradients({"x": x}, y, [GradientRequest()])[GradientRequest()][:, 0]
    attack = "population:signal=gradient_norm,per_class=false"
    report = Audit(model=made(kind, tmp_path), attacks=[attack], **data).run().report
    expected = roc_auc_score(np.arange(len(x)) < MEMBERS, -norms)
    assert report.attacks["population"].auc.value == pytest.approx(expected, abs=1e-6)


def test_the_command_line_audits_a_saved_model_in_silence(tmp_path: Path, data: dict[str, str]) -> None:
    model = made("saved", tmp_path)
    ended = run_apart(
        *("audit", model, "--members", data["members"], "--non-members", data["non_members"]),
        *("--population", data["population"], "--out", tmp_path / "out"),
        *("--backend", "tensorflow:signature=serving_default"),
    )
    assert (ended.code, ended.err) == (0, "")
    assert "tensorflow" in ended.out
    assert "no proof" in " ".join(ended.out.split())
