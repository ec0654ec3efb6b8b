"""How exact the numbers are: tiny losses, single precision, and what must not matter."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from pmcore.interfaces import Array, Floats, GradientRequest
from pmcore_autograd.per_record import PerRecord
from tests.autograd.record_gradients import TOTAL, Case, check, expected_reductions
from tests.autograd.test_per_record_networks import NETWORKS

SKETCH = GradientRequest((), "sketch", size=8)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def dense(dtype: torch.dtype = torch.float32) -> Case:
    module = nn.Sequential(nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 4))
    return Case(module, {"x": torch.randn(7, 10)}, dtype)


def reduced(case: Case, cotangents: Floats, requests: list[GradientRequest]) -> dict[GradientRequest, Array]:
    return case.engine().reduce(case.inputs, lambda _, some: cotangents[some], requests)


@pytest.mark.parametrize("name", NETWORKS)
def test_single_precision_is_as_exact_as_a_backward_pass(name: str) -> None:
    case = NETWORKS[name]()
    single = Case(case.module, case.inputs, torch.float32)
    single.forward = case.forward
    single.module.eval()
    check(single, relative=1e-5)


@pytest.mark.parametrize("magnitude", [1e-40, 1e-150, 1e-300, 1e30])
def test_losses_of_any_size_keep_their_digits_in_single_precision(magnitude: float) -> None:
    case = dense()
    cotangents = case.cotangents
    plain = reduced(case, cotangents, [TOTAL, SKETCH])
    scaled = reduced(case, cotangents * magnitude, [TOTAL, SKETCH])
    for request, values in plain.items():
        np.testing.assert_allclose(scaled[request] / magnitude, values, rtol=1e-6, atol=1e-7)
    assert len(np.unique(scaled[TOTAL])) == case.records


def test_a_record_without_a_loss_has_no_gradient_and_disturbs_no_other() -> None:
    case = dense()
    cotangents = case.cotangents
    cotangents[2] = 0.0
    found = reduced(case, cotangents, [TOTAL, SKETCH])
    assert found[TOTAL][2] == 0
    assert not found[SKETCH][2].any()
    expected = expected_reductions(case, cotangents, [TOTAL])[TOTAL]
    np.testing.assert_allclose(found[TOTAL], expected, rtol=1e-5)


def test_gradients_that_vanish_on_their_way_back_keep_their_digits() -> None:
    """Squares of what arrives at the first layers would underflow in single precision."""
    layers: list[nn.Module] = [nn.Conv1d(1, 3, 3, padding=1), nn.Flatten()]
    layers += [nn.Linear(12, 12) for _ in range(6)]
    module = nn.Sequential(*layers, nn.Unflatten(1, (4, 3)), nn.Linear(3, 3), nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        for part in module:
            if isinstance(part, nn.Linear):
                part.weight *= 1e-4
    single = Case(module, {"x": torch.randn(5, 1, 4)}, torch.float32)
    names = tuple(single.layers)
    requests = [GradientRequest(names), GradientRequest(names, order=1.0), GradientRequest(names, order=np.inf)]
    cotangents = single.cotangents
    found = reduced(single, cotangents, requests)
    assert found[requests[0]].min() < 1e-21
    exact = expected_reductions(in_double(single), cotangents, requests)
    for request in requests:
        np.testing.assert_allclose(found[request], exact[request], rtol=2e-5)


def test_rows_that_cancel_are_not_taken_by_their_inner_products() -> None:
    """The rows of a record nearly cancel: what Gram matrices leave of that in single precision is noise."""
    part = nn.Linear(64, 64, bias=False)
    module = nn.Sequential(part, nn.Flatten())
    rows = torch.randn(5, 4, 64)
    rows = rows.repeat_interleave(2, 1) * torch.tensor([1.0, -1.0]).repeat(4)[:, None] + 1e-4 * torch.randn(5, 8, 64)
    single = Case(module, {"x": rows}, torch.float32)
    cotangents = np.tile(single.cotangents.reshape(5, 8, 64)[:, :1], (1, 8, 1)).reshape(5, 512)
    found = reduced(single, cotangents, [TOTAL])[TOTAL]
    exact = expected_reductions(in_double(single), cotangents, [TOTAL])[TOTAL]
    assert exact.max() < 0.1
    np.testing.assert_allclose(found, exact, rtol=1e-4)


@pytest.mark.parametrize("name", ["mlp", "convolutional", "small_images", "transformer", "recurrent"])
@pytest.mark.parametrize("order", ["as_is", "reversed"])
def test_neither_parts_nor_order_nor_budget_matter(name: str, order: str) -> None:
    case = NETWORKS[name]()
    case.module.eval()
    cotangents, requests = case.cotangents, case.requests()
    whole = reduced(case, cotangents, requests)
    at = np.arange(case.records)[:: -1 if order == "reversed" else 1]
    inputs = {key: value[torch.from_numpy(at.copy())] for key, value in case.inputs.items()}
    for budget, size in ((2**28, 2), (50_000, 7), (1, 3)):
        engine = PerRecord(case.module, case.forward, case.layers, budget=budget)
        parts = []
        for start in range(0, case.records, size):
            here = slice(start, min(start + size, case.records))
            given = {key: value[here] for key, value in inputs.items()}
            parts.append(engine.reduce(given, _of(cotangents[at[here]]), requests))
        for request, values in whole.items():
            joined = np.concatenate([part[request] for part in parts])
            np.testing.assert_allclose(joined, values[at], rtol=1e-9, atol=1e-9)


def test_half_precision_is_added_up_in_single() -> None:
    case = dense(torch.bfloat16)
    cotangents = case.cotangents
    found = reduced(case, cotangents, [TOTAL])[TOTAL]
    exact = expected_reductions(in_double(case), cotangents, [TOTAL])[TOTAL]
    np.testing.assert_allclose(found, exact, rtol=0.03)


def in_double(case: Case) -> Case:
    """Take the same network, which is changed for good, and the same records in double precision."""
    return Case(case.module, case.inputs)


def _of(cotangents: Floats) -> Callable[[Array, slice], Floats]:
    return lambda _, some: cotangents[some]
