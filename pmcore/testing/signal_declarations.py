"""What a signal declares: direction, tasks, access, what it wants of a model, its options and its docstring."""

from __future__ import annotations

import dataclasses

import numpy as np

from pmcore.interfaces import Access, Direction, Signal, Task
from pmcore.outputs import Scale, Want
from pmcore.testing import declarations
from pmcore.testing.attack_runs import pristine
from pmcore.testing.checking import CheckFailed, NotApplicable
from pmcore.testing.refusals import require, require_documented
from pmcore.testing.signal_cases import Form, first_form, forms_of, make_case, values_of


def check_traits(signal: Signal) -> None:
    """Declare direction, tasks and access in the words of pmcore."""
    direction: object = getattr(signal, "direction", None)
    require(
        isinstance(direction, Direction),
        f"`direction` is {direction!r}; give Direction.HIGHER or Direction.LOWER, NEITHER for vectors without a side",
    )
    tasks: object = signal.tasks
    fits = isinstance(tasks, frozenset) and bool(tasks) and all(isinstance(task, Task) for task in tasks)
    require(fits, f"`tasks` is {tasks!r}; give a frozenset of Task")
    access: object = signal.access
    require(isinstance(access, Access), f"`access` is {access!r}; give a member of Access")


def check_access(signal: Signal) -> None:
    """Read no more of a model than the access says."""
    want, access = signal.want, Access(signal.access) if signal.access in set(Access) else Access.GRADIENTS
    inside = want.activations or want.head_input
    least = Access.GRADIENTS if want.gradients else Access.ACTIVATIONS if inside else Access.LABEL
    require(Access.most([access, least]) is access, f"it reads {least}, and its access is {access}; declare {least}")
    form = Form(Task.MULTICLASS, Scale.LOGITS)
    if access not in (Access.LABEL, Access.SCORES) or form not in forms_of(signal):
        return
    case = make_case(signal, form, dtype=np.float64)
    logits = case.outputs.predictions
    if logits is None:
        return
    found = values_of(signal, case)
    shifted = values_of(signal, case.with_predictions(logits + 3.0))
    same = np.allclose(found, shifted, rtol=1e-9, atol=1e-9)
    require(same, f"adding 3 to all logits changes it, and its access is {access}; declare Access.LOGITS")
    if access is Access.LABEL:
        same = np.array_equal(found, values_of(signal, case.with_predictions(logits * 2.0)))
        require(same, "surer answers with the same label change it, and its access is label; declare Access.SCORES")


def check_want_is_stable(signal: Signal) -> None:
    """Want of a model what follows from the options alone and stays the same."""
    fresh = pristine(signal)
    before: object = fresh.want
    if not isinstance(before, Want):
        raise CheckFailed(f"`want` is a {type(before).__name__}; return pmcore.outputs.Want")
    case = make_case(fresh, first_form(fresh))
    values_of(fresh, case, same=True)
    require(fresh.want == before, "`want` changes when it has computed; make it depend on the options only")


def check_reads_what_it_wants(signal: Signal) -> None:
    """Read everything that is wanted: no gradient is computed in vain."""
    case = make_case(signal, first_form(signal))
    outputs = case.fresh()
    pristine(signal).compute(outputs)
    want = signal.want
    unread = [
        str(key) for key in [*sorted(want.activations), *sorted(want.gradients, key=repr)] if key not in outputs.asked
    ]
    if want.predictions and "predictions" not in outputs.touched:
        unread.append("predictions")
    if want.head_input and "head_input" not in outputs.touched:
        unread.append("the input of the last layer")
    require(not unread, f"it wants and never reads {', '.join(unread)}; want only what is read")


def check_frozen_dataclass(signal: Signal) -> None:
    """Be a frozen dataclass if there are options, and hold nothing besides."""
    if dataclasses.is_dataclass(signal):
        declarations.require_frozen(signal)
        return
    held = sorted(vars(signal))
    require(not held, f"it is no dataclass and holds {', '.join(held)}; make it a frozen dataclass with options")


def check_equality(signal: Signal) -> None:
    """Be equal to a signal with the same options, and hash like it."""
    if not dataclasses.is_dataclass(signal):
        raise NotApplicable("it has no options")
    declarations.require_equality(signal)


def check_default_options(signal: Signal) -> None:
    """Have a default for every option."""
    declarations.require_defaults(signal)


def check_options_round_trip(signal: Signal) -> None:
    """Become the same signal again from the options as the report writes them."""
    declarations.require_round_trip(signal)


def check_option_types(signal: Signal) -> None:
    """Refuse an option that is not of its type."""
    declarations.require_typed_options(signal)


def check_options_are_documented(signal: Signal) -> None:
    """Describe every option in the docstring."""
    declarations.require_documented_options(signal)


def check_docstring_opens(signal: Signal) -> None:
    """Open the docstring with a whole sentence in one line."""
    require_documented(type(signal))


def check_docstring_has_formula(signal: Signal) -> None:
    """Give the formula in the docstring."""
    declarations.require_formula(signal, block=False)


def check_docstring_has_source(signal: Signal) -> None:
    """Cite the source in the docstring."""
    declarations.require_source(signal)


def check_pickle(signal: Signal) -> None:
    """Survive the way to a worker process."""
    declarations.require_pickles(signal)
