"""The mark of tests that need CUDA: skipped where there is none, run (and failed) where PMCORE_DEVICES names it."""

from __future__ import annotations

import os

import pytest

NAMED = "cuda" in os.environ.get("PMCORE_DEVICES", "").split(",")

CUDA = NAMED or os.path.exists("/dev/nvidiactl")

NEEDS_CUDA = [pytest.mark.gpu, pytest.mark.skipif(not CUDA, reason="no CUDA device")]
