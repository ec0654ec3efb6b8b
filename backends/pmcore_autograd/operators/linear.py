"""Products of matrices and of tensors by named dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, optional, real, refusal

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")


def gemm(node: Node, values: Values) -> torch.Tensor:
    """Return alpha A B + beta C, each matrix transposed if asked for."""
    left, right, added = given(node, values, 0), given(node, values, 1), optional(values, 2)
    alpha, beta = real(node, "alpha", 1.0), real(node, "beta", 1.0)
    turned = flag(node, "transB")
    left = left.t() if flag(node, "transA") else left
    if turned and alpha == beta == 1 and added is not None and added.dim() == 1 and added.numel() == right.shape[0]:
        return torch.nn.functional.linear(left, right, added)
    product = torch.matmul(left, right.t() if turned else right)
    product = product if alpha == 1 else (product * alpha).to(product.dtype)
    if added is None or beta == 0:
        return product
    return product + (added if beta == 1 else (added * beta).to(added.dtype))


def matmul(node: Node, values: Values) -> torch.Tensor:
    """Return products of the matrices in the last two dimensions."""
    return torch.matmul(given(node, values, 0), given(node, values, 1))


def einsum(node: Node, values: Values) -> torch.Tensor:
    """Return a sum of products over named dimensions."""
    equation = node.attributes.get("equation")
    if not isinstance(equation, str):
        raise refusal(node, "it has no equation")
    return torch.einsum(equation.replace(" ", ""), *(given(node, values, place) for place in range(len(values))))


def determinant(node: Node, values: Values) -> torch.Tensor:
    """Return determinants of the matrices in the last two dimensions."""
    found: torch.Tensor = torch.linalg.det(given(node, values, 0))
    return found


TABLE = {
    "Gemm": Known(gemm, "alpha beta transA transB broadcast"),
    "MatMul": Known(matmul),
    "Einsum": Known(einsum, "equation"),
    "Det": Known(determinant),
}
