"""The hyper-parameters of the attack models: which model has which, their defaults and their ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np

from pmcore.errors import InputError

Encoder = Literal["logistic", "hist_gradient_boosting", "random_forest", "mlp", "paper"]

DEFAULTS: Mapping[Encoder, Mapping[str, float]] = {
    "logistic": {"weight_decay": 1.0},
    "hist_gradient_boosting": {"trees": 60, "learning_rate": 0.05, "weight_decay": 1.0},
    "random_forest": {"trees": 200},
    "mlp": {"epochs": 50, "learning_rate": 1e-3, "weight_decay": 10.0, "batch_size": 64},
    "paper": {"epochs": 100, "learning_rate": 1e-4, "weight_decay": 0.0, "dropout": 0.2, "batch_size": 64},
}


def chosen_hyper_parameters(encoder: Encoder, given: Mapping[str, float | None]) -> dict[str, float]:
    """Return all hyper-parameters of an encoder: those given, and defaults for those that are None.

    Raises
    ------
    InputError
        The encoder does not have one, or its value makes no sense.
    """
    chosen = dict(DEFAULTS[encoder])
    for name, value in given.items():
        if value is None:
            continue
        if name not in chosen:
            raise InputError(f"nasr: {name}: encoder {encoder!r} does not have it; it has {', '.join(chosen)}")
        if name in ("trees", "epochs", "batch_size") and value < 1:
            raise InputError(f"nasr: {name}: {value} - give 1 or more")
        if name == "learning_rate" and not 0 < value < np.inf:
            raise InputError(f"nasr: learning_rate: {value:g} - give a number above 0")
        if name == "dropout" and not 0 <= value < 1:
            raise InputError(f"nasr: dropout: {value:g} - give a share from 0 to below 1")
        least_penalty = 0.0 if encoder != "logistic" else np.finfo(np.float64).tiny
        if name == "weight_decay" and not least_penalty <= value < np.inf:
            raise InputError(f"nasr: weight_decay: {value:g} - give a number above 0")
        chosen[name] = value
    return chosen
