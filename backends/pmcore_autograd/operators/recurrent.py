"""Recurrent layers: RNN, GRU and LSTM, step by step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.reading import flag, given, optional, real, reals, refusal, whole, word

if TYPE_CHECKING:
    import torch
    from torch.nn import functional
else:
    torch, functional = Lazily("torch"), Lazily("torch.nn.functional")

Function: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"
State: TypeAlias = "tuple[torch.Tensor, ...]"
Step: TypeAlias = "Callable[[torch.Tensor, State], State]"


@dataclass(frozen=True)
class Direction:
    """What one direction of a layer computes with; h is the hidden size, g the number of gates.

    Parameters
    ----------
    recurrence : shape (g h, h)
    bias : of the recurrence, shape (g h,), or None
    functions : activation functions of the gates
    peepholes : weights by which the gates of an LSTM see its cell, shape (3 h,), or None
    """

    recurrence: torch.Tensor
    bias: torch.Tensor | None
    functions: tuple[Function, ...]
    peepholes: torch.Tensor | None


@dataclass(frozen=True)
class Layer:
    """A kind of recurrent layer.

    Parameters
    ----------
    gates : how many
    states : how many tensors it carries from step to step
    functions : names of the default activation functions of one direction
    cell : makes the step of one direction, from what the input gives to the gates, shape (n, g h), and the states
    """

    gates: int
    states: int
    functions: tuple[str, ...]
    cell: Callable[[Node, Direction], Step]


def layer(kind: Layer) -> Operator:
    """Return the operator of a kind of layer: its hidden states, shape (t, directions, n, h), and the last states."""

    def operator(node: Node, values: Values) -> tuple[torch.Tensor, ...]:
        value, weight, recurrence = (given(node, values, place) for place in range(3))
        batch_first = flag(node, "layout")
        value = value.transpose(0, 1) if batch_first else value
        hidden = whole(node, "hidden_size", recurrence.shape[-1])
        directions = word(node, "direction", "forward reverse bidirectional")
        count = 2 if directions == "bidirectional" else 1
        if recurrence.shape != (count, kind.gates * hidden, hidden) or weight.shape[:2] != recurrence.shape[:2]:
            raise refusal(node, f"its weights do not fit {count} direction(s) of hidden size {hidden}")
        states = [_start(node, values, place, value, (count, hidden), batch_first) for place in (5, 6)[: kind.states]]
        found = []
        for place in range(count):
            direction = _direction(node, values, kind, place)
            inputs = functional.linear(value, weight[place], _bias(values, kind, place, 0))
            backwards = directions == "reverse" or place == 1
            start = tuple(state[place] for state in states)
            found.append(_run(kind.cell(node, direction), inputs, start, optional(values, 4), backwards))
        history = torch.stack([made[0] for made in found], 1)
        last = [torch.stack([made[1][place] for made in found]) for place in range(kind.states)]
        if batch_first:
            return history.permute(2, 0, 1, 3), *(state.transpose(0, 1) for state in last)
        return history, *last

    return operator


def _run(
    step: Step, inputs: torch.Tensor, states: State, lengths: torch.Tensor | None, backwards: bool
) -> tuple[torch.Tensor, State]:
    """Return the hidden states of all steps, zero behind the end of a sequence, and the states after the last one."""
    times = range(inputs.shape[0])
    history: list[torch.Tensor] = []
    for time in reversed(times) if backwards else times:
        stepped = step(inputs[time], states)
        if lengths is None:
            states = stepped
            history.append(states[0])
        else:
            inside = (time < lengths).reshape(-1, 1)
            states = tuple(torch.where(inside, new, old) for new, old in zip(stepped, states, strict=True))
            history.append(torch.where(inside, states[0], torch.zeros_like(states[0])))
    return torch.stack(history[::-1] if backwards else history), states


def _start(
    node: Node, values: Values, place: int, value: torch.Tensor, shape: tuple[int, int], batch_first: bool
) -> torch.Tensor:
    """Return the states before the first step, shape (directions, n, h)."""
    state = optional(values, place)
    if state is None:
        return value.new_zeros(shape[0], value.shape[1], shape[1])
    return state.transpose(0, 1) if batch_first else state


def _direction(node: Node, values: Values, kind: Layer, place: int) -> Direction:
    peepholes = optional(values, 7) if kind.states == 2 else None
    return Direction(
        given(node, values, 2)[place],
        _bias(values, kind, place, 1),
        _functions(node, kind, place),
        None if peepholes is None else peepholes[place],
    )


def _bias(values: Values, kind: Layer, place: int, part: int) -> torch.Tensor | None:
    bias = optional(values, 3)
    return None if bias is None else bias[place].chunk(2)[part]


def _rnn(node: Node, direction: Direction) -> Step:
    def step(inputs: torch.Tensor, states: State) -> State:
        gate = _clipped(node, inputs + functional.linear(states[0], direction.recurrence, direction.bias))
        return (direction.functions[0](gate),)

    return step


def _gru(node: Node, direction: Direction) -> Step:
    f, g = direction.functions
    before_reset = flag(node, "linear_before_reset")

    def step(inputs: torch.Tensor, states: State) -> State:
        hidden = states[0]
        size = hidden.shape[-1]
        rows, bias = direction.recurrence, direction.bias
        gates = inputs[:, : 2 * size] + functional.linear(
            hidden, rows[: 2 * size], None if bias is None else bias[: 2 * size]
        )
        update, reset = (f(_clipped(node, gate)) for gate in gates.chunk(2, 1))
        seen = hidden if before_reset else reset * hidden
        candidate = functional.linear(seen, rows[2 * size :], None if bias is None else bias[2 * size :])
        candidate = reset * candidate if before_reset else candidate
        fresh = g(_clipped(node, inputs[:, 2 * size :] + candidate))
        return ((1 - update) * fresh + update * hidden,)

    return step


def _lstm(node: Node, direction: Direction) -> Step:
    f, g, h = direction.functions
    coupled = flag(node, "input_forget")
    peepholes = (None,) * 3 if direction.peepholes is None else direction.peepholes.chunk(3)

    def step(inputs: torch.Tensor, states: State) -> State:
        hidden, cell = states
        gates = inputs + functional.linear(hidden, direction.recurrence, direction.bias)
        enter, leave, forget, fresh = gates.chunk(4, 1)
        enter = f(_clipped(node, enter if peepholes[0] is None else enter + peepholes[0] * cell))
        forget = f(_clipped(node, forget if peepholes[2] is None else forget + peepholes[2] * cell))
        forget = 1 - enter if coupled else forget
        cell = forget * cell + enter * g(_clipped(node, fresh))
        leave = f(_clipped(node, leave if peepholes[1] is None else leave + peepholes[1] * cell))
        return leave * h(cell), cell

    return step


def _clipped(node: Node, gate: torch.Tensor) -> torch.Tensor:
    bound = real(node, "clip", 0.0)
    return gate.clamp(-bound, bound) if bound else gate


def _functions(node: Node, kind: Layer, place: int) -> tuple[Function, ...]:
    """Return the activation functions of one direction, each with its share of the alphas and betas."""
    names = node.attributes.get("activations") or kind.functions * (place + 1)
    wanted = len(kind.functions)
    if len(names) < (place + 1) * wanted:
        raise refusal(node, f"{len(names)} activations do not suffice")
    alphas, betas = iter(reals(node, "activation_alpha")), iter(reals(node, "activation_beta"))
    made = [_function(node, str(name), alphas, betas) for name in names[: (place + 1) * wanted]]
    return tuple(made[place * wanted :])


def _function(node: Node, name: str, alphas: Iterator[float], betas: Iterator[float]) -> Function:
    match name.lower():
        case "relu" | "tanh" | "sigmoid" as plain:
            found: Function = getattr(torch, plain)
            return found
        case "softsign":
            return functional.softsign
        case "softplus":
            return functional.softplus
        case "leakyrelu":
            slope = next(alphas, 0.01)
            return lambda value: functional.leaky_relu(value, slope)
        case "elu":
            alpha = next(alphas, 1.0)
            return lambda value: functional.elu(value, alpha)
        case "thresholdedrelu":
            bound = next(alphas, 1.0)
            return lambda value: torch.where(value > bound, value, 0.0)
        case "affine":
            slope, offset = next(alphas, 1.0), next(betas, 0.0)
            return lambda value: slope * value + offset
        case "scaledtanh":
            outer, inner = next(alphas, 1.0), next(betas, 1.0)
            return lambda value: outer * torch.tanh(inner * value)
        case "hardsigmoid":
            slope, offset = next(alphas, 0.2), next(betas, 0.5)
            return lambda value: functional.hardtanh(slope * value + offset, 0.0, 1.0)
    raise refusal(node, f"the activation {name!r} is not known here")


_ATTRIBUTES = "activation_alpha activation_beta activations clip direction hidden_size layout"
TABLE = {
    "GRU": Known(layer(Layer(3, 1, ("Sigmoid", "Tanh"), _gru)), f"{_ATTRIBUTES} linear_before_reset"),
    "LSTM": Known(layer(Layer(4, 2, ("Sigmoid", "Tanh", "Tanh"), _lstm)), f"{_ATTRIBUTES} input_forget"),
    "RNN": Known(layer(Layer(1, 1, ("Tanh",), _rnn)), _ATTRIBUTES),
}
