"""OpenVINO imported without its telemetry, which would report the import over the network and write to $HOME."""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

_TELEMETRY = "openvino_telemetry"
_LOCK = threading.Lock()


def import_openvino() -> Any:
    """Return the module `openvino`; where it is imported only now, its telemetry is taken for not installed."""
    with _LOCK:
        if "openvino" in sys.modules:
            return importlib.import_module("openvino")
        before = sys.modules.get(_TELEMETRY)
        sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
        try:
            return importlib.import_module("openvino")
        finally:
            del sys.modules[_TELEMETRY]
            if before is not None:
                sys.modules[_TELEMETRY] = before
