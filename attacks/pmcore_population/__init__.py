"""Attacks that compare a record with records that are known not to be members."""

from __future__ import annotations

from pmcore_population.attack import PopulationAttack
from pmcore_population.quantile import QuantileAttack

__all__ = ["PopulationAttack", "QuantileAttack"]
