"""The same trained networks through every backend give the same figures: what one audits is the model, not the runtime.

PMCORE_BACKENDS names the backends under test (all, if it is not set); one that is named and missing fails.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp, softmax
from scipy.stats import entropy
from sklearn.metrics import roc_auc_score

from tests.agreement.bounds import AUC, BOUND
from tests.agreement.forms import Form, forms
from tests.agreement.measure import CORRECTNESS, SIGNALS, audit_in_float64, measure
from tests.agreement.networks import NETWORKS, digits, in_float64, trained

CASES = [(network, form) for network in NETWORKS for form in forms() if form.fits(network)]
EXACT = [pytest.param(network, form, id=f"{network}-{form}") for network, form in CASES if form.exact]
LOSSY = [pytest.param(network, form, id=f"{network}-{form}") for network, form in CASES if not form.exact]


@pytest.mark.slow
@pytest.mark.parametrize(("network", "form"), EXACT)
def test_what_computes_in_float32_agrees_with_double_precision(network: str, form: Form, tmp_path: Path) -> None:
    found = measure(form, network, tmp_path)
    assert found.logits < BOUND
    assert {name: value for name, value in found.signals.items() if value >= BOUND} == {}
    assert found.changed == 0
    assert {name: value for name, value in found.displaced.items() if value >= BOUND} == {}
    assert {name: value for name, value in found.auc.items() if abs(value) >= AUC} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("network", "form"), LOSSY)
def test_what_computes_in_less_runs_and_differs_by_a_little(network: str, form: Form, tmp_path: Path) -> None:
    found = measure(form, network, tmp_path)
    assert found.precision
    assert 0 < found.logits < 2.0
    assert abs(found.auc["loss"]) < 0.05


@pytest.mark.parametrize("network", NETWORKS)
def test_the_audit_in_double_precision_is_what_plain_numpy_computes(network: str) -> None:
    """Both sides of the comparison above are audited by pmcore: here is what neither of them has a part in."""
    logits, records = in_float64(network), digits(network)
    rows = np.arange(len(logits))
    true, others = logits[rows, records.y], logits.copy()
    others[rows, records.y] = -np.inf
    losses = logsumexp(logits, axis=1) - true
    expected = {
        "loss": losses,
        "confidence": np.exp(-losses),
        "rescaled_logit": true - logsumexp(others, axis=1),
        "hinge": true - others.max(axis=1),
        "entropy": entropy(softmax(logits, axis=1), axis=1),
        CORRECTNESS: (logits.argmax(axis=1) == records.y).astype(np.float64),
    }
    member = rows < records.n_members
    audited = member | (rows % 3 > 0)
    exact = audit_in_float64(network)
    for name, values in expected.items():
        found = np.concatenate([exact.signals[f"{role}.{name}"] for role in ("members", "nonmembers")])
        np.testing.assert_allclose(found, values[audited], rtol=0, atol=1e-12)
    (attack,) = [each for each in exact.report.attacks.values() if each.options["signal"] == "loss"]
    assert attack.auc.value == pytest.approx(roc_auc_score(member[audited], -losses[audited]), abs=1e-12)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_networks_know_their_members_better(network: str) -> None:
    records = digits(network)
    right = in_float64(network).argmax(axis=1) == records.y
    assert right[: records.n_members].mean() > 0.95
    assert 0.85 < right[records.n_members :].mean() < right[: records.n_members].mean()
    assert not trained(network).training


def test_the_page_speaks_of_every_form_of_every_network() -> None:
    text = (Path(__file__).parents[2] / "docs" / "agreement.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([^|]*?) \| [^|]+ \| [^|]+ \| [^|]+ \| [^|]+ \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE)
    written = [title for title in rows if title not in ("form", "---")]
    assert sorted(written) == sorted(form.title for _, form in CASES)
    assert f"the {len(SIGNALS)} built-in signals" in text


def test_a_backend_that_nobody_knows_cannot_be_named_for_testing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMCORE_BACKENDS", "onnx,theano")
    with pytest.raises(ValueError, match="theano"):
        forms()


def test_only_the_backends_that_are_named_are_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PMCORE_BACKENDS", "onnx, torch")
    assert {form.backend for form in forms()} == {"onnx", "torch"}
