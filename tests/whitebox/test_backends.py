"""The gradient norm of one network is the same in every form that gives gradients, in an audit through the front door.

PMCORE_BACKENDS names the backends under test (all, if it is not set); one that is named and missing fails.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from pmcore import Audit
from pmcore.interfaces import Floats
from tests.agreement.forms import DENSE_ONLY, Form, forms
from tests.agreement.networks import NETWORKS, digits, trained
from tests.whitebox.bounds import GRADIENT
from tests.whitebox.networks import Records
from tests.whitebox.references import Reference, folded

ROLES = {"members": slice(0, 40), "non_members": slice(600, 640), "population": slice(700, 740)}
SIGNALS = {"members": "members", "non_members": "nonmembers", "population": "population"}
CASES = [
    pytest.param(network, form, id=f"{network}-{form}")
    for network in NETWORKS
    for form in forms()
    if form.exact and form.backend not in DENSE_ONLY
]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "form"), CASES)
def test_every_form_gives_the_gradient_norms_of_autograd(network: str, form: Form, tmp_path: Path) -> None:
    for role, rows in ROLES.items():
        records = digits(network)
        np.savez(tmp_path / f"{role}.npz", x=records.x[rows], y=records.y[rows])
    files = {role: str(tmp_path / f"{role}.npz") for role in ROLES}
    attacks = ["population:signal=gradient_norm"]
    audit = Audit(model=form.make(network, tmp_path), **files, **form.options(network), attacks=attacks)
    found = audit.run().signals
    for role, signal in SIGNALS.items():
        expected = _norms(network, form.title, role)
        np.testing.assert_allclose(found[f"{signal}.gradient_norm"], expected, rtol=GRADIENT)


@cache
def _norms(network: str, form: str, role: str) -> Floats:
    records = digits(network)
    asked = Records({"x": records.x[ROLES[role]]}, records.y[ROLES[role]])
    norms = _reference(network, form).about(asked).norms
    total: Floats = np.sqrt(np.sum(np.square(list(norms.values())), axis=0))
    return total


def _reference(network: str, form: str) -> Reference:
    """Return the network as a form holds it.

    Exporters fold BatchNorms. The twin in Keras adds the places of the transformer to the bias of its embedding, and so
    does OpenVINO's converter, which sums constants that are added one after the other.
    """
    net, backend = copy.deepcopy(trained(network)).double(), form.partition(":")[0]
    if network == "cnn" and backend in ("onnx", "openvino"):
        return Reference("BatchNorm folded", folded(net))
    if network == "transformer" and (backend == "tensorflow" or form == "openvino: IR"):
        return Reference("places hold the bias", net, {"embed.bias": net.get_parameter("embed.bias").numel()})
    return Reference("as trained", net)


def test_folding_batchnorm_changes_gradient_norms() -> None:
    """What the references above tell apart is far above the bound: an error of one sort cannot pass for the other."""
    kept, fused = (_norms("cnn", form, "members") for form in ("torch: .pt2", "onnx: dynamo export"))
    assert np.median(np.abs(kept / fused - 1)) > 100 * GRADIENT
    assert isinstance(_reference("cnn", "onnx: dynamo export").net, torch.fx.GraphModule)
