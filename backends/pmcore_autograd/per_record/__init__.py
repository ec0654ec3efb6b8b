"""Gradients of single records in torch: one engine for native modules and for exported graphs."""

from pmcore_autograd.per_record.engine import PerRecord
from pmcore_autograd.per_record.parts import Cotangent

__all__ = ["Cotangent", "PerRecord"]
