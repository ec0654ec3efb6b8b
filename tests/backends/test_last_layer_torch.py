"""The gradient of the last layer in closed form, read from PyTorch's own forms of a model, against its autograd."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pmcore.errors import ModelError
from pmcore.interfaces import Want
from pmcore_torch import TorchModel
from pmcore_torch.options import TorchOptions
from tests.backends import torch_builders as builders
from tests.backends.last_layer_cases import (
    CLASSES,
    CLOSE,
    FEATURES,
    LABELS,
    NETWORKS,
    RECORDS,
    REFUSED,
    Function,
    asked,
    autograd_norms,
    closed_norms,
    has_bias,
    make,
    records_of,
    refusal,
    worst,
)

LAST = Want(predictions=True, head_input=True)
FORMS = ["module", "exported", "traced"]


def opened(network: nn.Module, form: str, path: Path) -> TorchModel:
    """Return a network in one of the forms that torch knows."""
    example = torch.from_numpy(records_of(network)[:2])
    if form == "module":
        return TorchModel.wrap(network, TorchOptions())
    if form == "exported":
        return builders.load(builders.export(network, path / "m.pt2", example))
    torch.jit.trace(network, example).save(str(path / "m.pt"))  # type: ignore[no-untyped-call]
    return builders.load(path / "m.pt")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_norms_of_autograd(tmp_path: Path, name: str, form: str) -> None:
    network = make(name)
    model = opened(network, form, tmp_path)
    records = records_of(network)
    head = asked(model, records, LABELS).head_input
    assert head is not None
    assert head.bias is has_bias(network)
    assert worst(closed_norms(model, records, LABELS), autograd_norms(network, records, LABELS)) < CLOSE


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_closed_form_is_refused_with_the_reason(tmp_path: Path, name: str, form: str) -> None:
    make_network, reason = REFUSED[name]
    network = make_network().eval()
    records = records_of(network)
    model = opened(network, form, tmp_path)
    found = refusal(model, {model.describe().inputs[0].name: records})
    assert re.search(reason, found), found
    with pytest.raises(ModelError, match=reason):
        model.head_input({model.describe().inputs[0].name: records})


def test_a_program_tells_before_it_is_asked_and_a_module_afterwards(tmp_path: Path) -> None:
    network = REFUSED["squashed"][0]().eval()
    assert "come from tanh" in (opened(network, "exported", tmp_path).obstacle(LAST) or "")
    assert opened(network, "module", tmp_path).obstacle(LAST) is None


def _sum(net: Any, x: torch.Tensor) -> torch.Tensor:
    logits: torch.Tensor = torch.relu(net.body(x)) @ net.head.weight.t() + net.head.bias
    return logits


def _in_place(net: Any, x: torch.Tensor) -> torch.Tensor:
    hidden = torch.relu(net.body(x))
    hidden.mul_(2.0)
    logits = torch.mm(hidden, net.head.weight.t())
    logits += net.head.bias
    return logits


def _addmm(net: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.addmm(net.head.bias, torch.relu(net.body(x)), net.head.weight.t()).float() * 1.0


def _shifted(net: Any, x: torch.Tensor) -> torch.Tensor:
    return nn.functional.linear(torch.relu(net.body(x)), net.head.weight) - 3.0 + 0.0 * 2.0


WRITTEN = {"a product and a sum": _sum, "in place": _in_place, "addmm": _addmm, "shifted by a number": _shifted}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WRITTEN)
def test_a_layer_is_found_however_it_is_written(tmp_path: Path, name: str, form: str) -> None:
    torch.manual_seed(2)
    network = Function(WRITTEN[name]).eval()
    del network.other
    if name == "shifted by a number":
        del network.head.bias
        network.head.bias = None  # type: ignore[assignment]
    model = opened(network, form, tmp_path)
    head = asked(model, RECORDS, LABELS).head_input
    assert head is not None
    assert head.bias is (name != "shifted by a number")
    assert worst(closed_norms(model, RECORDS, LABELS), autograd_norms(network, RECORDS, LABELS)) < CLOSE


class Normalised(nn.Module):
    """A head whose weight is computed from its parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.utils.parametrizations.weight_norm(nn.Linear(FEATURES, CLASSES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(x)
        return logits


class Fixed(nn.Module):
    """A head whose weight is a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(FEATURES, FEATURES)
        self.register_buffer("weight", torch.randn(CLASSES, FEATURES))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(self.body(x), self.weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["module", "exported"])
@pytest.mark.parametrize("make_network", [Normalised, Fixed])
def test_a_weight_that_is_no_parameter_is_refused(tmp_path: Path, make_network: type[nn.Module], form: str) -> None:
    model = opened(make_network().eval(), form, tmp_path)
    assert "is no parameter but computed, quantised or fixed" in refusal(model, {"x": RECORDS})


def test_a_module_is_left_as_it_was() -> None:
    network = make("softmax").train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    model = TorchModel.wrap(network, TorchOptions())
    asked(model, RECORDS, LABELS)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


def test_a_module_that_takes_another_way_for_other_records_is_refused_then() -> None:
    def forked(net: Any, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = net.head(x) if float(x.sum()) > 0 else net.other(x)
        return logits

    model = TorchModel.wrap(Function(forked).eval(), TorchOptions())
    positive = np.abs(RECORDS)
    model.prepare({"x": positive})
    assert len(model.head_input({"x": positive}).values) == len(positive)
    with pytest.raises(ModelError, match="was not computed once, as it was before, for these records"):
        model.head_input({"x": -positive})


def test_everything_but_gradients_comes_from_one_pass() -> None:
    network = make("one token")
    model = builders.wrapped(network, RECORDS)
    calls: list[int] = []
    hook = network.register_forward_hook(lambda *_: calls.append(1))
    outputs = model.ask({"x": RECORDS}, LABELS, Want(True, frozenset({"body"}), head_input=True))
    hook.remove()
    assert len(calls) == 1
    assert set(outputs.activations) == {"body"}
    assert outputs.head_input is not None
    np.testing.assert_allclose(outputs.head_input.values, np.tanh(outputs.activations["body"]), atol=1e-6)
    np.testing.assert_array_equal(outputs.head_input.values, model.head_input({"x": RECORDS}).values)
