"""Damaged files of every kind end in one line, whatever byte was hit."""

from __future__ import annotations

import random
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pmcore.errors import AuditError
from pmcore_tensorflow import TensorflowModel, TensorflowOptions
from tests.backends.tensorflow_builders import BIASES, RECORDS, WEIGHTS, framework, loaded, rewritten, save_module


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plain") / "plain.keras"
    TensorflowModel.write_dense(path, WEIGHTS, BIASES)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_module(tmp_path_factory.mktemp("saved") / "model", lambda x, z: framework().nn.softmax(z))


def damaged(payload: bytes, rng: random.Random) -> bytes:
    """Cut bytes off, or change some."""
    if rng.random() < 0.2:
        return payload[: rng.randrange(len(payload))]
    changed = bytearray(payload)
    for _ in range(rng.choice([1, 1, 2, 5, 30])):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def ends_in_one_line(path: Path) -> None:
    """Ask a model; what is refused is refused on purpose, in one line."""
    said = f"{path}: "
    try:
        model = TensorflowModel.load(path, TensorflowOptions())
        model.prepare({"x": RECORDS})
        model.predict({"x": RECORDS})
        model.layers()
    except AuditError as error:
        said = str(error)
    assert "\n" not in said
    assert said.startswith(str(path))


@pytest.mark.parametrize("seed", range(40))
def test_damaged_archives_end_in_one_line(tmp_path: Path, plain: Path, seed: int) -> None:
    (tmp_path / "model.keras").write_bytes(damaged(plain.read_bytes(), random.Random(seed)))
    ends_in_one_line(tmp_path / "model.keras")


@pytest.mark.parametrize("member", ["config.json", "metadata.json", "model.weights.h5"])
@pytest.mark.parametrize("seed", range(20))
def test_damaged_members_end_in_one_line(tmp_path: Path, plain: Path, member: str, seed: int) -> None:
    with zipfile.ZipFile(plain) as archive:
        payload = archive.read(member)
    path = rewritten(plain, tmp_path / "model.keras", {member: damaged(payload, random.Random(seed))})
    ends_in_one_line(path)


@pytest.mark.parametrize("seed", range(30))
def test_damaged_saved_models_end_in_one_line(tmp_path: Path, saved: Path, seed: int) -> None:
    rng = random.Random(seed)
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    names = ["saved_model.pb", "saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"]
    hit = folder / rng.choice(names)
    hit.write_bytes(damaged(hit.read_bytes(), rng))
    ends_in_one_line(folder)


def test_configurations_without_end_are_refused(tmp_path: Path, plain: Path) -> None:
    deep = b'{"class_name": "Sequential", "module": "keras", "config": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    with pytest.raises(AuditError, match="damaged"):
        loaded(rewritten(plain, tmp_path / "model.keras", {"config.json": deep}))


def test_weights_of_another_network_are_refused(tmp_path: Path, plain: Path) -> None:
    TensorflowModel.write_dense(tmp_path / "other.keras", [np.ones((3, 2), np.float32)], [np.ones(2, np.float32)])
    with zipfile.ZipFile(tmp_path / "other.keras") as archive:
        weights = archive.read("model.weights.h5")
    with pytest.raises(AuditError, match="Keras does not take the model"):
        loaded(rewritten(plain, tmp_path / "model.keras", {"model.weights.h5": weights}))
