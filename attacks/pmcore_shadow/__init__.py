"""The shadow attack, the classifier trained on known members, and the signals that they learn from."""

from __future__ import annotations

from pmcore_shadow.shadow import ShadowAttack
from pmcore_shadow.signals import PredictionVector, TopPredictions
from pmcore_shadow.trained import TrainedAttack

__all__ = ["PredictionVector", "ShadowAttack", "TopPredictions", "TrainedAttack"]
