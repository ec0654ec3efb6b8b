"""Checks of a model's life: loaded with options, closed, and nothing else in the process or on the disk changed."""

from __future__ import annotations

import random

import numpy as np

from pmcore.errors import AuditError, InputError
from pmcore.testing.backend_case import BackendCase, suffix
from pmcore.testing.damage import contents
from pmcore.testing.refusals import require, require_refusal


def check_close(case: BackendCase) -> None:
    """Allow a model to be closed twice, and refuse questions after that in one line."""
    model = case.prepared()
    inputs = case.records(model)
    model.close()
    model.close()
    require_refusal(lambda: model.predict(inputs), "predict after close", AuditError)


def check_random_state(case: BackendCase) -> None:
    """Leave the global random states of Python and numpy as they were."""
    kept, numpy_kept = random.getstate(), np.random.get_state()
    try:
        random.seed()  # a state in which nobody who seeds can find it
        np.random.seed()
        before, numpy_before = random.getstate(), _numpy_state()
        model = case.prepared()
        model.predict(case.records(model))
        touched = [
            name
            for name, same in (
                ("random", random.getstate() == before),
                ("numpy.random", _numpy_state() == numpy_before),
            )
            if not same
        ]
    finally:
        random.setstate(kept)
        np.random.set_state(numpy_kept)
    require(not touched, f"the global state of {' and '.join(touched)} was touched; use a generator of your own")


def _numpy_state() -> tuple[object, ...]:
    name, keys, *rest = np.random.get_state()
    return (name, np.asarray(keys).tobytes(), *rest)


def check_source_unchanged(case: BackendCase) -> None:
    """Leave the model's file as it is, and write nothing beside it."""
    place = case.source.parent
    before = contents(place)
    model = case.prepared()
    model.predict(case.records(model))
    model.close()
    after = contents(place)
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    require(not changed, f"loading and asking changed {', '.join(changed)}; write nothing beside a model")


def check_missing_file(case: BackendCase) -> None:
    """Refuse a file that is not there with an InputError that names it."""
    path = case.folder / f"missing{suffix(case.backend)}"
    require_refusal(lambda: case.load(path), "a file that is not there", InputError, naming=path.name)


def check_unknown_device(case: BackendCase) -> None:
    """Refuse a device that is not known with an InputError that names it."""
    name = "no-such-device"
    require_refusal(lambda: case.load(device=name), f"device {name!r}", InputError, naming=name)


def check_unknown_output(case: BackendCase) -> None:
    """Refuse an output that the model does not have with an InputError that names it."""
    name = "no-such-output"
    require_refusal(lambda: case.load(output=name), f"output {name!r}", InputError, naming=name)
