"""Gradients of every architecture in every form are those of torch autograd; what rounds is called a surrogate."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.whitebox.bounds import FORWARD, GRADIENT, PARAMETER
from tests.whitebox.cases import Case, cases
from tests.whitebox.exports import DYNAMO, INT8, IR, IR_FROM_ONNX, IR_INT8, LEGACY, ONE
from tests.whitebox.measure import measure, paired
from tests.whitebox.networks import ARCHITECTURES, Records, records
from tests.whitebox.references import Reference, as_shipped_by_onnx, as_shipped_by_openvino, as_trained, as_unrolled

ALL = list(cases())
EVERYWHERE = {form.title for form in (LEGACY, DYNAMO, IR)}
"""Forms in which every architecture is tested; the page measures them all in the others too."""
ELSEWHERE = {
    ONE.title: {"CNN with BatchNorm", "ViT", "BERT", "LSTM"},
    IR_FROM_ONNX.title: {"MobileNet v3", "ViT"},
    INT8.title: {"MLP", "CNN with BatchNorm", "ViT", "BERT"},
    IR_INT8.title: {"MLP", "CNN with BatchNorm", "ViT", "BERT"},
}
TESTED = [case for case in ALL if case.form in EVERYWHERE or case.network in ELSEWHERE.get(case.form, {case.network})]
RANK = 0.95
"""Of norms of an INT8 file with those of the network, for networks that rounding leaves much as they are."""


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in TESTED if case.exact], ids=str)
def test_gradients_of_an_export_are_those_of_autograd(case: Case, tmp_path: Path) -> None:
    found = measure(case.ship(tmp_path))
    assert found.parameters == found.expected
    assert not found.surrogate
    assert found.forward <= FORWARD
    assert found.gradient <= GRADIENT
    assert found.parameter <= PARAMETER
    assert found.compared * 5 >= found.tensors


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in TESTED if not case.exact], ids=str)
def test_gradients_of_an_int8_file_are_a_surrogate_that_ranks_records_alike(case: Case, tmp_path: Path) -> None:
    found = measure(case.ship(tmp_path))
    assert found.surrogate
    assert found.parameters == found.expected
    assert found.rank >= RANK
    assert 0.9 < found.ratio < 1.1


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_references_answer_as_the_network_does(name: str) -> None:
    """What tells them apart is which numbers are taken for parameters."""
    some = records(name, 4)
    logits = as_trained(name).logits(some)
    for reference in (as_shipped_by_onnx, as_unrolled, as_shipped_by_openvino):
        np.testing.assert_allclose(reference(name).logits(some), logits, rtol=1e-9, atol=1e-9)


def test_folding_takes_two_numbers_of_each_channel_away_and_adds_a_bias() -> None:
    asked = records("densenet", 1)
    kept, fewer = (reference("densenet").about(asked).sizes for reference in (as_trained, as_shipped_by_onnx))
    folded_channels = 12 + 24 * (2 + 3 + 4 + 2)
    assert sum(kept.values()) - sum(fewer.values()) == folded_channels


def test_merged_rows_of_a_parameter_do_not_count() -> None:
    net = nn.Linear(3, 2).double()
    asked = Records({"x": np.ones((1, 3), np.float32)}, np.array([0]))
    whole = Reference("whole", net).about(asked)
    part = Reference("part", net, {"bias": 2, "weight": 1}).about(asked)
    assert (dict(whole.sizes), dict(part.sizes)) == ({"weight": 6, "bias": 2}, {"weight": 3, "bias": 0})
    # The gradient by the logits of two classes is (-p, p): each row of the weight has p times the input.
    p = 1 - torch.softmax(net(torch.ones(1, 3).double()), 1)[0, 0].item()
    np.testing.assert_allclose(whole.norms["bias"], [p * np.sqrt(2)])
    np.testing.assert_allclose(part.norms["weight"], [p * np.sqrt(3)])
    assert "bias" not in part.norms


def test_records_at_the_bend_of_a_rectifier_are_passed_over() -> None:
    first, head = nn.Linear(1, 1, bias=False), nn.Linear(1, 2)
    with torch.no_grad():
        first.weight.fill_(1.0)
        head.weight.copy_(torch.tensor([[1.0], [-1.0]]))
    bent = nn.Sequential(_Shifted(), first, nn.ReLU(), head).double()
    inputs = np.array([[1.0], [0.0], [3.0], [1.5]], np.float32)
    asked = Records({"x": inputs}, np.array([0, 0, 1, 1]))
    kept = Reference("bent", bent).smooth(asked, 3)
    np.testing.assert_array_equal(kept.inputs["x"][:, 0], [0.0, 3.0, 1.5])


def test_parameters_are_paired_by_size_and_gradient() -> None:
    ours = {"a": np.array([1.0, 2.0]), "b": np.array([5.0, 1.0]), "c": np.array([7.0, 7.0])}
    theirs = {"x": np.array([5.0, 1.1]), "y": np.array([1.0, 2.1]), "z": np.array([7.0, 7.0])}
    found = paired(ours, {"a": 4, "b": 4, "c": 9}, theirs, {"x": 4, "y": 4, "z": 8})
    assert found == {"a": "y", "b": "x"}


def test_the_page_speaks_of_every_network_in_every_form() -> None:
    text = (Path(__file__).parents[2] / "docs" / "whitebox-agreement.md").read_text(encoding="utf-8")
    for form in dict.fromkeys(case.form for case in ALL):
        section = text.split(f"# {form}\n", 1)[1].split("\n#", 1)[0]
        written = re.findall(r"^\| ([^|]+?) \| \d", section, re.MULTILINE)
        assert written == [case.network for case in ALL if case.form == form]


class _Shifted(nn.Module):
    """Puts the first record's bend where it stands: 1 - 1 w is 0 for w = 1."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - self.shift
