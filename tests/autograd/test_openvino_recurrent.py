"""OpenVINO's recurrent operators compute what the runtime computes: every direction, short sequences, single steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from pmcore.interfaces import Array
from tests.autograd.openvino_running import Case, check_backward, check_forward, constant, floats, ops

_UNITS, _FEATURES, _STEPS, _BATCH = 3, 4, 5, 2
_GATES = {"lstm": 4, "gru": 3, "rnn": 1}
_STATES = {"lstm": 2, "gru": 1, "rnn": 1}
_FULL = (_STEPS,) * _BATCH
_WAYS = {"forward": 1, "reverse": 1, "bidirectional": 2}


def weights(kind: str, ways: Sequence[int] = (), more: int = 0) -> tuple[Array, Array, Array]:
    """Return kernels and biases, small enough for no gate to be shut."""
    rows = _GATES[kind] * _UNITS
    shapes = ((*ways, rows, _FEATURES), (*ways, rows, _UNITS), (*ways, rows + more * _UNITS))
    first, second, third = (floats(*shape, low=-0.7, high=0.7) for shape in shapes)
    return first, second, third


def sequence(kind: str, way: str, lengths: Sequence[int] = _FULL, more: int = 0, **given: Any) -> Case:
    """Return a sequence of one kind whose records, states and weights are all fed."""
    maker: Callable[..., Any] = getattr(ops, f"{kind}_sequence")
    states = [floats(_BATCH, _WAYS[way], _UNITS) for _ in range(_STATES[kind])]

    def build(x: Any, *others: Any) -> Any:
        held, parts = others[: len(states)], others[len(states) :]
        return maker(x, *held, constant(lengths, np.int32), *parts, _UNITS, way, **given)

    arrays = (floats(_BATCH, _STEPS, _FEATURES), *states, *weights(kind, (_WAYS[way],), more))
    return Case(f"{kind} {way} {tuple(lengths)} {given}", build, arrays)


def cell(kind: str, more: int = 0, **given: Any) -> Case:
    """Return one step of a kind whose records, states and weights are all fed."""
    maker: Callable[..., Any] = getattr(ops, f"{kind}_cell")
    if kind == "rnn":
        given = {"activations": ["tanh"], "activations_alpha": [], "activations_beta": [], **given}
    states = [floats(_BATCH, _UNITS) for _ in range(_STATES[kind])]
    arrays = (floats(_BATCH, _FEATURES), *states, *weights(kind, (), more))
    return Case(f"{kind} cell {given}", lambda *parts: maker(*parts, _UNITS, **given), arrays)


CASES = [
    *(sequence(kind, way) for kind in _GATES for way in _WAYS),
    *(sequence(kind, way, (2, 5)) for kind in _GATES for way in _WAYS),
    *(sequence("gru", way, more=1, linear_before_reset=True) for way in _WAYS),
    sequence("lstm", "forward", activations=["tanh", "sigmoid", "relu"]),
    sequence("lstm", "forward", clip=0.4),
    cell("lstm"),
    cell("gru"),
    cell("gru", 1, linear_before_reset=True),
    cell("rnn"),
    cell("rnn", activations=["relu"]),
]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_an_operator_answers_as_the_runtime_does(case: Case) -> None:
    check_forward(case)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_gradients_are_those_of_differences(case: Case) -> None:
    check_backward(case)
