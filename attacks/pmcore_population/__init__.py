"""The population attack: a record against records that are known not to be members."""

from __future__ import annotations

from pmcore_population.attack import PopulationAttack

__all__ = ["PopulationAttack"]
