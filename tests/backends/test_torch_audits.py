"""Whole audits of PyTorch models: from memory and from every kind of file the figures are those of plain numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score
from torch import nn

from pmcore import Audit
from pmcore_torch import TorchModel
from tests.backends.torch_builders import script

FEATURES, CLASSES = 12, 4


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return records of which the members have more margin, and their losses by plain numpy."""
    folder = tmp_path_factory.mktemp("case")
    rng = np.random.default_rng(0)
    members, n = 200, 500
    y = rng.integers(0, CLASSES, n)
    x = rng.normal(size=(n, FEATURES)).astype(np.float32)
    x[:, :CLASSES] = 0.0
    x[np.arange(n), y] = rng.normal(1.5, 1.0, n) + np.where(np.arange(n) < members, 1.5, 0.0)
    np.savez(folder / "members.npz", x=x[:members], y=y[:members])
    np.savez(folder / "nonmembers.npz", x=x[members:], y=y[members:])
    z = x[:, :CLASSES].astype(np.float64)
    loss = np.log(np.exp(z).sum(axis=1)) - z[np.arange(n), y]
    files = {"members": str(folder / "members.npz"), "non_members": str(folder / "nonmembers.npz")}
    return {"files": files, "loss": loss, "members": members}


def net() -> nn.Sequential:
    """Return the network that reads one feature per class."""
    layer = nn.Linear(FEATURES, CLASSES)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(CLASSES, FEATURES))
        layer.bias.zero_()
    return nn.Sequential(layer, nn.Softmax(dim=1)).eval()


def in_memory(folder: Path) -> dict[str, Any]:
    return {"model": net()}


def exported(folder: Path) -> dict[str, Any]:
    example, shapes = (torch.zeros(2, FEATURES),), ({0: torch.export.Dim.DYNAMIC},)
    torch.export.save(torch.export.export(net(), example, dynamic_shapes=shapes), folder / "m.pt2")
    return {"model": str(folder / "m.pt2")}


def fixed_batch(folder: Path) -> dict[str, Any]:
    torch.export.save(torch.export.export(net(), (torch.zeros(64, FEATURES),)), folder / "m.pt2")
    return {"model": str(folder / "m.pt2")}


def dense(folder: Path) -> dict[str, Any]:
    weight = np.eye(FEATURES, CLASSES, dtype=np.float32)
    TorchModel.write_dense(folder / "m.pt2", [weight], [np.zeros(CLASSES, dtype=np.float32)])
    return {"model": str(folder / "m.pt2")}


def scripted(folder: Path) -> dict[str, Any]:
    return {"model": str(script(net(), folder / "m.pt"))}


def weights(folder: Path) -> dict[str, Any]:
    save_file(net().state_dict(), folder / "m.safetensors")
    return {"model": str(folder / "m.safetensors"), "model_class": f"{__name__}:net"}


def state_dict(folder: Path) -> dict[str, Any]:
    torch.save(net().state_dict(), folder / "m.pth")
    return {"model": str(folder / "m.pth"), "model_class": f"{__name__}:net"}


@pytest.mark.parametrize("source", [in_memory, exported, fixed_batch, dense, scripted, weights, state_dict])
def test_an_audit_gives_the_auc_of_plain_numpy(source: Any, case: dict[str, Any], tmp_path: Path) -> None:
    given = source(tmp_path)
    result = Audit(**given, **case["files"], device="cpu").run()
    assert result.report.model.backend == "torch"
    members = case["members"]
    audited = np.concatenate([np.arange(members), members + result.scores.ids[members:]])
    expected = roc_auc_score(np.arange(len(audited)) < members, -case["loss"][audited])
    assert result.report.attacks["population"].auc.value == pytest.approx(expected, abs=1e-6)
