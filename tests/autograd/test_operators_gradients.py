"""Gradients of operators: against differences in float64, and record by record under torch.func."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.func import grad, vmap

from pmcore_autograd.operators import find
from tests.autograd.example_table import examples
from tests.autograd.examples import Example

SMOOTH = [example for example in examples() if example.smooth]
SHARES = (1.0, 0.9, 0.8)  # three records: the example's first input, scaled


@pytest.mark.parametrize("example", SMOOTH, ids=lambda example: example.title)
def test_a_gradient_is_what_differences_show(example: Example) -> None:
    varied = [place for place, value in enumerate(example.inputs) if _varies(example, place, value)]
    leaves = [_tensor(example, place).requires_grad_() for place in varied]
    assert torch.autograd.gradcheck(lambda *given: _compute(example, varied, given), leaves, fast_mode=True)


@pytest.mark.parametrize("example", SMOOTH, ids=lambda example: example.title)
def test_gradients_of_records_under_vmap_are_those_of_a_loop(example: Example) -> None:
    varied = [place for place, value in enumerate(example.inputs) if _varies(example, place, value)]
    records = torch.stack([_tensor(example, 0) * share for share in SHARES])
    weights = [_tensor(example, place) for place in varied[1:]]
    pattern = _pattern(_compute(example, varied, [records[0], *weights]))

    def loss(weights: Sequence[torch.Tensor], record: torch.Tensor) -> torch.Tensor:
        return (_compute(example, varied, [record, *weights]) * pattern).sum()

    both: Callable[..., Any] = grad(loss, argnums=(0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a slow fall-back of vmap warns
        at_once = vmap(both, (None, 0))(weights, records)
    one_by_one = [both(weights, record) for record in records]
    torch.testing.assert_close(at_once[1], torch.stack([gradient[1] for gradient in one_by_one]))
    for place in range(len(weights)):
        torch.testing.assert_close(at_once[0][place], torch.stack([gradient[0][place] for gradient in one_by_one]))


def _varies(example: Example, place: int, value: Any) -> bool:
    return value is not None and value.dtype.kind == "f" and place not in example.fixed


def _tensor(example: Example, place: int) -> torch.Tensor:
    value = example.inputs[place]
    assert value is not None
    tensor = torch.from_numpy(np.array(value))
    return tensor.double() if tensor.is_floating_point() else tensor


def _compute(example: Example, varied: Sequence[int], given: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the first output with some inputs replaced."""
    values = [None if value is None else _tensor(example, place) for place, value in enumerate(example.inputs)]
    for place, value in zip(varied, given, strict=True):
        values[place] = value
    operator = find(example.node)
    assert operator is not None
    result = operator(example.node, values)
    return result[0] if isinstance(result, tuple) else result


def _pattern(result: torch.Tensor) -> torch.Tensor:
    """Return weights that tell the elements of a result apart."""
    return torch.linspace(0.5, 1.5, result.numel(), dtype=result.dtype).reshape(result.shape)
