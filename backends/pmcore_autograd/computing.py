"""One node computed: by its operator, in the working precision, and whatever goes wrong told by the node's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pmcore.errors import AuditError, ModelError, OutOfMemory
from pmcore.runtime_failures import failure, first_line
from pmcore_autograd.allocation import check_size
from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Operator, find
from pmcore_autograd.unsupported import Unsupported

if TYPE_CHECKING:
    import torch

_CASTS = frozenset({"Cast", "CastLike", "Convert", "ConvertLike"})


def operator_of(node: Node) -> Operator:
    """Return what computes a node; a cast to another width of real numbers leaves the working precision as it is.

    Raises
    ------
    Unsupported
        The operator is not known.
    """
    operator = find(node)
    if operator is None:
        raise Unsupported(f"{node.title}: this operator is not known here - no gradients of this file")
    return _kept_wide(operator) if node.kind in _CASTS else operator


def compute(
    node: Node, operator: Operator, values: Sequence[torch.Tensor | None], working: torch.dtype, limit: int
) -> tuple[torch.Tensor, ...]:
    """Return what a node makes, real numbers in the working precision.

    Raises
    ------
    AuditError
        Its inputs do not fit it, it would allocate more than `limit` bytes, or memory ran out.
    """
    check_size(node, values, limit)
    try:
        made = operator(node, values)
    except AuditError:
        raise
    except Exception as error:  # torch raises its own kinds, and Python's, on what does not fit
        raise told(error, node) from error
    results = made if isinstance(made, tuple) else (made,)
    if len(results) < len(node.outputs):
        missing = next((name for name in node.outputs[len(results) :] if name), None)
        if missing is not None:
            raise Unsupported(f"{node.title}: its output {missing!r} is not computed here - no gradients of this file")
    return tuple(
        value.to(working) if value.dtype is not working and value.is_floating_point() else value for value in results
    )


def told(error: Exception, node: Node) -> ModelError:
    """Return what torch raised at a node as one line."""
    from pathlib import Path

    line = first_line(error)
    found = failure(error, "torch", line, Path())
    if isinstance(found, OutOfMemory):
        return OutOfMemory(f"{node.title}: torch ran out of memory ({line}); use a smaller batch")
    return ModelError(f"{node.title}: {line}; see that the records are what the model was trained on")


def _kept_wide(operator: Operator) -> Operator:
    def cast(node: Node, values: Sequence[torch.Tensor | None]) -> torch.Tensor | tuple[torch.Tensor, ...]:
        made = operator(node, values)
        value = values[0]
        if value is not None and not isinstance(made, tuple) and made.is_floating_point():
            return value if value.is_floating_point() else value.double()
        return made

    return cast
