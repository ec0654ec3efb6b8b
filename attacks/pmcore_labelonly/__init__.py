"""Label-only attacks: is the record right, does it stay right when it is disturbed, and how far must it be moved?"""

from __future__ import annotations

from pmcore_labelonly.boundary import BoundaryAttack
from pmcore_labelonly.gap import GapAttack
from pmcore_labelonly.robustness import RobustnessAttack

__all__ = ["BoundaryAttack", "GapAttack", "RobustnessAttack"]
