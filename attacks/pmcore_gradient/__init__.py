"""White-box attacks on what gradients tell: a threshold on their norm, and a model that learns to read them."""

from __future__ import annotations

from pmcore_gradient.gradient import GradientAttack
from pmcore_gradient.nasr import NasrAttack

__all__ = ["GradientAttack", "NasrAttack"]
