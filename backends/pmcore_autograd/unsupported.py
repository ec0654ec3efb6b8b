"""What a differentiable graph refuses: an operator, an attribute or a value that it cannot reproduce."""

from __future__ import annotations

from pmcore.errors import ModelError


class Unsupported(ModelError):
    """The file computes in a way that is not known here; a signal that needs no gradients still works."""
