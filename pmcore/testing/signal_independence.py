"""What a signal of a record must not depend on, and what it must leave alone."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import lru_cache
from typing import Any

import numpy as np

from pmcore.interfaces import Signal, Task
from pmcore.option_docs import resolved_options
from pmcore.options import build
from pmcore.outputs import Floats, Outputs
from pmcore.testing.apart import Job, Step, require_no_framework, watch
from pmcore.testing.attack_independence import fixed_random_numbers, random_state
from pmcore.testing.attack_runs import pristine
from pmcore.testing.checking import CheckFailed
from pmcore.testing.own_effects import require_no_effects
from pmcore.testing.refusals import require
from pmcore.testing.signal_cases import EVERYTHING, Case, first_form, forms_of, make_case, values_of

MANY_CLASSES = 37
"""Enough that sums over the classes round differently when they are added in another order."""


def check_batches(signal: Signal) -> None:
    """Give a record the same value whichever records share its batch, bit for bit."""
    for form in forms_of(signal):
        case = make_case(signal, form, n=64, classes=MANY_CLASSES)
        whole = values_of(signal, case)
        for size in (1, 2, 7, 32):
            parts = [case.take(slice(start, start + size)) for start in range(0, len(case), size)]
            batched = np.vstack([values_of(signal, part) for part in parts])
            _require_equal(whole, batched, f"{form}: in batches of {size} values differ from those of one batch")


def check_record_order(signal: Signal) -> None:
    """Give a record the same value wherever it stands, bit for bit."""
    case = make_case(signal, first_form(signal), classes=MANY_CLASSES)
    order = np.random.default_rng(7).permutation(len(case))
    found = values_of(signal, case)[order], values_of(signal, case.take(order))
    _require_equal(*found, "with the records in another order values differ")


def check_other_answers(signal: Signal) -> None:
    """Read only what is wanted: answers that other signals asked for change nothing."""
    form = first_form(signal)
    alone = make_case(signal, form, n=40)
    together = make_case(signal, form, n=40, more=EVERYTHING)
    _require_equal(
        values_of(signal, alone),
        values_of(signal, together),
        "with the answers to other signals' wishes values differ; read what `want` names",
    )


def check_determinism(signal: Signal) -> None:
    """Give the same values for the same answers, bit for bit."""
    case = make_case(signal, first_form(signal), n=90)
    with fixed_random_numbers():
        first = values_of(signal, case)
    with fixed_random_numbers():
        second = values_of(signal, case)
    _require_equal(first, second, "computed twice, values differ; a signal draws no random numbers")


def check_global_random_state(signal: Signal) -> None:
    """Leave the global random numbers alone."""
    case = make_case(signal, first_form(signal), n=60)
    with fixed_random_numbers():
        before = random_state()
        values_of(signal, case)
        changed = [name for name, state in random_state().items() if state != before[name]]
    require(not changed, f"it draws from or seeds the global {' and '.join(changed)}; a signal needs no random numbers")


def check_no_state(signal: Signal) -> None:
    """Keep nothing between two batches."""
    form = first_form(signal)
    this, other = make_case(signal, form, n=50), make_case(signal, form, n=30, leak=5.0)
    same = pristine(signal)
    first = values_of(same, this, same=True)
    between = values_of(same, other, same=True)
    again = values_of(same, this, same=True)
    _require_equal(first, again, "computed again after another batch, values differ; keep nothing between calls")
    _require_equal(values_of(signal, other), between, "computed after another batch, values differ; keep nothing")


def check_inputs_unchanged(signal: Signal) -> None:
    """Change nothing in the model's answers."""
    case = make_case(signal, first_form(signal), n=20)
    outputs = case.fresh(read_only=True)
    try:
        pristine(signal).compute(outputs)
    except ValueError as error:
        if "read-only" in str(error):
            raise CheckFailed("it writes into the model's answers; work on a copy") from error
        raise
    before = case.outputs
    same = np.array_equal(outputs.labels, before.labels) and (
        outputs.predictions is None
        or (before.predictions is not None and np.array_equal(outputs.predictions, before.predictions))
    )
    same &= all(np.array_equal(outputs.activations[name], array) for name, array in before.activations.items())
    same &= all(np.array_equal(outputs.gradients[request], array) for request, array in before.gradients.items())
    same &= before.head_input is None or (
        outputs.head_input is not None and np.array_equal(outputs.head_input.values, before.head_input.values)
    )
    require(same, "it changes the model's answers; work on a copy")


def check_shared_quantities_unchanged(signal: Signal) -> None:
    """Change nothing that all signals of a batch share, such as Outputs.log_scores."""
    case = make_case(signal, first_form(signal), n=20)
    outputs, untouched = case.fresh(), case.fresh()
    for name in _derived(case):
        getattr(outputs, name)
    pristine(signal).compute(outputs)
    changed = [name for name in _derived(case) if not np.array_equal(getattr(outputs, name), getattr(untouched, name))]
    require(not changed, f"it changes Outputs.{', Outputs.'.join(changed)}, which other signals read; work on a copy")


def _derived(case: Case) -> tuple[str, ...]:
    if case.outputs.predictions is None:
        return ()
    if case.outputs.task is Task.REGRESSION:
        return ("values",)
    shared = ("log_scores", "predicted")
    one_label = ("rescaled_logit", "best_other", "log_probabilities")
    names = shared if case.outputs.task is Task.MULTILABEL else (*shared, *one_label)
    assert all(hasattr(Outputs, name) for name in names)
    return names


def check_prints_nothing(signal: Signal) -> None:
    """Print nothing when computing: standard output belongs to the report."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        values_of(signal, make_case(signal, first_form(signal), n=20))
    require(not printed.getvalue(), f"it prints {printed.getvalue()[:60]!r} while it computes; use logging")


def check_warns_of_nothing(signal: Signal) -> None:
    """Compute ordinary answers without a warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        values_of(signal, make_case(signal, first_form(signal), n=20))
    said = " ".join(f"{caught[0].category.__name__}: {caught[0].message}".split()) if caught else ""
    require(not caught, f"it warns while it computes: {said}; mend the cause, or suppress what is harmless")


def check_other_process(signal: Signal) -> None:
    """Give the same values in a fresh process, bit for bit."""
    step = _apart(signal, "compute")
    step.completed("computing in a fresh process")
    expected = values_of(signal, _case_apart(signal))
    complaint = "in a fresh process values differ; sort what is hashed, and read nothing of the process"
    _require_equal(expected, np.array(step.value), complaint)


def check_import_effects(signal: Signal) -> None:
    """Print, write and change nothing when the module is imported."""
    require_no_effects(type(signal), _apart(signal, "import"))


def check_no_framework(signal: Signal) -> None:
    """Import no framework, neither when imported nor when computing."""
    for name in ("import", "compute"):
        require_no_framework(_apart(signal, name), f"to {name}, it")


def _apart(signal: Signal, step: str) -> Step:
    steps = _computed_apart(type(signal), json.dumps(resolved_options(signal)))
    return steps.get(step) or steps["import"]


@lru_cache(maxsize=64)
def _computed_apart(cls: type[Signal], options: str) -> Mapping[str, Step]:
    """Return what came of importing a signal in a fresh process and computing there; `options` is JSON."""
    function = "pmcore.testing.signal_independence:compute_here"
    return watch(Job(cls, [{"step": "compute", "kind": "call", "function": function, "options": options}]))


def compute_here(cls: type[Signal], step: Mapping[str, Any]) -> list[list[float]]:
    """Compute the case that another process compares with; runs in the fresh one."""
    signal = build(cls, json.loads(step["options"]), "signal")
    found: list[list[float]] = values_of(signal, _case_apart(signal)).tolist()
    return found


def _case_apart(signal: Signal) -> Case:
    return make_case(signal, first_form(signal), n=25)


def _require_equal(first: Floats, second: Floats, complaint: str) -> None:
    if first.shape != second.shape:
        raise CheckFailed(f"{complaint} in shape: {first.shape} and {second.shape}")
    differ = first != second
    differ &= ~(np.isnan(first) & np.isnan(second))
    if differ.any():
        row, column = (int(index) for index in np.argwhere(differ)[0])
        raise CheckFailed(
            f"{complaint} ({int(differ.any(axis=1).sum())} of {len(first)}; one is {first[row, column]:.17g} and "
            f"then {second[row, column]:.17g})"
        )
