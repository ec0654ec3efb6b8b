"""Quantised operators: the gradient that rounding lets through, and where a bound stops it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.func import grad, vmap

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import find


def compute(kind: str, *values: torch.Tensor | None, version: int = 21, **attributes: Any) -> torch.Tensor:
    node = Node(kind, ("i",) * len(values), ("o",), attributes, "", "onnx", version)
    operator = find(node)
    assert operator is not None
    result = operator(node, values)
    return result[0] if isinstance(result, tuple) else result


def there_and_back(value: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, **attributes: Any) -> torch.Tensor:
    levels = compute("QuantizeLinear", value, scale, zero, **attributes)
    return compute("DequantizeLinear", levels, scale, zero, **attributes)


def test_rounding_lets_the_gradient_through_and_so_do_the_ends_of_what_was_measured() -> None:
    value = torch.tensor([-3.0, -0.27, 0.0, 0.26, 3.0], dtype=torch.float64, requires_grad=True)
    zero = torch.tensor(128, dtype=torch.uint8)
    result = there_and_back(value, torch.tensor(0.01, dtype=torch.float64), zero)
    torch.testing.assert_close(result, torch.tensor([-1.28, -0.27, 0.0, 0.26, 1.27], dtype=torch.float64))
    (gradient,) = torch.autograd.grad(result.sum(), value)
    assert gradient.tolist() == [1, 1, 1, 1, 1]


@pytest.mark.parametrize("zero", [torch.tensor(0, dtype=torch.uint8), torch.tensor(-128, dtype=torch.int8)])
def test_a_quantiser_that_took_the_place_of_a_rectifier_has_its_gradient(zero: torch.Tensor) -> None:
    value = torch.linspace(-2, 8, 20, dtype=torch.float64, requires_grad=True)
    result = there_and_back(value, torch.tensor(6 / 255, dtype=torch.float64), zero)
    (gradient,) = torch.autograd.grad(result.sum(), value)
    (expected,) = torch.autograd.grad(torch.nn.functional.relu6(value).sum(), value)
    assert gradient.tolist() == expected.tolist()


def test_a_dequantised_weight_has_its_scale_as_gradient() -> None:
    levels = torch.tensor([[3.0, -7.0], [100.0, 5.0]], dtype=torch.float64, requires_grad=True)
    scale = torch.tensor([0.5, 0.25], dtype=torch.float64)
    result = compute("DequantizeLinear", levels, scale, torch.tensor([1, 0], dtype=torch.int8), axis=0)
    assert result.tolist() == [[1.0, -4.0], [25.0, 1.25]]
    (gradient,) = torch.autograd.grad(result.sum(), levels)
    assert gradient.tolist() == [[0.5, 0.5], [0.25, 0.25]]


def test_quantisation_by_axis_and_by_block_scales_each_part() -> None:
    value = torch.arange(12.0, dtype=torch.float64).reshape(2, 6)
    by_axis = compute("QuantizeLinear", value, torch.tensor([1.0, 2.0]), torch.zeros(2, dtype=torch.int8), axis=0)
    assert by_axis.tolist() == [[0, 1, 2, 3, 4, 5], [3, 4, 4, 4, 5, 6]]  # halves go to even numbers
    scales = torch.tensor([[1.0, 2.0], [4.0, 8.0]])
    by_block = compute("QuantizeLinear", value, scales, torch.zeros(2, 2, dtype=torch.int8), axis=1, block_size=3)
    assert by_block.tolist() == [[0, 1, 2, 2, 2, 2], [2, 2, 2, 1, 1, 1]]


def test_a_dynamic_quantiser_spreads_the_range_of_each_record_under_vmap() -> None:
    records = torch.tensor([[-1.0, 0.5, 2.0], [0.1, 0.2, 0.4]], dtype=torch.float64)

    def there_and_back_again(record: torch.Tensor) -> torch.Tensor:
        node = Node("DynamicQuantizeLinear", ("x",), ("y", "scale", "zero"))
        operator = find(node)
        assert operator is not None
        levels, scale, zero = operator(node, [record])
        return ((levels - zero) * scale).sum()

    gradients = vmap(grad(there_and_back_again))(records)
    assert gradients.tolist() == [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]


def test_an_integer_product_of_quantised_activations_passes_gradients_to_them() -> None:
    levels = torch.tensor([[130.0, 120.0]], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor([[3, -2], [5, 7]], dtype=torch.int8)
    result = compute("MatMulInteger", levels, weight, torch.tensor(128, dtype=torch.uint8))
    assert result.tolist() == [[2 * 3 - 8 * 5, 2 * -2 - 8 * 7]]
    (gradient,) = torch.autograd.grad(result[0, 0], levels)
    assert gradient.tolist() == [[3.0, 5.0]]


@pytest.mark.parametrize(("number", "low", "high"), [(2, 0, 255), (3, -128, 127), (5, -32768, 32767), (22, -8, 7)])
def test_the_type_that_a_quantiser_names_bounds_its_levels(number: int, low: int, high: int) -> None:
    value = torch.tensor([-1e9, 1e9])
    assert compute("QuantizeLinear", value, torch.tensor(1.0), output_dtype=number).tolist() == [low, high]
