"""Reference models trained with torch: of an exported graph, and what trainers of any torch network share."""

from __future__ import annotations

from pmcore_autograd.training.trainer import ExportTrainer

__all__ = ["ExportTrainer"]
