"""What importing a plugin does by itself, apart from what numpy, scipy and scikit-learn do when they are imported."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pmcore.interfaces import Signal
from pmcore.testing.apart import Job, Step, require_clean_import, watch
from pmcore.testing.refusals import require

LIBRARIES = (
    "numpy.random",
    "scipy.stats",
    "scipy.optimize",
    "joblib",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.model_selection",
    "sklearn.neighbors",
    "sklearn.neural_network",
    "sklearn.pipeline",
)
"""What attacks and signals may import at the top; scikit-learn adds filters for warnings, joblib draws a number."""


def require_no_effects(cls: type[object], imported: Step) -> None:
    """Require that importing the module of a class prints, writes and changes nothing.

    Parameters
    ----------
    imported : what came of importing it in a fresh process
    """
    imported.completed("importing it in a fresh process")
    if imported.effects or imported.printed:
        imported = _after_libraries(cls.__module__)
    require_clean_import(imported)
    require(not imported.printed, f"importing its module prints {imported.printed} bytes; use logging when it runs")


@lru_cache(maxsize=64)
def _after_libraries(module: str) -> Step:
    """Return what came of importing a module in a process that has the libraries already."""
    steps = [
        {"step": name, "kind": "call", "function": f"{__name__}:import_modules", "modules": modules}
        for name, modules in (("libraries", LIBRARIES), ("plugin", (module,)))
    ]
    return watch(Job(Signal, steps))["plugin"]


def import_modules(_: type[object], step: Mapping[str, Any]) -> None:
    """Import modules by name; runs in the other process."""
    for module in step["modules"]:
        importlib.import_module(module)
