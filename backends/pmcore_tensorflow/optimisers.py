"""The optimiser of a training: one that is named, or the one that the target was compiled with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pmcore.errors import InputError, UntrustedError
from pmcore.quoting import printable
from pmcore_tensorflow.architecture import KerasArchitecture
from pmcore_tensorflow.archive import check_config
from pmcore_tensorflow.device import explained
from pmcore_tensorflow.starting import unnoticed

_NAMED: Mapping[str, str] = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
_HOME = "keras.optimizers"
_SCALING = "LossScaleOptimizer"
_REMEDY = "name one, such as optimiser=adam"


def make_optimiser(architecture: KerasArchitecture, named: str | None, told: Mapping[str, float]) -> Any:
    """Return an optimiser that has not made a step.

    Parameters
    ----------
    named : "adam", "adamw" or "sgd", or None for the target's own, or adam if its file tells of none
    told : settings that it is to have

    Raises
    ------
    InputError
        The target's own is no built-in part of Keras, or does not know these settings.
    """
    keras = architecture.network.keras
    if named is not None or architecture.compiled is None:
        kind, settings = _NAMED[named or "adam"], dict(told)
    else:
        found = _checked(architecture)
        kind, settings = found["class_name"], {**found["config"], **told}
    with explained(architecture.path, f"Keras does not make its optimiser ({kind})", _REMEDY), unnoticed():
        description = {"module": _HOME, "class_name": kind, "config": settings, "registered_name": None}
        made = keras.optimizers.deserialize(description)
        return keras.optimizers.LossScaleOptimizer(made) if _is_half(architecture) else made


def _checked(architecture: KerasArchitecture) -> Mapping[str, Any]:
    """Return the description of the target's own optimiser, once it is known to name nothing but parts of Keras."""
    found = architecture.compiled
    if isinstance(found, dict) and found.get("class_name") == _SCALING and isinstance(found.get("config"), dict):
        found = found["config"].get("inner_optimizer")
    optimizers = architecture.network.keras.optimizers
    name = found.get("class_name") if isinstance(found, dict) else found
    known = getattr(optimizers, name, None) if isinstance(name, str) else None
    try:
        check_config(found, architecture.path)
        built_in = isinstance(known, type) and issubclass(known, optimizers.Optimizer) and found["module"] == _HOME
    except (InputError, UntrustedError):
        built_in = False
    if not built_in or not isinstance(found["config"], dict):
        shown = printable(str(name), 60)
        raise InputError(f"{architecture.path}: its optimiser ({shown}) is no built-in part of Keras - {_REMEDY}")
    checked: Mapping[str, Any] = found
    return checked


def _is_half(architecture: KerasArchitecture) -> bool:
    """Tell whether layers compute in half precision, in which small gradients vanish unless the loss is scaled."""
    layers = architecture.network.model._flatten_layers()
    return any(layer.compute_dtype == "float16" for layer in layers)
