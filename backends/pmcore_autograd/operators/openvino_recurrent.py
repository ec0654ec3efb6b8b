"""OpenVINO's recurrent cells and sequences: LSTM (gates f, i, c, o), GRU (z, r, h) and plain ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pmcore_autograd.graph import Node
from pmcore_autograd.operators import Known, Operator, Values
from pmcore_autograd.operators.lazily import Lazily
from pmcore_autograd.operators.openvino_places import reversed_until
from pmcore_autograd.operators.reading import flag, given, optional, real, reals, refusal, version, word

if TYPE_CHECKING:
    import torch
else:
    torch = Lazily("torch")

State: TypeAlias = "tuple[torch.Tensor, ...]"
Function: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"


@dataclass(frozen=True)
class _Weights:
    """One direction of a cell of g gates and h units.

    Parameters
    ----------
    inputs, hidden : (g * h, d) and (g * h, h)
    bias : (g * h,), or one part more for a GRU that is linear before its reset gate
    """

    inputs: torch.Tensor
    hidden: torch.Tensor
    bias: torch.Tensor


_Step: TypeAlias = "Callable[[Node, torch.Tensor, State, _Weights], State]"
"""Returns the next state, the hidden one first; its second argument is what the input adds to the gates, (b, g * h)."""


def _lstm(node: Node, fed: torch.Tensor, state: State, weights: _Weights) -> State:
    hidden, cell = state
    gate, squash, shown = _functions(node, "sigmoid", "tanh", "tanh")
    f, i, c, o = (_clipped(node, part) for part in (fed + hidden @ weights.hidden.mT + weights.bias).chunk(4, -1))
    cell = gate(f) * cell + gate(i) * squash(c)
    return gate(o) * shown(cell), cell


def _gru(node: Node, fed: torch.Tensor, state: State, weights: _Weights) -> State:
    (hidden,) = state
    gate, squash = _functions(node, "sigmoid", "tanh")
    units = hidden.shape[-1]
    z_fed, r_fed, h_fed = fed.chunk(3, -1)
    z_kept, r_kept, h_kept = torch.split(weights.hidden, units, 0)
    z_bias, r_bias, h_bias, *after = torch.split(weights.bias, units, -1)
    z = gate(_clipped(node, z_fed + hidden @ z_kept.mT + z_bias))
    r = gate(_clipped(node, r_fed + hidden @ r_kept.mT + r_bias))
    kept = r * (hidden @ h_kept.mT + after[0]) if flag(node, "linear_before_reset") else (r * hidden) @ h_kept.mT
    new = squash(_clipped(node, h_fed + kept + h_bias))
    return ((1 - z) * new + z * hidden,)


def _plain(node: Node, fed: torch.Tensor, state: State, weights: _Weights) -> State:
    (squash,) = _functions(node, "tanh")
    return (squash(_clipped(node, fed + state[0] @ weights.hidden.mT + weights.bias)),)


def _cell(step: _Step, states: int) -> Operator:
    def run(node: Node, values: Values) -> State:
        x, *rest = (given(node, values, place) for place in range(states + 3))
        bias = optional(values, states + 3)
        inputs, hidden = rest[states:]
        if bias is None:
            bias = torch.zeros(_biases(node, hidden), dtype=x.dtype, device=x.device)
        weights = _checked(node, x.shape[-1], _Weights(inputs, hidden, bias))
        return step(node, x @ weights.inputs.mT, tuple(rest[:states]), weights)

    return run


def _sequence(step: _Step, states: int) -> Operator:
    def run(node: Node, values: Values) -> State:
        x, *rest = (given(node, values, place) for place in range(states + 5))
        lengths, *weights = rest[states:]
        ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
        backwards = ways[word(node, "direction", "forward reverse bidirectional")]
        if any(part.shape[0] != len(backwards) for part in weights):
            raise refusal(node, f"its weights are not of {len(backwards)} directions")
        shown, last = [], []
        for way, backward in enumerate(backwards):
            part = _checked(node, x.shape[-1], _Weights(*(weight[way] for weight in weights)))
            outputs, state = _run(node, step, x, tuple(s[:, way] for s in rest[:states]), lengths, part, backward)
            shown.append(outputs)
            last.append(state)
        finals = (torch.stack([state[i] for state in last], 1) for i in range(states))
        return (torch.stack(shown, 1), *finals)  # (b, directions, t, h), then (b, directions, h) each

    return run


def _run(
    node: Node,
    step: _Step,
    x: torch.Tensor,
    state: State,
    lengths: torch.Tensor,
    weights: _Weights,
    backward: bool,
) -> tuple[torch.Tensor, State]:
    """Return the hidden states, (b, t, h), 0 behind the end of a sequence, and the state at its end."""
    lengths = lengths.long()
    if backward:
        x = reversed_until(x, lengths, 0, 1)
    fed = x @ weights.inputs.mT
    shown = []
    for time in range(x.shape[1]):
        within = (time < lengths)[:, None]
        after = step(node, fed[:, time], state, weights)
        state = tuple(torch.where(within, new, old) for new, old in zip(after, state, strict=True))
        shown.append(torch.where(within, after[0], torch.zeros_like(after[0])))
    outputs = torch.stack(shown, 1)
    return (reversed_until(outputs, lengths, 0, 1) if backward else outputs), state


def _checked(node: Node, features: int, weights: _Weights) -> _Weights:
    rows = weights.hidden.shape[0]
    if weights.inputs.shape != (rows, features) or weights.bias.shape[0] != _biases(node, weights.hidden):
        raise refusal(node, "its weights do not fit each other")
    return weights


def _biases(node: Node, hidden: torch.Tensor) -> int:
    return hidden.shape[0] + (hidden.shape[1] if flag(node, "linear_before_reset") else 0)


def _functions(node: Node, *default: str) -> tuple[Function, ...]:
    names = node.attributes.get("activations", ()) or default
    if len(names) != len(default) or not set(names) <= _KNOWN.keys():
        raise refusal(node, f"activations {names} are not known here")
    if reals(node, "activations_alpha") or reals(node, "activations_beta"):
        raise refusal(node, "parameters of its activations are not known here")
    return tuple(_KNOWN[name] for name in names)


_KNOWN: Mapping[str, Function] = {
    "relu": lambda x: torch.relu(x),
    "sigmoid": lambda x: torch.sigmoid(x),
    "tanh": lambda x: torch.tanh(x),
}


def _clipped(node: Node, x: torch.Tensor) -> torch.Tensor:
    limit = real(node, "clip", 0.0)
    return torch.clamp(x, -limit, limit) if limit > 0 else x


def _of_old(run: Operator) -> Operator:
    """Refuse an LSTM of the first operator sets, which may have peepholes."""

    def checked(node: Node, values: Values) -> torch.Tensor | State:
        if version(node) < 4:
            raise refusal(node, "it is of an operator set before opset4; export the model again")
        return run(node, values)

    return checked


_ATTRIBUTES = "hidden_size activations activations_alpha activations_beta clip"
TABLE: Mapping[str, Known] = {
    "GRUCell": Known(_cell(_gru, 1), f"{_ATTRIBUTES} linear_before_reset"),
    "GRUSequence": Known(_sequence(_gru, 1), f"{_ATTRIBUTES} direction linear_before_reset"),
    "LSTMCell": Known(_of_old(_cell(_lstm, 2)), _ATTRIBUTES),
    "LSTMSequence": Known(_of_old(_sequence(_lstm, 2)), f"{_ATTRIBUTES} direction"),
    "RNNCell": Known(_cell(_plain, 1), _ATTRIBUTES),
    "RNNSequence": Known(_sequence(_plain, 1), f"{_ATTRIBUTES} direction"),
}
