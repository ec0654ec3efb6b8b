"""Checks of how a backend takes its inputs: whole, unchanged, in any layout; and what it refuses."""

from __future__ import annotations

import numpy as np

from pmcore.errors import InputError
from pmcore.interfaces import Array
from pmcore.testing.backend_case import BackendCase, answers, distance
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.refusals import require, require_refusal


def check_inputs_unchanged(case: BackendCase) -> None:
    """Leave the arrays that are asked about as they were."""
    model = case.prepared()
    inputs = case.records(model)
    before = {name: array.tobytes() for name, array in inputs.items()}
    model.predict(inputs)
    changed = [name for name, array in inputs.items() if array.tobytes() != before[name]]
    require(not changed, f"predict changed its input {', '.join(changed)}; work on a copy")


def check_read_only_inputs(case: BackendCase) -> None:
    """Take read-only arrays, such as mapped files, like any other."""
    model = case.prepared()
    inputs = case.records(model)
    expected = answers(model, inputs)
    for array in inputs.values():
        array.flags.writeable = False
    _require_same(case, model.predict(inputs), expected, "read-only arrays")


def check_strided_inputs(case: BackendCase) -> None:
    """Take arrays that do not lie in one piece, or in Fortran order, like any other."""
    model = case.prepared()
    inputs = case.records(model)
    expected = answers(model, inputs)
    doubled = {name: np.repeat(array, 2, axis=0)[::2] for name, array in inputs.items()}
    _require_same(case, model.predict(doubled), expected, "every second row of an array")
    fortran = {name: np.asfortranarray(array) for name, array in inputs.items()}
    _require_same(case, model.predict(fortran), expected, "arrays in Fortran order")


def check_wider_inputs(case: BackendCase) -> None:
    """Cast inputs of float64 to what the model wants."""
    model = case.prepared()
    inputs = case.records(model)
    if all(array.dtype.kind != "f" or array.dtype == np.float64 for array in inputs.values()):
        raise NotApplicable("no input takes floating point narrower than float64")
    expected = answers(model, inputs)
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in inputs.items()}
    _require_same(case, model.predict(wide), expected, "inputs of float64")


def _require_same(case: BackendCase, found: Array, expected: Array, what: str) -> None:
    off = distance(np.asarray(found, dtype=np.float64), expected)
    require(off <= case.tolerance, f"{what} are answered {off:.1e} of the largest differently")


def check_no_records(case: BackendCase) -> None:
    """Answer no records with no rows, or refuse them with an InputError of one line."""
    model = case.prepared()
    nothing = {name: array[:0] for name, array in case.records(model).items()}
    try:
        found = np.asarray(model.predict(nothing))
    except InputError as refusal:
        error: Exception = refusal
    except Exception as other:  # a plugin is called: whatever else it raises is told
        raise CheckFailed(f"no records: raised {type(other).__name__} ({other}); raise InputError") from other
    else:
        require(found.shape[:1] == (0,), f"no records: answered with shape {found.shape}; return no rows")
        return
    require("\n" not in str(error), f"no records: the message has several lines; say it in one: {error}")


def check_misshapen_records(case: BackendCase) -> None:
    """Refuse records of another shape than the model's in one line."""
    model = case.prepared()
    spec = next((s for s in model.describe().inputs if s.record_shape and None not in s.record_shape), None)
    if spec is None:
        raise NotApplicable("the model takes records of any shape")
    inputs = case.records(model)
    inputs[spec.name] = np.concatenate([inputs[spec.name], inputs[spec.name]], axis=-1)
    shape = list(inputs[spec.name].shape[1:])
    require_refusal(lambda: model.predict(inputs), f"records of shape {shape}, not {list(spec.record_shape)}")


def check_missing_input(case: BackendCase) -> None:
    """Refuse a question that lacks an input with an InputError that names it."""
    model = case.prepared()
    inputs = case.records(model)
    name = list(inputs)[-1]
    del inputs[name]
    require_refusal(lambda: model.predict(inputs), f"without input {name!r}", InputError, naming=name)


def check_text_inputs(case: BackendCase) -> None:
    """Refuse text where the model wants numbers in one line."""
    model = case.prepared()
    inputs = {name: np.full(array.shape, "text") for name, array in case.records(model).items()}
    require_refusal(lambda: model.predict(inputs), "text for numbers")
