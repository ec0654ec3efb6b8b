"""Models that compute in half precision are read before their last activation as any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pmcore.heads import Ending, Head
from pmcore.interfaces import Scale
from pmcore.reading import settle
from tests.backends.builders import FEATURES, linear, node, ready, write

HEAD = Head("p", "z", Ending.SOFTMAX)
LOGITS = np.random.default_rng(3).normal(size=(32, 10)).astype(np.float32) * 3


def test_a_softmax_in_half_precision_is_stepped_behind_though_its_answer_is_float32(tmp_path: Path) -> None:
    nodes, weights = linear("wide")
    ending = [
        node("Cast", ["wide"], ["z"], to=10),
        node("Softmax", ["z"], ["half"], axis=1),
        node("Cast", ["half"], ["p"], to=1),
    ]
    records = np.random.default_rng(0).normal(size=(32, FEATURES)).astype(np.float32)
    model = ready(write(tmp_path / "m.onnx", [*nodes, *ending], weights, {"p": ["n", 4]}), records)
    said = model.describe()
    assert (said.output, said.scale, said.resolution_limited) == ("z", Scale.LOGITS, False)


@pytest.mark.parametrize(("coarse", "tensor"), [(True, "z"), (False, "p")])
def test_coarse_answers_may_differ_by_their_own_rounding_and_exact_ones_may_not(coarse: bool, tensor: str) -> None:
    rounded = _in_bfloat16(Ending.SOFTMAX.apply(LOGITS))
    reading = settle(HEAD, LOGITS, rounded, None, Path("m"), coarse=coarse)
    assert reading.tensor == tensor


def test_probabilities_in_bfloat16_need_not_sum_to_one_exactly() -> None:
    sums = (rounded := _in_bfloat16(Ending.SOFTMAX.apply(LOGITS))).sum(axis=1)
    assert np.abs(sums - 1).max() > 1e-3
    assert settle(Head("p"), None, rounded, None, Path("m"), coarse=True).scale is Scale.PROBABILITIES
    assert settle(Head("p"), None, rounded, None, Path("m")).scale is Scale.LOGITS


def _in_bfloat16(
    numbers: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Return float32 numbers whose mantissas have 8 bits, rounded to the nearest."""
    bits = numbers.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(0x8000)) & np.uint32(0xFFFF0000)).view(np.float32)
