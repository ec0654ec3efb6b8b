"""Whole white-box audits of one network as a module, as ONNX and as OpenVINO IR: alike, and nothing without a leak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from pmcore import Audit
from pmcore.outputs import Array
from pmcore.schema import Figure

FORMS = ("torch", "onnx", "openvino")
ATTACKS = ("population", "gradient", "nasr")
MEMBERS = 600
WRONG = 0.3
"""Share of the digits whose label is drawn at random: what a network can only learn by heart."""
DRAWS, HOLDING = 10, 8
"""Memberships drawn after training, and 95 % intervals that must hold .5: fewer than 8 of 10 do in 1 of 87 cases."""
SAME = 1e-3

Found = dict[str, Figure]


class Digits:
    """The digits of scikit-learn, some with wrong labels, dealt out; a network that learnt a part; its exports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        x, y = load_digits(return_X_y=True)
        rng = np.random.default_rng(0)
        self.x = (x / 16).astype(np.float32)
        self.y = np.where(rng.random(len(y)) < WRONG, rng.integers(0, 10, len(y)), y).astype(np.int64)
        self.members, self.others, self.population = np.split(rng.permutation(len(y)), [MEMBERS, 2 * MEMBERS])
        network = learnt(self.x[self.members], self.y[self.members])
        onnx, xml = folder / "model.onnx", folder / "model.xml"
        batch = torch.export.Dim("batch")
        torch.onnx.export(
            network, (torch.zeros(3, 64),), onnx, dynamo=True, verbose=False, dynamic_shapes=({0: batch},)
        )
        openvino.save_model(openvino.convert_model(onnx), xml, compress_to_fp16=False)
        self.models: dict[str, Any] = {"torch": network, "onnx": str(onnx), "openvino": str(xml)}

    def audit(self, form: str, members: Array, others: Array) -> Found:
        """Return the AUC of each attack on one form of the network."""
        files = {}
        for role, rows in (("members", members), ("non_members", others), ("population", self.population)):
            files[role] = str(self.folder / f"{role}.npz")
            np.savez(files[role], x=self.x[rows], y=self.y[rows])
        report = Audit(model=self.models[form], **files, attacks=list(ATTACKS)).run().report
        return {name: report.attacks[name].auc for name in ATTACKS}


def learnt(x: Array, y: Array) -> nn.Module:
    """Return a network that was trained until it nearly knew the records by heart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))
        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
        for _ in range(60):
            for rows in torch.split(torch.randperm(len(labels)), 64):
                optimiser.zero_grad()
                nn.functional.cross_entropy(network(inputs[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
    return network.eval()


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    return Digits(tmp_path_factory.mktemp("digits"))


@pytest.fixture(scope="module")
def found(digits: Digits) -> dict[str, Found]:
    """Return what each attack finds, by form."""
    return {form: digits.audit(form, digits.members, digits.others) for form in FORMS}


@pytest.fixture(scope="module")
def without_leak(digits: Digits) -> list[Found]:
    """Return what each attack finds where members and others are mixed and dealt again, once for each draw."""
    both = np.concatenate([digits.members, digits.others])
    dealt = [np.random.default_rng(draw).permutation(both) for draw in range(DRAWS)]
    return [digits.audit("onnx", rows[:MEMBERS], rows[MEMBERS:]) for rows in dealt]


@pytest.mark.parametrize("form", FORMS)
def test_the_network_leaks_and_the_loss_finds_it(found: dict[str, Found], form: str) -> None:
    assert bounds(found[form]["population"])[0] > 0.52


@pytest.mark.parametrize("attack", ["gradient", "nasr"])
@pytest.mark.parametrize("form", FORMS)
def test_gradients_find_what_the_loss_finds_within_its_interval(
    found: dict[str, Found], form: str, attack: str
) -> None:
    low, value, high = bounds(found[form]["population"])
    assert bounds(found[form][attack])[1] >= value - (high - low) / 2


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_onnx_export_gives_what_its_module_gives(found: dict[str, Found], attack: str) -> None:
    assert found["onnx"][attack].value == pytest.approx(found["torch"][attack].value, abs=SAME)


@pytest.mark.parametrize("attack", ["population", "gradient"])
def test_openvino_gives_what_the_module_gives(found: dict[str, Found], attack: str) -> None:
    assert found["openvino"][attack].value == pytest.approx(found["torch"][attack].value, abs=SAME)


@pytest.mark.parametrize("attack", ATTACKS)
def test_membership_drawn_after_training_is_not_found(without_leak: list[Found], attack: str) -> None:
    figures = [bounds(each[attack]) for each in without_leak]
    assert sum(low <= 0.5 <= high for low, _, high in figures) >= HOLDING
    assert np.mean([value for _, value, _ in figures]) == pytest.approx(0.5, abs=0.02)


def bounds(figure: Figure) -> tuple[float, float, float]:
    """Return the lower bound, the value and the upper bound of a figure that has them."""
    assert figure.low is not None
    assert figure.value is not None
    assert figure.high is not None
    return figure.low, figure.value, figure.high
