"""Attacks that set the target against reference models: how would a model answer that has not seen this record?"""

from __future__ import annotations

from pmcore_reference.calibrated import CalibratedAttack
from pmcore_reference.lira import LiraAttack
from pmcore_reference.reference import ReferenceAttack
from pmcore_reference.rmia import RmiaAttack
from pmcore_reference.signals import LogConfidence, TaylorConfidence

__all__ = ["CalibratedAttack", "LiraAttack", "LogConfidence", "ReferenceAttack", "RmiaAttack", "TaylorConfidence"]
